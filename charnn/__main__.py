"""What `charnn` and `python -m charnn` run."""

import sys


def main() -> None:
    """Run a command; an interrupt while it is still being loaded is no error."""
    try:
        from charnn.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
