"""`explain`: every key of a recipe is described, with what it may be and what the recipes make of it."""

from __future__ import annotations

import pytest

from augmentor.errors import RecipeError
from augmentor.training.keys import descriptions, documented, explain_key, recipe_keys


class Base:
    """A base.

    Args:
        first, second: two numbers,
            on two lines.
        third: of the base.
    """


class Derived(Base):
    """A class.

    More text: not a name.

    Attributes:
        third: of the class: not of the base.

    Raises:
        ValueError: never.
    """


def test_descriptions_by_hand() -> None:
    both = "two numbers, on two lines."
    assert documented(Derived) == {"first": both, "second": both, "third": "of the class: not of the base."}


def test_every_key_is_described_in_sentences() -> None:
    found = descriptions()
    assert list(found) == recipe_keys()
    assert len(found) > 70
    for key, text in found.items():
        assert text[0].isupper() or not text[0].isalpha(), key
        assert text.endswith("."), key
        assert "see `Generator`" not in text, key


def test_a_key_with_its_values() -> None:
    found = explain_key("training.targets")
    assert found.description.startswith('"permuted": the domain of another image')
    assert found.allowed == "'permuted', 'drawn', 'balanced', 'mixed', 'mixed-balanced' or 'other'"
    assert found.default == "mixed"
    assert found.recipes["paper"] == "permuted"
    assert "cpu-quick" not in found.recipes
    assert explain_key("images.size").default == 128
    assert explain_key("generator.width").allowed == "a whole number, at least 1"
    assert explain_key("training.minutes").recipes["cpu-quick"] == 15


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("targets", "Did you mean 'training.targets'?"),
        ("width", "Did you mean 'generator.width' or 'discriminator.width'?"),
        ("training.target", "Did you mean 'training.targets'?"),
        ("training", "no key"),
        ("attributes.hair", "no key"),
    ],
)
def test_an_unknown_key_is_refused(name: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        explain_key(name)
    assert hint in str(caught.value)
