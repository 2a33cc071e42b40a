"""A trace is a line per event: time, a column per server, what happened."""

from raftline.lab.network import NetworkEvent
from raftline.lab.trace import EVENTS_KEPT_MAX, Trace


def test_lines_show_time_columns_and_event() -> None:
    """Calls point to the right, replies to the left, and what became of them stands at the end."""
    trace = Trace()
    trace.columns = "L2 f2"
    trace.note(0.5, "server 0 leads term 2")
    trace.note(1.25, NetworkEvent(1.25, "request", 0, 1, "AppendEntries", 30, 7))
    trace.note(1.5, NetworkEvent(1.5, "reply", 0, 1, "AppendEntries", 9, 7))
    trace.note(1.5, NetworkEvent(1.5, "request lost", 1, 0, "RequestVote", 8, 8))
    trace.note(2.0, NetworkEvent(2.0, "unreachable", 1, 0, "RequestVote", 8, 9))
    assert list(trace.lines()) == [
        "   0.500000  L2 f2  server 0 leads term 2",
        "   1.250000  L2 f2  #7 0→1 AppendEntries 30 B",
        "   1.500000  L2 f2  #7 0←1 AppendEntries 9 B",
        "   1.500000  L2 f2  #8 1→0 RequestVote 8 B  lost",
        "   2.000000  L2 f2  #9 1→0 RequestVote 8 B  unreachable",
    ]


def test_a_long_trace_keeps_its_end() -> None:
    """What is forgotten is counted, and the first line says so."""
    trace = Trace()
    for number in range(EVENTS_KEPT_MAX + 3):
        trace.note(float(number), "x")
    assert trace.dropped == 3
    assert next(trace.lines()) == "# 3 earlier events are not kept"
