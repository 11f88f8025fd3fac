"""`python -m pyramid_core.cli` is `pyramid`."""

from pyramid_core.cli import main

if __name__ == "__main__":
    main()
