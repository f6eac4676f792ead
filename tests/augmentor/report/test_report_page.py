"""The page: what it says, what it says where something is missing, and that it is the same every time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from augmentor.errors import OutputError
from augmentor.report import report_path, write_report
from augmentor.storage.atomic import Json

if TYPE_CHECKING:
    from tests.augmentor.report.conftest import MakeOutput


class Reader(HTMLParser):
    """Collects a page's texts by section, its addresses, and its cards."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.section = ""
        self.texts: dict[str, str] = {}
        self.addresses: list[str] = []
        self.cards: list[dict[str, str | None]] = []
        self.scripts = 0
        self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "section":
            self.section = values["id"] or ""
        self._hidden = tag in ("script", "style")
        self.scripts += tag == "script"
        self.addresses += [address for name in ("src", "href", "action") if (address := values.get(name))]
        if tag == "li" and "data-verdict" in values:
            self.cards.append(values)

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts[self.section] = " ".join(f"{self.texts.get(self.section, '')} {data}".split())


def files_of(out: Path) -> dict[str, bytes]:
    found = [out, *out.parent.rglob("*")] if out.is_file() else [*out.rglob("*")]
    return {str(path): path.read_bytes() for path in found if path.is_file()}


# ---- what it says ----


def test_it_shows_what_the_tables_hold(make_output: MakeOutput) -> None:
    made = make_output(scored=True)
    page = Reader(made.page)
    assert f"10 real images, {len(made.kept)} translations kept" in _tiles(made.page)
    assert "agreement of at least 0.30" in page.texts["summary"]
    assert f"agreement too low {len(made.rejected)}" in page.texts["scores"]
    assert "people.csv" in page.texts["lineage"]
    # Six sources are translated, two with each hair.
    assert re.search(r"black 2 \d+ \d+ blond 2 \d+ \d+ brown 2", page.texts["counts"])


def test_it_says_that_less_was_asked_of_some(make_output: MakeOutput) -> None:
    assert "Less agreement was required" not in Reader(make_output(scored=True).page).texts["summary"]
    pair: dict[str, Json] = {"values": {"hair": "black", "glasses": "1"}, "agreement": 0.1}
    page = Reader(make_output(scored=True, name="other", lowered=[pair]).page)
    assert "required of 1 pair of values that the judge knows less well on real images." in page.texts["summary"]


def _tiles(page: str) -> str:
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    return ", ".join(f"{value} {words}" for words, value in pairs)


def test_what_is_missing_is_said(make_output: MakeOutput) -> None:
    page = Reader(make_output().page)
    assert "Not judged." in page.texts["summary"]
    assert "Not evaluated yet. augmentor evaluate MANIFEST out" in page.texts["evaluation"]
    assert "There was no judge, so there are no scores" in page.texts["scores"]
    assert "There was no judge" in page.texts["judge"]
    assert "The path of the model's run folder was not recorded" in page.texts["training"]
    assert {card["data-verdict"] for card in page.cards} == {"kept"}


def test_an_output_without_translations(make_output: MakeOutput) -> None:
    page = Reader(make_output(sources=0).page)
    assert "There are no translations to show." in page.texts["grid"]
    assert page.cards == []


def test_cards_are_the_best_the_borderline_and_the_rejected(make_output: MakeOutput) -> None:
    made = make_output(scored=True)
    page = Reader(made.page)
    verdicts = [str(card["data-verdict"]) for card in page.cards]
    assert verdicts == sorted(verdicts, key=("best", "borderline", "rejected").index)
    assert verdicts.count("rejected") == len(made.rejected) > 0
    for card in page.cards:
        changed, target = json.loads(card["data-changed"] or ""), json.loads(card["data-target"] or "")
        assert changed in (["hair"], ["glasses"])
        assert [each.split("=")[0] for each in target] == ["hair", "glasses"]


def test_the_run_folder_gives_curves_recipe_and_obedience(make_output: MakeOutput, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / "00001200").mkdir(parents=True)
    lines = [json.dumps({"step": step, "losses": {"g/cycle": 1 / step, "d/domain": 0.5}}) for step in (1, 2, 4)]
    (run / "log.jsonl").write_text("\n".join([*lines, '{"step": 5, "lo']))
    (run / "run.toml").write_text("[images]\nsize = 32\n")
    attribute = {"name": "hair", "level": "ignores", "obeys": 0.2, "untouched": 0.1, "real": 0.9, "chance": 0.33}
    obedience = {
        "step": 1200,
        "model_sha256": "a" * 64,
        "attributes": [attribute],
        "verdict": ["It ignores hair."],
    }
    (run / "obedience.json").write_text(json.dumps(obedience))
    model: dict[str, str | int] = {"sha256": "a" * 64, "step": 1200, "path": str(run / "checkpoints" / "00001200")}
    made = make_output(description={"model": model})
    page = Reader(made.page)
    assert "Generator: cycle last: 0.25" in page.texts["training"]
    assert "Discriminator: domain" in page.texts["training"]
    assert "It ignores hair." in page.texts["training"]
    assert "size = 32" in page.texts["lineage"]
    # What was measured of another checkpoint says nothing of this one.
    made.describe(model={**model, "step": 1300})
    write_report(made.out)
    assert "It ignores hair." not in made.page


