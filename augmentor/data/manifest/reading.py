"""How a manifest's cells are read: the column of the images, and the words that mean unknown."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, kw_only=True)
class TableReading:
    """What a table does not say of itself; keys of the recipe's section `manifest` have the same names.

    Args:
        image_column: the column that holds the image paths, in place of path, file_name or image.
        na_values: words that mean unknown, letter for letter; without them only blank cells do. Paths and ids are
            never unknown.
    """

    image_column: str | None = None
    na_values: tuple[str, ...] = ()

    def or_else(self, other: TableReading) -> TableReading:
        """Return it with what is not given taken from `other`."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name)}
        return replace(other, **given)


AS_WRITTEN = TableReading()
"""A table that says everything itself."""
