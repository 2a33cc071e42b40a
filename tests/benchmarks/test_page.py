"""The page keeps its words and gets new figures."""

from pathlib import Path

import pytest
from benchmarks.machine import disturbance, load_now
from benchmarks.page import replace_between, sections, table, write_page

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    """Twice the same gives the same, and other markers stay."""
    text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n<!-- begin: y -->\n<!-- end: y -->\n"
    once = replace_between(text, "x", "new\n")
    assert once == "a\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nb\n<!-- begin: y -->\n<!-- end: y -->\n"
    assert replace_between(once, "x", "new") == once
    with pytest.raises(ValueError, match="no markers for z"):
        replace_between(text, "z", "new")


def test_a_table_is_markdown() -> None:
    """A head, a line that sets all but the first column to the right, and the rows."""
    assert table(["", "a"], [["x", "1"], ["y", "2"]]) == "|  | a |\n|---|---:|\n| x | 1 |\n| y | 2 |\n"


def test_every_section_has_its_place_on_the_page() -> None:
    """What the page of this repository has markers for is what the benchmarks write, no more and no less."""
    text = PAGE.read_text(encoding="utf-8")
    names = {"machine", "targets", "compare", "failover", "library", "limits", "sizes", "micro"}
    assert {line[12:-4] for line in text.splitlines() if line.startswith("<!-- begin: ")} == names
    for name in names:
        assert replace_between(text, name, "figures") != text
    assert set(sections({})) <= names


def test_results_go_beside_the_page(tmp_path: Path) -> None:
    """Parts that were not run leave their tables alone; charts and results are files in a folder of the page's name."""
    page = tmp_path / "speed.md"
    page.write_text(
        "".join(f"<!-- begin: {name} -->\n<!-- end: {name} -->\n" for name in ("targets", "machine", "failover"))
    )
    machine = {
        "processors": 2, "processor": "p", "memory_gib": 1.5, "system": "s", "file_system": "f", "python": "3",
        "packages": {"a": "1"}, "commit": "c",
    }  # fmt: skip
    kills = {
        "kills": 1,
        "resumed_s_median": 0.5,
        "resumed_s_max": 0.5,
        "resumed_s": [0.5],
        "writes": 1,
        "interrupted": 0,
        "faults": [],
        "time_line": [[-0.5, 10], [0.5, 0]],
    }
    write_page(
        {"failover": {"machine": machine, "load_before": {"busy_percent": 3, "1 min": 9.5}, "kills": kills}}, page
    )
    text = page.read_text()
    assert "| failover under load |" in text
    assert "failover 3 %, 9.5, c" in text
    assert "Disturbed" not in text
    assert "](speed/failover.svg)" in text
    assert sorted(path.name for path in (tmp_path / "speed").iterdir()) == ["failover.json", "failover.svg"]


def test_figures_of_a_busy_machine_say_so() -> None:
    """What ran before counts for nothing if it has ended: a load average remembers, the last second does not."""
    busy = {"load_before": {"busy_percent": 97, "1 min": 7.5}}
    assert disturbance(busy).startswith("**Disturbed:** the processors were 97 % busy and the load average was 7.5")
    assert disturbance({"load_before": {"busy_percent": 9, "1 min": 7.5}}) == ""


def test_how_busy_the_machine_is_comes_from_the_time_it_idled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a disk is idling; all processors busy all the time are 100 %."""
    lines = iter(["cpu  100 10 20 500 50 3 4 0 9 9\n", "cpu  130 10 30 550 60 3 4 0 9 9\n"])
    monkeypatch.setattr("benchmarks.machine.Path.read_text", lambda *_path, **_options: next(lines))
    monkeypatch.setattr("benchmarks.machine.time.sleep", lambda _seconds: None)
    assert load_now()["busy_percent"] == 40
