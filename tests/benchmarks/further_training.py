"""Is a model that is trained further better than one from nothing, after the same time?

    python tests/benchmarks/further_training.py FILE [--old corpora/fables.txt] [--new corpora/names.txt] [--seconds 20]
        [--seeds 3]

For each seed, a model learns the old text for a minute (`--old-seconds`), then the new text is learned for so many seconds from
nothing, with `--init-from`, and with `--init-from --extend-vocab --freeze old-rows`. The sizes of the network are those of the
old model in all of them. Prints the validation losses on the new text and the loss on the old one before and after (nats per
token), says whether the frozen rows are bit-identical, and does the same with Cyrillic text (the new text, transliterated).
Writes the table to FILE.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from training_runs import train

REPOSITORY = Path(__file__).parent.parent.parent
LATIN = "abcdefghijklmnopqrstuvwxyz"
CYRILLIC = "абцдефгхийклмнопярстувжюыз"
TO_CYRILLIC = str.maketrans(LATIN + LATIN.upper(), CYRILLIC + CYRILLIC.upper())
HEADER = "| text | seed | from | validation loss | old text before | old text after | old rows identical |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--old", type=Path, default=REPOSITORY / "corpora" / "fables.txt")
    parser.add_argument("--new", type=Path, default=REPOSITORY / "corpora" / "names.txt")
    parser.add_argument("--unit", default="line", help="unit of the new text")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--old-seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    lines = [HEADER, "| --- | --- | --- | --- | --- | --- | --- |"]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        cyrillic = Path(folder, "cyrillic.txt")
        cyrillic.write_text(arguments.new.read_text(encoding="utf-8").translate(TO_CYRILLIC), encoding="utf-8")
        for seed in range(1, arguments.seeds + 1):
            old = Path(folder, f"old-{seed}")
            shape = learn(arguments.old, old, arguments.old_seconds, seed)
            sizes = {"--hidden-size": str(shape["hidden_size"]), "--embedding-size": str(shape["embedding_size"])}
            for name, text, more in (
                ("new", arguments.new, {}),
                ("Cyrillic", cyrillic, {"--extend-vocab": ""}),
            ):
                unit = {"--unit": arguments.unit}
                for kind, options in (
                    ("nothing", sizes),
                    ("old model", {"--init-from": str(old), **more}),
                    ("old model, frozen rows", {"--init-from": str(old), "--extend-vocab": "", "--freeze": "old-rows"}),
                ):
                    run = Path(folder, "run")
                    results = learn(text, run, arguments.seconds, seed, **unit, **options)
                    losses = [results[key] for key in ("valid_loss_nats", "old_loss_before_nats", "old_loss_nats")]
                    shown = " | ".join("-" if loss is None else f"{loss:.4f}" for loss in losses)
                    same = identical(old, run) if kind.endswith("rows") else "-"
                    lines.append(f"| {name} | {seed} | {kind} | {shown} | {same} |")
                    print(lines[-1], flush=True)
    arguments.file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def learn(text: Path, directory: Path, seconds: float, seed: int, **options: str) -> dict[str, Any]:
    """Train a model for some seconds, and return what `charnn info` says of it."""
    given = {"--minutes": str(seconds / 60), "--seed": str(seed), **options}
    return train(text, directory, given, num_threads=os.cpu_count() or 1)


def identical(old: Path, new: Path) -> str:
    """Return whether the rows of old tokens are those of the old model, bit for bit."""
    before, after = load_file(old / "model.safetensors"), load_file(new / "model.safetensors")
    names = [name for name in before if name.startswith(("embedding", "output"))]
    return "yes" if all(np.array_equal(after[name][: len(before[name])], before[name]) for name in names) else "NO"


if __name__ == "__main__":
    main()
