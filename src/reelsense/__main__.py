"""`python -m reelsense` is `reelsense`."""

from reelsense.cli import main

if __name__ == "__main__":
    main()
