"""The page in a real browser without a window: the console is silent, filters filter, nothing is fetched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.augmentor.report.conftest import MakeOutput

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_VISITOR = """
<script>
(async () => {
  const told = { errors: [] };
  window.addEventListener("error", (event) => told.errors.push(String(event.message || event.target.src)), true);
  document.addEventListener("securitypolicyviolation", (event) => told.errors.push("blocked " + event.blockedURI));
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  // Not decode(): the clock of the browser, which is not the real one, waits for what is loaded alone.
  const loaded = (image) => new Promise((after) => { image.onload = image.onerror = after; });
  await Promise.all(images.map((image) => image.complete || loaded(image)));
  told.images = images.length;
  told.broken = images.filter((image) => !image.naturalWidth).map((image) => image.src);
  const form = document.querySelector("form.filters");
  const shown = () => [...document.querySelectorAll(".cards > li")].filter((card) => card.offsetParent !== null);
  const look = () => ({
    shown: shown().map(({ dataset: card }) => [card.verdict, JSON.parse(card.changed), JSON.parse(card.target)]),
    words: document.querySelector("#pictures output").textContent,
  });
  const choose = (name, value) => {
    form.elements[name].value = value;
    form.dispatchEvent(new Event("input", { bubbles: true }));
    return look();
  };
  told.all = look();
  told.changed = choose("changed", "hair");
  told.target = choose("target", "hair=brown");
  told.verdict = choose("verdict", "rejected");
  form.reset();
  await new Promise((after) => setTimeout(after, 10));
  told.reset = look();
  told.names = [...document.querySelectorAll("svg, img, table, .scroll, select, input")].filter((each) => {
    const own = each.getAttribute("aria-label") || each.getAttribute("alt");
    const label = own || (each.labels || [])[0]?.textContent;
    const inside = each.closest("[aria-label]") || each.querySelector("caption");
    return !label && !inside;
  }).map((each) => each.outerHTML.slice(0, 200));
  told.wide = [document.documentElement.scrollWidth, document.documentElement.clientWidth];
  told.fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
  const box = document.createElement("pre");
  box.id = "told";
  box.textContent = "<<<" + JSON.stringify(told) + ">>>";
  document.body.replaceChildren(box);
})();
</script>
"""


def browser() -> str:
    """Return a Chromium, or skip: it is a system's package, not one of Python's."""
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"none of {', '.join(_BROWSERS)} is installed: on Debian, apt install chromium")
    return found


def visit(page: Path, profile: Path, *flags: str) -> tuple[dict[str, object], str]:
    """Open a page, let the visitor look around, and return what it tells and what the browser logged."""
    copied = page.with_name("visited.html")
    copied.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{_VISITOR}</body>"), encoding="utf-8")
    command = [
        browser(),
        *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", f"--user-data-dir={profile}"),
        *flags,
        copied.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    copied.unlink()
    told = re.search(r"&lt;&lt;&lt;(.*)&gt;&gt;&gt;", done.stdout, re.DOTALL)
    assert told is not None, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    text = told.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    state: dict[str, object] = json.loads(text)
    return state, done.stderr


def shown(told: dict[str, object], when: str) -> Sequence[tuple[str, Sequence[str], Sequence[str]]]:
    state = told[when]
    assert isinstance(state, dict)
    return [(verdict, changed, target) for verdict, changed, target in state["shown"]]


def words(told: dict[str, object], when: str) -> str:
    state = told[when]
    assert isinstance(state, dict)
    return str(state["words"])


def test_the_page_works(make_output: MakeOutput, tmp_path: Path) -> None:
    browser()
    made = make_output(scored=True, sources=20)
    told, logged = visit(made.out / "report.html", tmp_path / "profile", "--window-size=500,900")

    assert told["errors"] == []
    assert "CONSOLE" not in logged
    assert told["broken"] == []
    assert int(str(told["images"])) > 50
    fetched = told["fetched"]
    assert isinstance(fetched, list)
    assert all(name.startswith(made.out.as_uri()) for name in fetched), fetched
    # A table that is too wide scrolls by itself; the page of a narrow window does not.
    wide = told["wide"]
    assert isinstance(wide, list)
    assert wide[0] == wide[1] <= 500
    assert told["names"] == []  # of what a screen reader could not say what it is

    everything = shown(told, "all")
    assert {verdict for verdict, _, _ in everything} == {"best", "borderline", "rejected"}
    expected = [card for card in everything if "hair" in card[1]]
    assert shown(told, "changed") == expected
    assert 0 < len(expected) < len(everything)
    expected = [card for card in expected if "hair=brown" in card[2]]
    assert shown(told, "target") == expected
    assert expected
    expected = [card for card in expected if card[0] == "rejected"]
    assert shown(told, "verdict") == expected
    assert expected
    assert words(told, "verdict") == f"{len(expected)} of {len(everything)} pictures"
    assert shown(told, "reset") == everything
