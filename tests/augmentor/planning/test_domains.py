"""The SPEC grammar: what each form means, and what a mistake is answered with."""

from __future__ import annotations

import pytest

from augmentor.errors import DomainError
from augmentor.planning.domains import MAX_TARGETS, AttributeChoice, DomainRequest, parse_domains
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),
        Attribute(name="male"),
        Attribute(name="age group", kind="categorical", values=("20", "30-40")),
    )
)


def choice(attribute: int, *values: int, others: bool = False) -> AttributeChoice:
    return AttributeChoice(attribute=attribute, values=values, others=others)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("hair=blond", (choice(0, 1),)),
        ("hair=brown|black", (choice(0, 0, 2),)),
        ("hair=blond|blond", (choice(0, 1),)),
        ("hair=*", (choice(0, 0, 1, 2),)),
        ("hair=~", (choice(0, others=True),)),
        ("hair=~|blond", (choice(0, 1, others=True),)),
        ("hair=blond|*", (choice(0, 0, 1, 2),)),
        ("hair=~|*", (choice(0, 0, 1, 2),)),
        ("male=1,hair=blond", (choice(0, 1), choice(1, 1))),
        ("  age group = 30-40 | 20 ,  male = ~ ", (choice(1, others=True), choice(2, 0, 1))),
        ("male=yes", (choice(1, 1),)),
        ("male=No", (choice(1, 0),)),
        ("male=TRUE|false", (choice(1, 0, 1),)),
        ("all", (choice(0, 0, 1, 2), choice(1, 0, 1), choice(2, 0, 1))),
    ],
)
def test_forms_of_a_spec(text: str, spec: tuple[AttributeChoice, ...]) -> None:
    assert parse_domains([text], SPACE) == DomainRequest(specs=(spec,))


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("grade=1.0", (choice(0, 0),)),
        ("grade=1.00|3", (choice(0, 0, 1),)),
        ("grade=01", None),
        ("grade=1.5", None),
        ("cafe\u0301=cafe\u0301", (choice(1, 0),)),
        ("caf\u00e9=caf\u00e9", (choice(1, 0),)),
        ("male=1.0", (choice(2, 1),)),
    ],
)
def test_other_spellings_of_names_and_values(text: str, spec: tuple[AttributeChoice, ...] | None) -> None:
    """A whole number with decimals is the number; accents may be composed or not, in the model and in the SPEC."""
    for accent in ("caf\u00e9", "cafe\u0301"):
        space = LabelSpace(
            attributes=(
                Attribute(name="grade", kind="categorical", values=("1", "3")),
                Attribute(name=accent, kind="categorical", values=(accent, "tea")),
                Attribute(name="male"),
            )
        )
        if spec is None:
            with pytest.raises(DomainError, match="has no value"):
                parse_domains([text], space)
        else:
            assert parse_domains([text], space) == DomainRequest(specs=(spec,))


def test_each_flips_every_attribute_alone() -> None:
    assert parse_domains([" each "], SPACE).specs == (
        (choice(0, others=True),),
        (choice(1, others=True),),
        (choice(2, others=True),),
    )


def test_specs_are_joined_in_order_without_repeats() -> None:
    request = parse_domains(["male=1", "each", "hair=black", "male=yes", "male=~"], SPACE)
    assert [[c.attribute for c in spec] for spec in request.specs] == [[1], [0], [1], [2], [0]]


def test_other_words_for_the_same_request_are_equal() -> None:
    assert parse_domains(["all"], SPACE) == parse_domains(["age group=*,male=0|1,hair=~|*"], SPACE)
    assert parse_domains(["each"], SPACE) == parse_domains(["hair=~", "male=~", "age group=~"], SPACE)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["''", "is empty"]),
        ("   ", ["is empty", "each or all"]),
        (
            "hiar=blond",
            ["'hiar=blond'", "no attribute is called 'hiar'", "Did you mean 'hair'?", "male, age group"],
        ),
        ("Hair=blond", ["Did you mean 'hair'?"]),
        ("zzz=1", ["no attribute is called 'zzz'. The attributes: hair, male, age group"]),
        ("hair=blnd", ["hair has no value 'blnd'", "Did you mean 'blond'?", "Its values: black, blond, brown"]),
        ("male=1,hair=zzz", ["hair has no value 'zzz'. Its values"]),
        ("male=ture", ["male has no value 'ture'", "Did you mean 'true'?", "write 1, yes or true"]),
        ("hair=black,hair=blond", ["hair is named twice", "hair=VALUE|VALUE"]),
        ("hair", ["hair has no value", "hair=VALUE, hair=* or hair=~"]),
        ("eahc", ["no attribute is called 'eahc'", "Did you mean 'each'?"]),
        ("each,hair=*", ["each cannot be combined"]),
        ("hair=", ["a value of hair is empty", "black, blond, brown"]),
        ("hair=black|", ["a value of hair is empty"]),
        ("hair=black,", ["Remove the comma"]),
        ("=black", ["no attribute is called ''"]),
    ],
)
def test_a_mistake_is_named_with_its_mend(text: str, parts: list[str]) -> None:
    with pytest.raises(DomainError) as caught:
        parse_domains(["male=~", text], SPACE)
    assert str(caught.value).startswith(f"--domains {text!r}")
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.exit_code == 2


def test_no_spec_at_all_is_refused() -> None:
    with pytest.raises(DomainError, match="no domains are requested"):
        parse_domains([], SPACE)


def test_a_space_without_attributes_is_refused() -> None:
    with pytest.raises(DomainError, match="no attributes"):
        parse_domains(["all"], LabelSpace())


def test_long_lists_of_names_are_cut_short() -> None:
    space = LabelSpace(attributes=tuple(Attribute(name=f"a{i}") for i in range(30)))
    with pytest.raises(DomainError, match=r"a18, a19 and 10 more$"):
        parse_domains(["zzz=1"], space)


def test_a_product_that_nobody_means_is_refused_before_it_is_built() -> None:
    space = LabelSpace(attributes=tuple(Attribute(name=f"a{i}") for i in range(40)))
    with pytest.raises(DomainError, match=r"'all': brings the request to 1,099,511,627,778 targets .* each"):
        parse_domains(["a7=~", "all"], space)
    largest = ",".join(f"a{i}=*" for i in range(16))
    assert MAX_TARGETS == 2**16
    assert len(parse_domains([largest], space).specs) == 1


JOINT = LabelSpace(attributes=SPACE.attributes, label_sets=(("hair",), ("male", "age group")))


def test_all_of_a_joint_model_is_all_of_each_label_set() -> None:
    assert parse_domains(["all"], JOINT).specs == (
        (choice(0, 0, 1, 2),),
        (choice(1, 0, 1), choice(2, 0, 1)),
    )
    assert parse_domains(["each"], JOINT) == parse_domains(["each"], SPACE)
    assert parse_domains(["male=1,age group=20"], JOINT).specs == ((choice(1, 1), choice(2, 0)),)


def test_one_spec_asks_for_one_label_set() -> None:
    with pytest.raises(DomainError) as caught:
        parse_domains(["male=1,hair=blond"], JOINT)
    message = str(caught.value)
    assert message.startswith("--domains 'male=1,hair=blond': male and hair are labels of different data sets")
    assert "Give each its own --domains, or expand the output again" in message
    assert message.endswith("The label sets: hair | male, age group")
    assert len(parse_domains(["male=1", "hair=blond"], JOINT).specs) == 2
