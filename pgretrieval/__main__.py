"""`python -m pgretrieval`."""

from pgretrieval.cli.main import main

if __name__ == "__main__":
    main()
