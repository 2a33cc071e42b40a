"""Charts as SVG: lines over a linear or logarithmic axis, drawn by hand so that a page needs no library to show them.

A chart says what each axis is, marks every point, and names every line where it ends and in a legend.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

__all__ = ["line_chart", "ticks_linear", "ticks_log"]

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 70, 55
_COLORS = ("#0b62a4", "#d1571b", "#3a8a3a", "#8a4fa0", "#7a6a1a", "#555555")
_DASHES = ("", "7 4", "2 4", "9 3 2 3", "4 2", "1 2")
_SHAPES = 3
_STYLE = (
    "<style>text{font:12px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}"
    ".grid{stroke:#ddd}.axis{stroke:#222}</style>"
)


def ticks_linear(high: float, count: int = 5) -> list[float]:
    """Return round values from 0 to at least `high`, about `count` of them."""
    if high <= 0:
        return [0.0, 1.0]
    rough = high / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(high / step - 1e-9) + 1)]


def ticks_log(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from at most `low` to at least `high`; both are above 0."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    below = max(tick for tick in every if tick <= low * (1 + 1e-9))
    above = min(tick for tick in every if tick >= high * (1 - 1e-9))
    found = [tick for tick in every if below <= tick <= above]
    if len(found) < 9:
        return found
    return [tick for tick in found if tick in {below, above} or abs(math.log10(tick) % 1) < 1e-9]


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Points],
    *,
    x_names: Mapping[float, str] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    marks: bool = True,
) -> str:
    """Return an SVG document with a line for each series; lines without points are left out.

    `x_names` are the ticks of the x axis and what is written below them. Raises `ValueError` if nothing is to be drawn,
    or for a value of 0 or less on a logarithmic axis.
    """
    shown = {name: sorted(points) for name, points in series.items() if points}
    if not shown:
        raise ValueError(f"{title}: there is nothing to draw")
    xs = [x for points in shown.values() for x, _ in points]
    ys = [y for points in shown.values() for _, y in points]
    if (log_x and min(xs) <= 0) or (log_y and min(ys) <= 0):
        raise ValueError(f"{title}: a logarithmic axis has no place for 0")
    y_ticks = ticks_log(min(ys), max(ys)) if log_y else ticks_linear(max(ys))
    x_names = x_names or {tick: _number(tick) for tick in (sorted(set(xs)) if log_x else ticks_linear(max(xs)))}
    at_x = _scale(min(*xs, *x_names), max(*xs, *x_names), _LEFT, _WIDTH - _RIGHT, logarithmic=log_x)
    at_y = _scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP, logarithmic=log_y)
    parts = [*_frame(title, x_label, y_label)]
    for tick in y_ticks:
        y = at_y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick, name in x_names.items():
        x, base = at_x(tick), _HEIGHT - _BOTTOM
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 20}" text-anchor="middle">{escape(name)}</text>')
    for place, (name, points) in enumerate(shown.items()):
        parts += _line(place, [(at_x(x), at_y(y)) for x, y in points], marks=marks)
        parts += _legend(place, len(shown), name)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _frame(title: str, x_label: str, y_label: str) -> list[str]:
    """Return the document's beginning: styles, background, title and axes."""
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    upright = (_TOP + _HEIGHT - _BOTTOM) / 2
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">',
        _STYLE,
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>',
        f'<text x="{middle:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(18 {upright:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM}"/>',
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>',
    ]


def _line(place: int, points: Points, *, marks: bool) -> list[str]:
    color, dash = _COLORS[place % len(_COLORS)], _DASHES[place % len(_DASHES)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    drawn = [f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dashed}/>']
    if marks:
        drawn += [_mark(place, x, y) for x, y in points]
    return drawn


def _mark(place: int, x: float, y: float) -> str:
    """Return a circle, square or diamond: lines are told apart without their colours, too."""
    color, shape = _COLORS[place % len(_COLORS)], place % _SHAPES
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if shape == 2 else ""
    return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{color}"{turn}/>'


def _legend(place: int, count: int, name: str) -> list[str]:
    """Return one line's name with a piece of it, in a row above the chart."""
    x = _LEFT + place * (_WIDTH - _LEFT - _RIGHT) / max(count, 2)
    return [
        *_line(place, [(x, 46.0), (x + 26, 46.0)], marks=False),
        _mark(place, x + 13, 46.0),
        f'<text x="{x + 34:.0f}" y="50">{escape(name)}</text>',
    ]


def _scale(low: float, high: float, start: float, stop: float, *, logarithmic: bool) -> Callable[[float], float]:
    """Return a function from a value in `[low, high]` to a place between start and stop."""
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        value = math.log10(value) if logarithmic else value
        return start + (value - low) / span * (stop - start)

    return place


def _number(value: float) -> str:
    """Return a tick's text: 20000 as 20,000, 0.5 as 0.5."""
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"
