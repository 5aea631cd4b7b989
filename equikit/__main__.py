"""`python -m equikit`: the command line."""

from equikit.cli import main

if __name__ == "__main__":
    main()
