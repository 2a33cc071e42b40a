"""Tests of the page's structure: self-contained, well-formed, every bar and point where it belongs."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from raftline.linearizability.checker import check
from raftline.linearizability.explain import explain
from raftline.linearizability.history import Operation
from raftline.linearizability.model import Model
from raftline.linearizability.models import model_named
from raftline.linearizability.picture import OPERATIONS_DRAWN_MAX, render

VOID = {"meta"}


class Page(HTMLParser):
    """Reads a page, insists that tags match, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def having(self, tag: str, css: str = "") -> list[dict[str, str]]:
        """Return the attributes of these tags that have this class."""
        return [attrs for name, attrs in self.tags if name == tag and css in [*attrs.get("class", "").split(), ""]]


def _page(history: list[Operation], model: Model) -> tuple[str, Page]:
    (part,) = check(history, model).failing()
    text = render(explain(part, model), model, title="a <title>")
    return text, Page(text)


REGISTER = model_named("register")
HISTORY = [
    Operation("<b>", "write", 1, None, 0, 3, note="node n1 & n2"),
    Operation(2, "write", 2, None, 1, None),
    Operation(3, "write", 9, None, 1, None),
    Operation(3, "read", None, 2, 4, 5),
    Operation(10, "read", None, 1, 6, 7),
    Operation(10, "write", 5, None, 8, 9),
]


def test_the_page_needs_nothing_from_outside() -> None:
    """No script, no link to another place, no picture or font file: it can be mailed and opened anywhere."""
    text, page = _page(HISTORY, REGISTER)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "image", "use"})
    assert "url(" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert all(attrs["href"].startswith("#") for attrs in page.having("a"))
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_links_lead_somewhere_and_names_are_unique() -> None:
    """Each bar leads to its line in a table, each line back to its bar."""
    _, page = _page(HISTORY, REGISTER)
    names = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(names)) == len(names)
    assert {attrs["href"][1:] for attrs in page.having("a")} <= set(names)


def test_text_from_the_history_is_escaped() -> None:
    """Clients, values and notes are shown as they are, whatever they hold."""
    text, page = _page(HISTORY, REGISTER)
    assert "client <b>" in page.words
    assert "a <title>" in page.words
    assert any("node n1 & n2" in words for words in page.words)
    assert "<b>" not in text


def test_bars_show_what_became_of_each_operation() -> None:
    """One bar per operation of the prefix: answered, open, not placed, and one culprit; nothing that came later."""
    _, page = _page(HISTORY, REGISTER)
    kinds = sorted(attrs["class"] for attrs in page.having("g", "op"))
    assert kinds == ["op ok", "op ok", "op ok culprit", "op open", "op open unplaced"]
    assert any(words.startswith("fits nowhere") for words in page.words)
    assert len(page.having("line", "wall")) == 1
    wall = float(page.having("line", "wall")[0]["x1"])
    (culprit,) = [
        page.tags[at + 2][1] for at, (_, attrs) in enumerate(page.tags) if attrs.get("class") == "op ok culprit"
    ]
    assert float(culprit["x"]) + float(culprit["width"]) == wall


def test_points_go_to_the_right_and_stay_on_their_bars() -> None:
    """The order runs forward in time, and each operation takes effect between its call and its return."""
    _, page = _page(HISTORY, REGISTER)
    points = [(float(attrs["cx"]), float(attrs["cy"])) for attrs in page.having("circle", "point")]
    assert points == sorted(points, key=lambda point: point[0])
    assert len({x for x, _ in points}) == len(points) == 3
    rows = page.having("tr")
    order = [int(attrs["id"].removeprefix("order-")) for attrs in rows if attrs.get("id", "").startswith("order-")]
    assert order == [1, 2, 3]
    bars = [
        (
            float(bar["x"]),
            float(bar["x"]) + float(bar["width"]),
            float(bar["y"]),
            float(bar["y"]) + float(bar["height"]),
        )
        for bar in page.having("rect", "bar")
    ]
    for x, y in points:
        assert any(left < x < right and top < y < bottom for left, right, top, bottom in bars)


def test_bars_of_one_row_do_not_overlap() -> None:
    """A client that went on after a lost answer gets a further row where it needs one."""
    busy = [Operation(1, "write", n, None, n, n + 10) for n in range(5)]
    _, page = _page([*busy, Operation(2, "read", None, None, 30, 31)], REGISTER)
    rows: dict[str, list[tuple[float, float]]] = {}
    for bar in page.having("rect", "bar"):
        rows.setdefault(bar["y"], []).append((float(bar["x"]), float(bar["x"]) + float(bar["width"])))
    assert len(rows) == 6
    for spans in rows.values():
        spans.sort()
        assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_a_long_history_is_cut_to_its_end(record: Callable[..., list[Operation]]) -> None:
    """Of thousands of operations only the last ones are drawn, and the page says how many are not."""
    model = model_named("counter")
    history = record(model, lambda _source, _client, _done: ("add", 1), seed=1, clients=3, operations=3000, keys=1)
    end = max(op.return_time or 0 for op in history)
    wrong = Operation(1, "read", None, -1, end + 1, end + 2, "k0")
    text, page = _page([*history, wrong], model)
    assert len(page.having("g", "op")) == OPERATIONS_DRAWN_MAX
    assert re.search(rf"{3001 - OPERATIONS_DRAWN_MAX} earlier operations are not drawn", text)
    assert len(text) < 1_000_000


def test_a_long_value_is_shortened_in_the_middle() -> None:
    """A text of megabytes does not make a page of megabytes; its beginning and end are shown."""
    model = model_named("kv")
    long = "begin" + "x" * 1_000_000 + "end"
    history = [Operation(1, "put", long, None, 0, 1), Operation(2, "get", None, "", 2, 3)]
    text, _ = _page(history, model)
    assert len(text) < 30_000
    assert "begin" in text
    assert "end&quot;" in text


@pytest.mark.parametrize("shortest", [True, False])
def test_doubt_is_said(*, shortest: bool) -> None:
    """A prefix that was not proven to be the shortest is not passed off as such."""
    (part,) = check(HISTORY, REGISTER).failing()
    text = render(replace(explain(part, REGISTER), shortest=shortest), REGISTER)
    assert ("Time ran out" in text) is not shortest


def test_the_key_and_the_possible_answers_are_named() -> None:
    """The sentence above the picture says which key, which answer, and what would have been right."""
    history = [replace(op, key="k&1") for op in HISTORY]
    text, _ = _page(history, REGISTER)
    assert "on key <code>&quot;k&amp;1&quot;</code>" in text
    assert "read → 1" in text
    assert "it would have answered <code>2</code>" in text
