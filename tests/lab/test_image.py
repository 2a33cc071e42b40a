"""The bytes of `raft_state` say what the log says, whatever happened to it, and foreign bytes are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.core.entries import Entry, HardState, SnapshotMeta
from raftline.errors import CorruptLog
from raftline.lab.image import LogImage

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.lists(st.binary(max_size=40), min_size=1, max_size=4)),
        st.tuples(st.just("compact"), st.integers(0, 8), st.just([])),
        st.tuples(st.just("restart"), st.integers(0, 8), st.just([])),
    ),
    max_size=12,
)


@given(_STEPS, st.integers(0, 2**40), st.none() | st.integers(0, 6))
def test_the_image_follows_the_log(steps: list[tuple[str, int, list[bytes]]], term: int, vote: int | None) -> None:
    """After appends, replacements, compactions and restarts it decodes to exactly what a plain list holds (C1, C9)."""
    image = LogImage()
    base, base_term, log = 0, 0, list[Entry]()
    for number, (what, amount, commands) in enumerate(steps, start=1):
        if what == "put":
            keep = max(0, len(log) - amount)
            new = [Entry(base + keep + n + 1, number, data) for n, data in enumerate(commands)]
            image.put(new)
            log = log[:keep] + new
        elif what == "compact":
            cut = min(amount, len(log))
            base_term = log[cut - 1].term if cut else base_term
            image.compact_to(base + cut, base_term)
            base, log = base + cut, log[cut:]
        else:
            base, base_term, log = base + len(log) + amount, number, []
            image.restart_at(SnapshotMeta(base, base_term))
    image.hard_state = HardState(term, None if vote is None else str(vote))
    loaded = LogImage(image.encode())
    assert loaded.entries() == image.entries() == log
    assert (loaded.base_index, loaded.base_term, loaded.last_index) == (base, base_term, base + len(log))
    assert loaded.hard_state == HardState(term, None if vote is None else str(vote))


def test_no_bytes_are_a_first_boot() -> None:
    """Empty state is term 0, no vote, no entries (C8)."""
    image = LogImage(b"")
    assert (image.hard_state, image.base_index, image.entries()) == (HardState(), 0, [])


def test_every_cut_and_every_foreign_state_is_refused() -> None:
    """A state that was cut anywhere, grew, or is somebody else's raises CorruptLog (C9)."""
    image = LogImage()
    image.put([Entry(1, 1, b"one"), Entry(2, 1, b"two")])
    whole = image.encode()
    for length in range(1, len(whole)):
        with pytest.raises(CorruptLog):
            LogImage(whole[:length])
    for foreign in (whole + b"x", b"X" + whole[1:], b"\x80\x04pickle"):
        with pytest.raises(CorruptLog):
            LogImage(foreign)
