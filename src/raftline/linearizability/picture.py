"""Draws an explanation as one HTML page without scripts or outside assets.

Time runs to the right, one column per event; a bar is an operation from call to return, a row holds one client. A dot
is the moment at which the order found lets the operation take effect; the red bar is the answer that fits nowhere.
"""

from dataclasses import dataclass
from html import escape

from raftline.linearizability.explain import Explanation
from raftline.linearizability.history import Operation
from raftline.linearizability.model import Model, State, show

__all__ = ["OPERATIONS_DRAWN_MAX", "render"]

OPERATIONS_DRAWN_MAX = 250
"""Of a longer prefix the last this many operations are drawn; the page says how many are not."""

_ROW_PX, _BAR_PX, _GAP_PX, _POINT_PX, _LABELS_PX, _TOP_PX = 42, 34, 34, 18, 110, 20
_LETTER_PX = 6.6
_WORDS_MAX = 400

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --paper: #fff; --line: #d5dae0; --ok: #dbe9f8; --ok-edge: #3d75b0;
  --open: #eceff2; --open-edge: #7b8794; --bad: #fbd9d7; --bad-edge: #c0261c; --order: #0b6b3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --paper: #15191d; --line: #3a434c; --ok: #1d3855;
  --ok-edge: #79b0ea; --open: #2b3239; --open-edge: #9aa5b1; --bad: #571c19; --bad-edge: #ff8a80; --order: #58d68d; } }
body { font: 14px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; } code { font-size: .92em; }
.scroll { overflow-x: auto; border: 1px solid var(--line); direction: rtl; }  /* rtl: the end is what one sees first */
.sheet { direction: ltr; display: flex; width: max-content; } .labels { position: sticky; left: 0;
  background: var(--paper); }
svg text { font: 11px ui-monospace, monospace; fill: var(--ink); }
svg .client { font-weight: bold; } svg .grid { stroke: var(--line); }
.bar { fill: var(--ok); stroke: var(--ok-edge); } .open .bar { fill: var(--open); stroke: var(--open-edge);
  stroke-dasharray: 4 3; } .unplaced .bar { fill: none; } .culprit .bar { fill: var(--bad); stroke: var(--bad-edge);
  stroke-width: 2; }
