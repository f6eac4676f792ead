"""Commands `augmentor recipes` and `explain`: what recipes there are, and what their keys mean."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from augmentor.cli import options, session
from augmentor.cli.tables import plain_table
from augmentor.errors import AugmentorError, did_you_mean
from augmentor.recipes import purpose, shipped_recipes


@session.command
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print this recipe.")] = None,
    json: options.JsonOption = False,
) -> None:
    """List the recipes that train --recipe NAME knows, or print one of them.

    To change a recipe, write it to a file, edit that, and train --recipe FILE:

    augmentor recipes cpu-quick > mine.toml
    """
    shipped = shipped_recipes()
    if name is None:
        if json:
            session.print_json({each: purpose(file) for each, file in shipped.items()})
            return
        table = plain_table("recipe", "for", texts=2)
        for each, file in shipped.items():
            table.add_row(each, Text(purpose(file)))
        session.results.print(table)
        return
    if name not in shipped:
        raise AugmentorError(f"no recipe is called {name!r}.{did_you_mean(name, list(shipped))}")
    text = shipped[name].read_text(encoding="utf-8")
    if json:
        session.print_json({"name": name, "for": purpose(shipped[name]), "text": text})
        return
    session.results.file.write(text)


@session.command
def explain(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Such as training.targets.")] = None,
    json: options.JsonOption = False,
) -> None:
    """Say what a key of a recipe does, its values and default; without KEY, list all keys.

    augmentor explain training.targets
    """
    from augmentor.training import descriptions, explain_key

    if key is None:
        found = descriptions()
        if json:
            session.print_json(found)
            return
        table = plain_table("key", "", texts=2)
        for name, text in found.items():
            table.add_row(name, Text(text.partition("; ")[0].partition(". ")[0]))
        session.results.print(table)
        return
    explained = explain_key(key)
    if json:
        session.print_json(asdict(explained))
        return
    table = plain_table("", "", texts=2)
    table.show_header = False
    table.add_row("allowed", Text(explained.allowed))
    table.add_row("default", Text(_shown(explained.default)))
    for recipe, value in explained.recipes.items():
        table.add_row(recipe, Text(_shown(value)))
    session.results.print(Group(Text(explained.name, "bold"), Text(explained.description), Text(""), table))


def _shown(value: object) -> str:
    """Return a setting's value as TOML has it."""
    return "not set" if value is None else dumps(value, ensure_ascii=False)
