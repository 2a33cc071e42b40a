"""Sequences: a list in parts, whose clones do not see each other's changes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raftline.kv.values.sequence import Sequence

changes = st.lists(
    st.tuples(st.sampled_from(["append", "prepend", "insert", "pop", "set", "cut", "extend"]), st.integers(0, 10**6)),
    max_size=40,
)


def change(sequence: Sequence[int], twin: list[int], kind: str, number: int) -> None:
    """Do the same to a sequence and a list."""
    place = number % len(twin) if twin else 0
    if kind == "append":
        sequence.append(number)
        twin.append(number)
    elif kind == "prepend":
        for _ in range(number % 900):
            sequence.prepend(number)
        twin[:0] = [number] * (number % 900)
    elif kind == "extend":
        sequence.extend(range(number % 1500))
        twin.extend(range(number % 1500))
    elif kind == "insert":
        for _ in range(number % 300):
            sequence.insert(place, number)
        twin[place:place] = [number] * (number % 300)
    elif twin:
        shrink(sequence, twin, kind, number)


def shrink(sequence: Sequence[int], twin: list[int], kind: str, number: int) -> None:
    """Change or remove items of a sequence and a list."""
    place = number % len(twin)
    if kind == "set":
        assert sequence.set(place, number) == twin[place]
        twin[place] = number
        return
    end = min(len(twin), place + number % 1200)
    if kind == "cut":
        assert sequence.remove_between(place, end) == twin[place:end]
    else:
        assert [sequence.pop(place) for _ in range(place, end)] == twin[place:end]
    del twin[place:end]


def check(sequence: Sequence[int], twin: list[int]) -> None:
    """Compare them, read in every way."""
    assert list(sequence) == twin
    assert list(reversed(sequence)) == twin[::-1]
    assert sequence.count == len(twin)
    assert all(sequence.parts())
    for start, stop in ((0, len(twin)), (len(twin) // 3, len(twin) // 2), (1, 1)):
        assert list(sequence.between(start, stop)) == twin[start:stop]
        assert list(sequence.between_reversed(start, stop)) == twin[start:stop][::-1]
    for index in range(0, len(twin), 101):
        assert sequence[index] == twin[index]


@settings(max_examples=60, deadline=None)
@given(changes, changes)
def test_it_is_a_list_and_so_is_its_clone(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """Whatever is changed, before and after a clone, both hold what a list holds."""
    sequence: Sequence[int] = Sequence()
    twin: list[int] = []
    for kind, number in before:
        change(sequence, twin, kind, number)
    check(sequence, twin)
    clone, other = sequence.clone(), twin.copy()
    for position, (kind, number) in enumerate(after):
        if position % 2:
            change(clone, other, kind, number)
        else:
            change(sequence, twin, kind, number)
    check(sequence, twin)
    check(clone, other)
