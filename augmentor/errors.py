"""What can go wrong through a user's input: one error type that commands catch, print and exit with."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an outside library says, to be quoted; its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class AugmentorError(Exception):
    """A mistake that the person at the keyboard can mend.

    The message is one short block: what is wrong, where (file, row, column), what to do.
    Commands print it without a traceback and end with `exit_code`.
    """

    exit_code = 2


class ManifestError(AugmentorError):
    """The manifest, or a cell of it, cannot be used."""


class RecipeError(AugmentorError):
    """A recipe, or a `--set` override, has an unknown key or a value that cannot work."""


class DomainError(AugmentorError):
    """A `--domains` request names an unknown attribute or value, or does not parse."""


class ImageError(AugmentorError):
    """One image cannot be read; it becomes a row of `failures.csv` and the rest goes on."""


class OutputError(AugmentorError):
    """The output folder or file cannot be used for this run."""


class SourceError(AugmentorError):
    """The source images went away while they were being read."""

    exit_code = 1


class MemoryShortError(AugmentorError):
    """The device's memory does not suffice."""

    exit_code = 1


class SharedMemoryError(MemoryShortError):
    """The memory that processes share does not suffice."""


class StalledError(AugmentorError):
    """A thread or a process has hung for so long that it will not come back."""

    exit_code = 1


class TrainingError(AugmentorError):
    """Training stopped because its losses are no longer finite or have diverged."""

    exit_code = 1


class MissingExtraError(AugmentorError):
    """An optional library is needed that is not installed; the message names the extra."""
