"""Exposure bias: what scheduled sampling and token noise cost in validation, and what they do after a model's own tokens.

    python tests/benchmarks/exposure.py tinyshakespeare.txt [--minutes 1] [--length 100]

Holds out the last tenth, trains with different shares of true inputs for the same time, and prints the losses of
`charnn score --rollout` over that tenth.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from techniques import speed
from training_runs import train

VARIANTS = {
    "teacher forcing": {},
    "to 0.75": {"--teacher-forcing": "0.75"},
    "to 0.5": {"--teacher-forcing": "0.5"},
    "to 0.5, four passes": {"--teacher-forcing": "0.5", "--sampling-passes": "4"},
    "noise 0.25 (0.75 true)": {"--token-noise": "0.25"},
    "noise 0.5 (0.5 true)": {"--token-noise": "0.5"},
}


def main() -> None:
    """Train, roll out and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", default="1")
    parser.add_argument("--length", default="100")
    arguments = parser.parse_args()
    columns = ("true", "true_after_own", "own", "judged_own", "judged_true")
    print("| inputs | tokens/s | validation | " + " | ".join(columns) + " |\n| --- |" + " --- |" * (2 + len(columns)))
    with tempfile.TemporaryDirectory() as folder:
        text = arguments.text.read_text(encoding="utf-8")
        cut = int(len(text) * 0.9)
        parts = {name: Path(folder, f"{name}.txt") for name in ("train", "valid")}
        parts["train"].write_text(text[:cut], encoding="utf-8")
        parts["valid"].write_text(text[cut:], encoding="utf-8")
        for name, options in VARIANTS.items():
            run = Path(folder, "run")
            found = train(
                parts["train"], run, {**options, "--valid": str(parts["valid"]), "--minutes": arguments.minutes}
            )
            command = [sys.executable, "-m", "charnn", "score", "-m", str(run), str(parts["valid"]), "--unit", "stream"]
            shown = subprocess.run(
                [*command, "--rollout", arguments.length, "--format", "jsonl"],
                check=True,
                capture_output=True,
                text=True,
            )
            record = json.loads(shown.stdout.splitlines()[-1])
            losses = " | ".join(f"{record[column]:.4f}" for column in columns)
            print(f"| {name} | {speed(run):,.0f} | {found['valid_loss_nats']:.4f} | {losses} |", flush=True)


if __name__ == "__main__":
    main()
