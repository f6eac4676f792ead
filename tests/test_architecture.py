"""The import arrows of the design: who may import whom, and which file owns which outside library.

Everything is read from the source with `ast`, so imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

ROOMS = (
    "errors",
    "recipes",
    "storage",
    "images",
    "data.manifest",
    "data.importers",
    "data",
    "planning",
    "judge",
    "outputs.readers",
    "outputs.verify",
    "outputs.writers",
    "outputs",
    "training",
    "expansion.executors",
    "expansion",
    "evaluation",
    "report",
    "bench",
    "demo.portraits",
    "demo",
    "cli",
)
"""Every room, in the order in which data flows: a room imports rooms above it, never below.

A name with a dot is a room inside a room, with an interface of its own. Inner rooms of
one room may import each other.
"""

APART = {("training", "expansion"), ("expansion", "training")}
"""Rooms that do not import each other, wherever they are in the order."""

OWNERS = {
    "typer": ("augmentor/cli/",),
    "click": ("augmentor/cli/",),
    "rich": ("augmentor/cli/",),
    "PIL": ("augmentor/images/", "augmentor/demo/portraits/"),
    "h5py": ("augmentor/outputs/",),
    "webdataset": ("augmentor/outputs/writers/webdataset.py",),
    "pyarrow": ("augmentor/outputs/writers/parquet.py",),
    "ray": ("augmentor/expansion/executors/ray.py",),
    "fsspec": ("augmentor/storage/filesystems.py",),
    "s3fs": ("augmentor/storage/filesystems.py",),
    "jinja2": ("augmentor/report/",),
    "markupsafe": ("augmentor/report/",),
    "pydantic": ("augmentor/training/recipe.py", "augmentor/training/settings.py"),
    "pydantic_core": ("augmentor/training/recipe_errors.py",),
    "tomli_w": ("augmentor/training/recipe.py",),
    "safetensors": ("stargan/",),
}
"""Who may import an outside library: a folder (ending in a slash) or a file."""

HEAVY = ("torch", "torchvision", "numpy", "pandas", "h5py", "PIL", "safetensors")


class Import(NamedTuple):
    """One imported name: where it stands and what it reaches, `package.module` or `package.module.name`."""

    file: str
    line: int
    target: str

    def reaches(self, module: str) -> bool:
        """Whether the import is of `module`, or of something inside it."""
        return self.target == module or self.target.startswith(f"{module}.")

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


def _targets(node: ast.AST, package: list[str]) -> list[str]:
    """What a node imports; `package` is the importing file's own package, for relative imports."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = package[: len(package) - level + 1] if level else []
            stem = ".".join([*base, *([module] if module else [])])
            return [f"{stem}.{alias.name}" for alias in names]
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
        case ast.Call(func=ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
    return []


def _imports(source: str, file: str) -> Iterator[Import]:
    package = file.split("/")[:-1]
    for node in ast.walk(ast.parse(source, file)):
        for target in _targets(node, package):
            yield Import(file, getattr(node, "lineno", 0), target)


def _sources(*folders: str) -> dict[str, str]:
    """Every Python file under the folders, by its path from the root."""
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


SOURCES = _sources(*PACKAGES, "recipes")
IMPORTS = [found for file, source in SOURCES.items() for found in _imports(source, file)]


LIBRARY = sorted({".".join(file.split("/")[:-1]) for file in SOURCES if file.startswith("stargan/")} - {"stargan"})
"""The packages inside the model library."""


def _listed(broken: list[Import]) -> str:
    return "\n".join(str(found) for found in broken)


def _innermost(dotted: str) -> str | None:
    """The room that `augmentor.NAME...` is in, an inner one before the outer; None where it is in none."""
    inside = dotted.removeprefix("augmentor.")
    found = [room for room in ROOMS if inside == room or inside.startswith(f"{room}.")]
    return max(found, key=len) if found and dotted.startswith("augmentor.") else None


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _outer(room: str) -> str:
    return room.split(".", maxsplit=1)[0]


def _between_rooms() -> Iterator[tuple[Import, str, str]]:
    """Every import from one outer room into another: the import, and the innermost rooms of both sides."""
    for found in IMPORTS:
        here, there = _innermost(_module(found.file)), _innermost(found.target)
        if here and there and _outer(here) != _outer(there):
            yield found, here, there


def test_the_scanner_sees_every_form_of_import() -> None:
    source = """
import a.b as c
from d import e
from . import near
from ..up import name
import importlib
def later():
    import f
    importlib.import_module("g.h")
    __import__("i")
if TYPE_CHECKING:
    from j.k import l
"""
    found = {each.target for each in _imports(source, "augmentor/writers/new.py")}
    assert found == {
        "a.b", "d.e", "augmentor.writers.near", "augmentor.up.name", "importlib", "f", "g.h", "i", "j.k.l",
    }  # fmt: skip
    assert Import("f", 1, "ray.data").reaches("ray")
    assert not Import("f", 1, "rays").reaches("ray")


def test_the_scanner_finds_the_files() -> None:
    assert {"stargan/labels.py", "augmentor/planning/plan.py", "augmentor/data/manifest/read.py"} <= set(SOURCES)
    assert any(found.reaches("torch") for found in IMPORTS)


def test_stargan_knows_torch_safetensors_and_the_standard_library_alone() -> None:
    allowed = {"torch", "safetensors", "stargan", *sys.stdlib_module_names}
    broken = [
        found
        for found in IMPORTS
        if found.file.startswith("stargan/") and found.target.split(".")[0] not in allowed
    ]
    assert not broken, _listed(broken)


def test_nobody_imports_the_command_line() -> None:
    allowed = ("augmentor/cli/", "augmentor/__main__.py")
    broken = [found for found in IMPORTS if found.reaches("augmentor.cli") and not found.file.startswith(allowed)]
    assert not broken, _listed(broken)


def test_packages_import_neither_recipes_nor_tests() -> None:
    outside = [found for found in IMPORTS if not found.file.startswith("recipes/")]
    broken = [found for found in outside if found.reaches("recipes") or found.reaches("tests")]
    assert not broken, _listed(broken)


@pytest.mark.parametrize(("library", "owners"), OWNERS.items(), ids=OWNERS)
def test_each_outside_library_has_one_owner(library: str, owners: tuple[str, ...]) -> None:
    packages = [found for found in IMPORTS if not found.file.startswith("recipes/")]
    broken = [found for found in packages if found.reaches(library) and not found.file.startswith(owners)]
    assert not broken, f"only {' and '.join(owners)} may import {library}:\n{_listed(broken)}"


def test_every_file_is_in_a_room() -> None:
    outside = [
        file
        for file in SOURCES
        if file.startswith("augmentor/")
        and _innermost(_module(file)) is None
        and file not in ("augmentor/__init__.py", "augmentor/__main__.py")
    ]
    assert not outside, f"move these into one of the rooms of this file's list: {outside}"


def test_every_room_is_there() -> None:
    here = {_module(file) for file in SOURCES}
    assert [room for room in ROOMS if f"augmentor.{room}" not in here] == []
    packages = {
        _module(file) for file in SOURCES if file.startswith("augmentor/") and file.endswith("__init__.py")
    }
    assert packages == {"augmentor", *(f"augmentor.{room}" for room in ROOMS if room != "errors")}


def test_the_top_of_the_package_stays_small() -> None:
    tops = {file.split("/")[1] for file in SOURCES if file.startswith("augmentor/")}
    assert len(tops) <= 17, sorted(tops)


def test_rooms_import_rooms_above_them_only() -> None:
    broken = [
        found
        for found, here, there in _between_rooms()
        if ROOMS.index(_outer(there)) > ROOMS.index(_outer(here)) or (_outer(here), _outer(there)) in APART
    ]
    assert not broken, _listed(broken)


def _exported(room: str) -> set[str]:
    """What a room's interface exports; a module has everything in it."""
    source = SOURCES.get(f"augmentor/{room.replace('.', '/')}/__init__.py", "")
    lists = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {room} if not source else {name for each in lists for name in ast.literal_eval(each.value)}


def test_nobody_reaches_past_the_interface_of_a_room() -> None:
    broken = [
        found
        for found, _, there in _between_rooms()
        if found.target.count(".") > f"augmentor.{there}".count(".") + 1
    ]
    modules = [
        found
        for found, _, there in _between_rooms()
        if f"{found.target.replace('.', '/')}.py" in SOURCES
        and found.target.split(".")[-1] not in _exported(there)
    ]
    assert not broken + modules, _listed(broken + modules)


def test_nobody_reaches_past_the_interface_of_a_package_of_stargan() -> None:
    broken = []
    for found in IMPORTS:
        whole = f"{found.target.replace('.', '/')}.py" in SOURCES  # a module, not a name in it
        module = found.target if whole else found.target.rpartition(".")[0]
        package = module.rpartition(".")[0]
        inside = f"{_module(found.file)}.".startswith(f"{package}.")
        if package in LIBRARY and module not in LIBRARY and not inside:
            broken.append(found)
    assert not broken, _listed(broken)


@pytest.mark.parametrize(
    "package", [*(f"augmentor.{room}" for room in ROOMS if room != "errors"), "stargan", *LIBRARY]
)
def test_a_room_states_its_subject_and_its_interface(package: str) -> None:
    tree = ast.parse(SOURCES[f"{package.replace('.', '/')}/__init__.py"])
    assert (ast.get_docstring(tree) or "").split("\n")[0].endswith("."), "one sentence, on the first line"
    others = [
        node
        for node in tree.body
        if not isinstance(node, ast.Expr | ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    ]
    assert not others, "an interface holds imports and __all__ alone"


def test_no_two_rooms_import_each_other() -> None:
    arrows: dict[str, set[str]] = {_outer(room): set() for room in ROOMS}
    for _, here, there in _between_rooms():
        arrows[_outer(here)].add(_outer(there))
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"these import one another in a circle: {' <- '.join(error.args[1])}")


def test_only_pixels_knows_the_range_minus_one_to_one() -> None:
    scaling = {
        file
        for file, source in SOURCES.items()
        for node in ast.walk(ast.parse(source, file))
        if isinstance(node, ast.Constant) and node.value == 127.5
    }
    assert scaling == {"stargan/pixels.py"}


def test_asserts_only_narrow_types() -> None:
    """`python -O` drops them, so whatever a person or a file can get wrong is refused by an error."""

    def narrows(test: ast.expr) -> bool:
        match test:
            case ast.Call(func=ast.Name(id="isinstance")):
                return True
            case ast.UnaryOp(op=ast.Not(), operand=ast.Call(func=ast.Name(id="isinstance"))):
                return True
            case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
                return True
            case ast.BoolOp(op=ast.And(), values=parts):
                return all(map(narrows, parts))
        return False

    others = [
        f"{file}:{node.lineno}"
        for file, source in SOURCES.items()
        for node in ast.walk(ast.parse(source, file))
        if isinstance(node, ast.Assert) and not narrows(node.test)
    ]
    assert not others, others


def test_the_command_starts_without_the_heavy_libraries() -> None:
    """`augmentor --help` must answer at once: what is heavy is imported inside the commands."""
    program = f"""
import sys
import augmentor.cli
from augmentor.__main__ import main
before = [name for name in {HEAVY} if name in sys.modules]
sys.argv = ["augmentor", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
after = [name for name in {HEAVY} if name in sys.modules]
print("heavy:", before, after)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: [] []"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_say_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_the_packages_are_the_two_of_the_design() -> None:
    assert sorted(PACKAGES) == ["augmentor", "stargan"]


def test_no_public_class_is_defined_twice() -> None:
    """One concept, one name: a second class of a name needs another, or is the same thing and imported."""
    homes: dict[str, list[str]] = {}
    for file, source in SOURCES.items():
        for node in ast.parse(source).body:
            if (
                isinstance(node, ast.ClassDef)
                and not node.name.startswith("_")
                and not file.startswith("recipes/")
            ):
                homes.setdefault(node.name, []).append(file)
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


@pytest.mark.parametrize("walk", ["An image through `expand`", "A batch through `train`"])
def test_the_walks_of_contributing_are_true_and_short(walk: str) -> None:
    """Every hop names a file and something that it defines; at most 30 files from the command to the disk."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split(f"### {walk}")[1].split("\n#")[0]
    hops = re.findall(r"^\d+\. `([^`]+\.py)`: `([^`]+)`", text, re.MULTILINE)
    assert len(hops) > 10
    assert len({file for file, _ in hops}) <= 30
    for file, name in hops:
        nodes: list[ast.stmt] = ast.parse(SOURCES[file]).body
        for part in name.split("."):
            inside = [
                node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part
            ]
            assert inside, f"{file} has no {name}"
            nodes = inside[0].body
