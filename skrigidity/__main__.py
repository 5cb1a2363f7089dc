"""Run the command line: ``python -m skrigidity``."""

from skrigidity.cli import main

if __name__ == "__main__":
    main()
