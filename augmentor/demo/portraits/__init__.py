"""The built-in portrait set: drawn faces from a seed, for the demo and the tests."""

from augmentor.demo.portraits.portrait_set import DEFAULT_COUNTS, write_portraits

__all__ = ["DEFAULT_COUNTS", "write_portraits"]