g.op:hover .bar, g.op:target .bar { stroke-width: 3; } tr:target { outline: 2px solid var(--ok-edge); }
.order { stroke: var(--order); fill: none; stroke-width: 1.5; } .point { fill: var(--order); }
.wall { stroke: var(--bad-edge); stroke-width: 2; stroke-dasharray: 6 4; } svg .wall-label { fill: var(--bad-edge); }
table { border-collapse: collapse; } th, td { text-align: left; padding: .15rem .8rem .15rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } td.number { text-align: right; }
td.long { max-width: 48rem; overflow-wrap: anywhere; } .bad { color: var(--bad-edge); font-weight: bold; }
"""


@dataclass(slots=True)
class _Bar:
    """One operation on the drawing, from column `first` to column `last`; `place` is its number in the order."""

    operation: Operation
    number: int
    first: int
    last: int
    place: int | None = None
    row: int = 0


@dataclass(slots=True)
class _Drawing:
    """Bars in the order of their calls; where each column (an event) starts; what stands before each row."""

    bars: list[_Bar]
    points: list[tuple[_Bar, float]]
    starts: list[int]
    rows: list[str]


def render(explanation: Explanation, model: Model, *, title: str = "Not linearizable") -> str:
    """Return the page; its size is bounded by OPERATIONS_DRAWN_MAX and the lengths of what the operations carry."""
    drawing = _lay_out(explanation, model)
    states = {place: item.state for place, item in enumerate(explanation.order, 1)}
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            _summary(explanation, model, drawing),
            '<div class="scroll"><div class="sheet">',
            _labels(drawing),
            _svg(explanation, drawing, model),
            "</div></div>",
            _LEGEND,
            _order_table(drawing, states, model),
            _unplaced_table(explanation, drawing, model),
            "</body></html>\n",
        ]
    )


def _choose(explanation: Explanation, model: Model) -> list[Operation]:
    """Return the operations to draw: the last ones to return, and what was open then, in the order of their calls."""
    answered = sorted((op for op in explanation.operations if op.known), key=lambda op: op.return_time or 0.0)
    open_ended = [op for op in explanation.operations if not op.known and model.changes(op)]
    placed = {id(item.operation) for item in explanation.order}
    last = answered[-OPERATIONS_DRAWN_MAX:]
    since = min(op.call_time for op in last)
    late = [op for op in open_ended if op.call_time >= since or id(op) in placed][-OPERATIONS_DRAWN_MAX:]
    return sorted(last + late, key=lambda op: op.call_time)


def _lay_out(explanation: Explanation, model: Model) -> _Drawing:
    """Give every event a column, every placed operation a point between two columns, every bar a row."""
    bars = [_Bar(op, number, 0, 0) for number, op in enumerate(_choose(explanation, model), 1)]
    events = [(bar.operation.call_time, 0, bar.number, bar) for bar in bars]
    events += [(bar.operation.return_time or 0.0, 1, bar.number, bar) for bar in bars if bar.operation.known]
    events.sort(key=lambda event: event[:3])
    for column, (_, is_return, _, bar) in enumerate(events):
        if is_return:
            bar.last = column
        else:
            bar.first = column
    by_operation = {id(bar.operation): bar for bar in bars}
    crowd = [0] * len(events)
    spots: list[tuple[_Bar, int, int]] = []
    column = 0
    for place, item in enumerate(explanation.order, 1):
        placed = by_operation.get(id(item.operation))
        if placed is not None:
            placed.place = place
            column = max(column, placed.first)
            spots.append((placed, column, crowd[column]))
            crowd[column] += 1
    starts = [0]
    for count in crowd:
        starts.append(starts[-1] + _GAP_PX + _POINT_PX * count)
    points = [(bar, starts[column] + (_GAP_PX + _POINT_PX) / 2 + _POINT_PX * nth) for bar, column, nth in spots]
    reached = {id(bar): column for bar, column, _ in spots}
    for bar in bars:
        if not bar.operation.known:
            bar.last = min(len(events), max(reached.get(id(bar), 0) + 1, bar.first + 2))
    return _Drawing(bars, points, starts, _assign_rows(bars))


def _assign_rows(bars: list[_Bar]) -> list[str]:
    """Give each bar a row of its client's in which it overlaps no other; return the rows' labels."""
    clients = sorted({bar.operation.client for bar in bars}, key=lambda client: (isinstance(client, str), client))
    labels: list[str] = []
    for client in clients:
        busy_until: list[int] = []
        base = len(labels)
        for bar in (bar for bar in bars if bar.operation.client == client):
            free = next((row for row, until in enumerate(busy_until) if until <= bar.first), len(busy_until))
            busy_until[free : free + 1] = [bar.last]
            bar.row = base + free
        labels += [str(client), *[""] * (len(busy_until) - 1)]
    return labels


def _labels(drawing: _Drawing) -> str:
    """Draw the clients' names, which stay in sight when the picture is scrolled."""
    height = _TOP_PX + _ROW_PX * len(drawing.rows) + 24
    parts = [f'<svg class="labels" width="{_LABELS_PX}" height="{height}">']
    for row, label in enumerate(drawing.rows):
        name = escape(_cut(f"client {label}" if label else "", _LABELS_PX - 10))
        parts.append(f'<text class="client" x="8" y="{_TOP_PX + _ROW_PX * row + 25}">{name}</text>')
    return "\n".join([*parts, "</svg>"])


def _svg(explanation: Explanation, drawing: _Drawing, model: Model) -> str:
    """Draw the bars, the order through them, and the wall where no order goes on."""
    width, height = drawing.starts[-1] + 40, _TOP_PX + _ROW_PX * len(drawing.rows) + 24
    parts = [f'<svg width="{width}" height="{height}" role="img">']
    for row in range(len(drawing.rows) + 1):
        y = _TOP_PX + _ROW_PX * row
        parts.append(f'<line class="grid" x1="0" x2="{width}" y1="{y}" y2="{y}"/>')
    parts += [_bar(bar, explanation, drawing, model) for bar in drawing.bars]
    spots = [(f"{x:.1f}", f"{_TOP_PX + _ROW_PX * bar.row + 29}", bar.place) for bar, x in drawing.points]
    parts.append(f'<polyline class="order" points="{" ".join(f"{x},{y}" for x, y, _ in spots)}"/>')
    for x_text, y_text, place in spots:
        parts.append(f'<circle class="point" cx="{x_text}" cy="{y_text}" r="4"><title>number {place}</title></circle>')
    wall = next(drawing.starts[bar.last] for bar in drawing.bars if bar.operation is explanation.culprit)
    parts.append(f'<line class="wall" x1="{wall}" x2="{wall}" y1="8" y2="{height - 20}"/>')
    parts.append(
        f'<text class="wall-label" text-anchor="end" x="{wall}" y="{height - 6}">no order goes past this return</text>'
    )
    return "\n".join([*parts, "</svg>"])


