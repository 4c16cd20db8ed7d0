"""Run the command line with `python -m charnn`."""

from charnn.cli.main import main

if __name__ == "__main__":
    main()
