"""Charts are well-formed, show every point, and refuse what cannot be drawn."""

import xml.etree.ElementTree as ET

import pytest
from benchmarks.charts import line_chart, ticks_linear, ticks_log

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("high", "ticks"),
    [
        (100.0, [0, 20, 40, 60, 80, 100]),
        (97.0, [0, 20, 40, 60, 80, 100]),
        (0.3, [0, 0.1, 0.2, 0.3]),
        (23_456.0, [0, 5000, 10_000, 15_000, 20_000, 25_000]),
        (0.0, [0, 1]),
    ],
)
def test_a_linear_axis_has_round_ticks_up_to_the_highest_value(high: float, ticks: list[float]) -> None:
    """The last tick is not below the highest value, the first is 0, and all are round."""
    assert ticks_linear(high) == pytest.approx(ticks)


@pytest.mark.parametrize(("low", "high"), [(0.4, 37.0), (1.0, 1.0), (0.01, 9000.0), (2.0, 5.0)])
def test_a_logarithmic_axis_encloses_its_values(low: float, high: float) -> None:
    """Ticks rise, begin at or below the lowest value and end at or above the highest."""
    ticks = ticks_log(low, high)
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert len(ticks) < 12


def test_a_chart_is_well_formed_and_has_a_line_for_each_series() -> None:
    """Names with special characters do not break it, and a series without points is left out."""
    drawn = line_chart(
        "a < b & c",
        "clients",
        "operations",
        {"<first>": [(1, 10.0), (16, 40.0), (64, 20.0)], "second": [(1, 5.0), (64, 40.0)], "empty": []},
        x_names={1: "1 & only", 64: "64"},
        log_x=True,
    )
    root = ET.fromstring(drawn)  # noqa: S314  our own text
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {"a < b & c", "<first>", "second", "clients", "operations", "1 & only", "64"} <= set(texts)
    assert "empty" not in texts
    lines = [each for each in root.iter(f"{SVG}polyline") if len(each.get("points", "").split()) > 1]
    assert len(lines) == 4  # two lines, and a piece of each in the legend


def test_higher_values_are_higher_up_and_stay_inside() -> None:
    """In SVG y grows downwards; the highest value does not leave the picture."""
    drawn = line_chart("t", "x", "y", {"a": [(0, 1.0), (1, 100.0), (2, 10.0)]}, marks=False)
    root = ET.fromstring(drawn)  # noqa: S314  our own text
    points = next(root.iter(f"{SVG}polyline")).get("points", "")
    ys = [float(point.split(",")[1]) for point in points.split()]
    assert ys[1] < ys[2] < ys[0]
    assert min(ys) >= 70
    assert max(ys) <= 345


def test_what_cannot_be_drawn_is_refused() -> None:
    """Nothing at all, and 0 on a logarithmic axis."""
    with pytest.raises(ValueError, match="nothing to draw"):
        line_chart("t", "x", "y", {"a": []})
    with pytest.raises(ValueError, match="no place for 0"):
        line_chart("t", "x", "y", {"a": [(0, 1.0), (1, 2.0)]}, log_x=True)
    with pytest.raises(ValueError, match="no place for 0"):
        line_chart("t", "x", "y", {"a": [(1, 0.0)]}, log_y=True)
