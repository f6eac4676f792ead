"""`python -m augmentor`, and the entry point of the command `augmentor`."""

from augmentor.cli import main

if __name__ == "__main__":
    main()
