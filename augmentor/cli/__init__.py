"""The command line: parse, call one function, print, exit."""

from augmentor.cli.app import app, main

__all__ = ["app", "main"]
