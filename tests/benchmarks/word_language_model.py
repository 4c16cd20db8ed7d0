"""Training beside PyTorch's word_language_model example, unchanged, at its own sizes: tokens a second, and loss by minute.

    python tests/benchmarks/word_language_model.py TEXT EXAMPLE [--minutes 3] [--python PYTHON]

EXAMPLE is the folder word_language_model of a checkout of PyTorch's examples. Characters are its words (it closes each line
by a word of its own, as charnn's lines end in a newline): the last tenth of TEXT's lines is held out for both. The two run one
after the other, each alone on the machine: first the example (2 x 200, batch 20, BPTT 35: its defaults), then charnn with the
same sizes, batch and BPTT, and then charnn with nothing but the budget.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAME_SIZES = (
    *("--hidden-size", "200", "--num-layers", "2", "--embedding-size", "200", "--embedding-order", "1"),
    *("--batch-size", "20", "--bptt", "35", "--dropout", "0.2"),
)


def write_corpus(text: str, directory: Path) -> tuple[Path, Path]:
    """Write the example's files into a directory, and the two parts for charnn beside them."""
    lines = [line for line in text.splitlines() if line.strip()]
    cut = int(len(lines) * 0.9)
    parts = {"train": lines[:cut], "valid": lines[cut:], "test": lines[cut : cut + 1]}
    for name, part in parts.items():
        words = "".join(" ".join("_" if char == " " else char for char in line) + "\n" for line in part)
        (directory / f"{name}.txt").write_text(words, encoding="utf-8")
        (directory / f"{name}_plain.txt").write_text("\n".join(part) + "\n", encoding="utf-8")
    return directory / "train_plain.txt", directory / "valid_plain.txt"


def run_example(example: Path, data: Path, python: str, seconds: float) -> tuple[float, list[tuple[float, float]]]:
    """Return its tokens a second (median of what it prints), and (seconds, validation loss) at each of its epochs."""
    command = [
        python,
        "-u",
        str(example / "main.py"),
        "--data",
        str(data),
        "--epochs",
        "1000",
        "--save",
        str(data / "model"),
    ]
    milliseconds, losses, begun = [], [], time.monotonic()
    process = subprocess.Popen(command, cwd=example, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"ms/batch +([0-9.]+)", line):
            milliseconds.append(float(found[1]))
        if found := re.search(r"valid loss +([0-9.]+)", line):
            losses.append((time.monotonic() - begun, float(found[1])))
        if time.monotonic() - begun > seconds:
            break
    process.kill()
    process.wait()
    return 20 * 35 / sorted(milliseconds)[len(milliseconds) // 2] * 1000, losses


def run_charnn(
    train: Path, valid: Path, run: Path, minutes: float, options: tuple[str, ...]
) -> tuple[float, list[tuple[float, float]]]:
    """Return its tokens a second (median of its reports), and (seconds, validation loss) at each evaluation."""
    command = [sys.executable, "-m", "charnn", "train", str(train), "--valid", str(valid), "-o", str(run)]
    command += ["--minutes", str(minutes), *options]
    subprocess.run(command, check=True, capture_output=True)
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = sorted(event["tokens_per_second"] for event in events if event["event"] == "progressed")
    losses = [(event["seconds"], event["valid_loss_nats"]) for event in events if event["event"] == "evaluated"]
    return rates[len(rates) // 2], losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("example", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with what the example needs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        train, valid = write_corpus(arguments.text.read_text(encoding="utf-8"), directory)
        found = {"example": run_example(arguments.example, directory, arguments.python, arguments.minutes * 60)}
        for label, options in (("charnn, same sizes", SAME_SIZES), ("charnn, its own choice", ())):
            found[label] = run_charnn(train, valid, directory / label, arguments.minutes, options)
    slowest = found["example"][0]
    for label, (rate, losses) in found.items():
        print(f"{label}: {rate:,.0f} tokens/s, {rate / slowest:.2f} times the example's")
        print("   " + ", ".join(f"{seconds:.0f} s {loss:.4f}" for seconds, loss in losses))


if __name__ == "__main__":
    main()
