"""Entry point of `python -m reelsense`, which is the command `reelsense`."""

from reelsense.cli import main

if __name__ == "__main__":
    main()