def _bar(bar: _Bar, explanation: Explanation, drawing: _Drawing, model: Model) -> str:
    """Draw one operation; hovering tells everything about it, clicking goes to its line in the order."""
    x, y = drawing.starts[bar.first], _TOP_PX + _ROW_PX * bar.row + (_ROW_PX - _BAR_PX) // 2
    width = max(drawing.starts[bar.last] - x, 8)
    operation = bar.operation
    kinds = ["op", "ok" if operation.known else "open"]
    kinds += ["culprit"] if operation is explanation.culprit else []
    kinds += ["unplaced"] if bar.place is None and operation is not explanation.culprit else []
    words = _short(model.describe_operation(operation))
    about = f"{words}\nclient {operation.client}, {_times(operation)}"
    about += f"\nnumber {bar.place} in the order" if bar.place is not None else "\nnot in the order"
    about += f"\n{operation.note}" if operation.note else ""
    target = f"#order-{bar.place}" if bar.place is not None else f"#unplaced-{bar.number}"
    return (
        f'<a href="{target}"><g class="{" ".join(kinds)}" id="op-{bar.number}"><title>{escape(about)}</title>'
        f'<rect class="bar" x="{x}" y="{y}" width="{width}" height="{_BAR_PX}" rx="4"/>'
        f'<text x="{x + 5}" y="{y + 14}">{escape(_cut(words, width - 8))}</text></g></a>'
    )


def _summary(explanation: Explanation, model: Model, drawing: _Drawing) -> str:
    """Say in words what the picture shows."""
    culprit = explanation.culprit
    where = "" if explanation.key is None else f" on key <code>{escape(show(explanation.key))}</code>"
    who = escape(str(culprit.client))
    answer = f'<code class="bad">{escape(_short(model.describe_operation(culprit)))}</code>'
    lines = [
        f"<p>The history{where} has an order up to here, but none in which client <code>{who}</code> gets this answer:"
    ]
    lines.append(f"{answer} ({escape(_times(culprit))}).</p>")
    if explanation.answers:
        could = ", ".join(f"<code>{escape(_short(show(value)))}</code>" for value in explanation.answers)
        lines.append(f"<p>In the order shown, which holds for everything else, it would have answered {could}.</p>")
    if not explanation.shortest:
        lines.append("<p>Time ran out before this was proven to be the shortest failing prefix.</p>")
    hidden = sum(op.known for op in explanation.operations) - sum(bar.operation.known for bar in drawing.bars)
    if hidden:
        lines.append(f"<p>{hidden} earlier operations are not drawn; all of them fit.</p>")
    return "\n".join(lines)


_LEGEND = """<p>Each bar is an operation from call to return, each row a client; time runs to the right, one column for
each call or return. Dots joined by a line are the moments at which the order found lets operations take effect. Dashed
bars had no answer yet: they may take effect at any later time, or never. The red bar is the answer that fits nowhere.
Hover over a bar for details, click it for its line in the table.</p>"""


def _order_table(drawing: _Drawing, states: dict[int, State], model: Model) -> str:
    """List the order found, with the state after each operation."""
    rows = ["<h2>The order found</h2><table><tr><th>#</th><th>client</th><th>operation</th><th>state after</th></tr>"]
    for bar, _ in drawing.points:
        assert bar.place is not None
        rows.append(
            f'<tr id="order-{bar.place}"><td class="number"><a href="#op-{bar.number}">{bar.place}</a></td>'
            f"<td>{escape(str(bar.operation.client))}</td>"
            f'<td class="long"><code>{escape(_short(model.describe_operation(bar.operation)))}</code></td>'
            f'<td class="long"><code>{escape(_short(model.describe_state(states[bar.place])))}</code></td></tr>'
        )
    return "\n".join([*rows, "</table>"])


def _unplaced_table(explanation: Explanation, drawing: _Drawing, model: Model) -> str:
    """List what is drawn but not in the order: the culprit, and what may never have happened."""
    rows = ["<h2>Not in the order</h2><table><tr><th>client</th><th>operation</th><th></th></tr>"]
    for bar in drawing.bars:
        if bar.place is None:
            guilty = bar.operation is explanation.culprit
            words = escape(_short(model.describe_operation(bar.operation)))
            why = '<td class="bad">fits nowhere</td>' if guilty else "<td>had not been answered yet</td>"
            rows.append(
                f'<tr id="unplaced-{bar.number}"><td>{escape(str(bar.operation.client))}</td><td class="long">'
                f'<a href="#op-{bar.number}"><code>{words}</code></a></td>'
                f"{why}</tr>"
            )
    return "\n".join([*rows, "</table>"]) if len(rows) > 1 else ""


def _times(operation: Operation) -> str:
    ended = "no answer yet" if operation.return_time is None else f"returned at {operation.return_time}"
    return f"called at {operation.call_time}, {ended}"


def _short(words: str) -> str:
    """Leave out the middle of what is too long to read; both ends matter."""
    return words if len(words) <= _WORDS_MAX else f"{words[: _WORDS_MAX // 2]} … {words[-_WORDS_MAX // 2 :]}"


def _cut(words: str, width_px: float) -> str:
    """Shorten to what fits; the whole text is shown on hovering and in the table."""
    letters = int(width_px / _LETTER_PX)
    if len(words) <= letters:
        return words
    return words[: letters - 1] + "…" if letters >= 2 else ""
