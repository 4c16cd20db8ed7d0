"""Make the README's screenshot from a real run: an SVG of the training screen as it stands at the end, and of a prediction.

python -m tests.screenshot [--minutes 1]
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from charnn.cli.output.training_screen import LiveScreen
from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.sampling.build import short_sample
from charnn.training.run.create import create_run
from charnn.training.run.session import run

HERE = Path(__file__).parent
TARGET = HERE / "screenshots" / "train.svg"
WIDTH = 104


def main() -> None:
    """Train, and draw what is on the screen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    minutes = parser.parse_args().minutes
    terminal = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "runs", "fables")
        session = create_run(
            directory,
            ["corpora/fables.txt"],
            text_options=TextOptions(),
            model_options=ModelOptions(),
            training_options=TrainingOptions(minutes=minutes),
            overwrite=False,
            started=time.monotonic(),
        )
        session.directory = Path("runs/fables")
        screen = LiveScreen(session, terminal)
        session.directory = directory
        for event in run(session, should_stop=lambda: False, write_sample=short_sample):
            screen.show(event)
        terminal.print(Text(f"$ charnn train corpora/fables.txt --minutes {minutes:g}", style="bold"))
        terminal.print(screen)
        context = "The heron wrote it d"
        terminal.print(Text(f'\n$ charnn predict "{context}" --top 4', style="bold"))
        command = [sys.executable, "-m", "charnn", "predict", context, "--top", "4", "-m", str(directory)]
        terminal.print(Text(subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip()))
    svg = terminal.export_svg(title="charnn")
    svg = re.sub(
        r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL
    )  # no fonts from elsewhere: the picture stands alone
    TARGET.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