# ---- safe and small ----


def test_texts_of_strangers_stay_texts(make_output: MakeOutput) -> None:
    evil = "<script>alert(1)</script>"
    made = make_output(scored=True, hair=(evil, "</style>'\"{{ 7 * 7 }}", "a|b `c` \\ <b>"))
    page = Reader(made.page)
    assert page.scripts == 1
    assert evil in page.texts["grid"]
    assert "{{ 7 * 7 }}" in page.texts["grid"]
    assert any(f"hair={evil}" in json.loads(card["data-target"] or "") for card in page.cards)


@pytest.mark.parametrize("name", ["out", "50% of #1 & more?"])
def test_everything_it_names_lies_beside_it(make_output: MakeOutput, name: str) -> None:
    made = make_output(scored=True, hdf5=True, name=name)
    page = Reader(made.page)
    pictures = [address for address in page.addresses if not address.startswith("#")]
    assert len(set(pictures)) > 15
    for address in pictures:
        assert (made.out.parent / unquote(address)).is_file(), address
        assert unquote(address).startswith(f"{name}.report/")
    anchors = {address for address in page.addresses if address.startswith("#")}
    assert anchors <= {f"#{section}" for section in ("main", *page.texts)}


def test_it_stays_small_whatever_the_images_are(make_output: MakeOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augmentor.report.thumbnails.MOST_BYTES", 60_000)
    made = make_output(sources=40, side=48)
    size = sum(path.stat().st_size for path in made.beside("report").iterdir())
    assert 40_000 < size <= 60_000
    assert 0 < len(Reader(made.page).cards) < 36


def test_an_address_is_only_of_a_picture_that_is_there(make_output: MakeOutput) -> None:
    made = make_output()
    lost = sorted(path for path in made.out.glob("train/*/*.png"))
    for path in lost:
        path.unlink()
    write_report(made.out)
    page = Reader(made.page)
    assert page.cards == []
    assert not [address for address in page.addresses if address.endswith(".png")]
    assert list(made.beside("report").iterdir()) == []


# ---- the same every time ----


@pytest.mark.parametrize("hdf5", [False, True])
def test_it_is_the_same_before_the_end_and_again_later(make_output: MakeOutput, hdf5: bool) -> None:
    made = make_output(scored=not hdf5, hdf5=hdf5)
    assert report_path(made.out) == made.beside("report.html")
    before = files_of(made.out)
    assert write_report(made.out) == made.beside("report.html")
    assert files_of(made.out) == before


def test_pictures_that_are_not_needed_go_and_other_files_stay(make_output: MakeOutput) -> None:
    made = make_output()
    folder = made.beside("report")
    before = sorted(path.name for path in folder.iterdir())
    (folder / "0123456789abcdef.png").write_bytes(b"of an earlier page")
    (folder / ".tmp-0123456789abcdef.webp").write_bytes(b"of a page that a kill cut short")
    (folder / "mine.png").write_bytes(b"somebody else's")
    write_report(made.out)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "mine.png"])


# ---- damage ----


def test_an_unfinished_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no dataset\.json"):
        write_report(tmp_path)


def test_scores_of_other_rows_are_refused(make_output: MakeOutput) -> None:
    made = make_output(scored=True)
    path = made.beside("scores.csv")
    first, second, *others = path.read_text().splitlines()
    path.write_text("\n".join([first, second.replace("s0__", "s9__"), *others]) + "\n")
    with pytest.raises(OutputError, match=r"scores\.csv: its rows are not those of the label table"):
        write_report(made.out)


def test_a_table_with_other_columns_is_refused(make_output: MakeOutput) -> None:
    made = make_output(scored=True)
    path = made.beside("rejected.csv")
    path.write_text(path.read_text().replace("reason", "why", 1))
    with pytest.raises(OutputError, match=r"rejected\.csv: the columns are"):
        write_report(made.out)
