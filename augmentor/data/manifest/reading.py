"""How a manifest's cells are read: the column of the images, their paths, and the words that mean unknown."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from augmentor.errors import ManifestError
from augmentor.images import IMAGE_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class TableReading:
    """What a table does not say of itself; keys of the recipe's section `manifest` have the same names.

    Args:
        image_column: the column that holds the image paths, in place of path, file_name or image.
        image_prefix: "OLD=NEW": paths that begin with OLD begin with NEW; the first that fits counts.
        image_suffix: ".png": paths without an image's suffix get it; ".jpg=.png": takes the other's place.
        na_values: words that mean unknown, letter for letter; without them only blank cells do. Paths and ids are
            never unknown.

    Raises:
        ManifestError: a prefix or suffix is not of this form.
    """

    image_column: str | None = None
    image_prefix: tuple[str, ...] = ()
    image_suffix: str = ""
    na_values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in self.image_prefix:
            if "=" not in text:
                raise ManifestError(
                    f"--image-prefix {text}: is not of the form OLD=NEW, such as /data/upload/=images/"
                )
        old, new = self._suffixes
        if self.image_suffix and not (new.startswith(".") and old[:1] in ("", ".") and "/" not in new):
            raise ManifestError(f"--image-suffix {self.image_suffix}: is not of the form .png or .jpg=.png")

    @property
    def _suffixes(self) -> tuple[str, str]:
        old, _, new = self.image_suffix.rpartition("=")
        return old, new

    @property
    def moves(self) -> bool:
        """Whether paths are other than the table has them."""
        return bool(self.image_prefix or self.image_suffix)

    def moved(self, path: str) -> str:
        """Return the path of an image that the table calls `path`, "/" between folders."""
        for each in self.image_prefix:
            old, _, new = each.replace("\\", "/").rpartition("=")
            if path.startswith(old):
                path = new + path.removeprefix(old)
                break
        old, new = self._suffixes
        stem, suffix = stem_and_suffix(path)
        return stem + new if new and suffix == old else path

    def or_else(self, other: TableReading) -> TableReading:
        """Return it with what is not given taken from `other`."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name)}
        return replace(other, **given)


AS_WRITTEN = TableReading()
"""A table that says everything itself."""


def stem_and_suffix(path: str) -> tuple[str, str]:
    """Split a path before its suffix, "" where it does not end in one of `IMAGE_SUFFIXES`."""
    stem, dot, suffix = path.rpartition(".")
    known = bool(dot) and f".{suffix}".lower() in IMAGE_SUFFIXES and stem[-1:] not in ("", "/")
    return (stem, dot + suffix) if known else (path, "")
