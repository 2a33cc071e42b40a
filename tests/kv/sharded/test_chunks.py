"""What travels with slots, cut into chunks."""

import sys

from raftline.kv.sharded.chunks import START, Giving, Marks, next_chunk
from raftline.kv.slots import slot_of
from raftline.kv.store import Store


def test_a_chunk_of_a_large_slot_costs_what_it_holds() -> None:
    """However many keys a slot has: the first chunk, and any other that somebody asks for, looks at few of them."""
    store = Store()
    for number in range(20_000):
        store.put(b"{one}%d" % number, b"v")
    slot = slot_of(b"one")
    count = 0

    def on_call(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    keys: list[bytes] = []
    costs: list[int] = []
    cursor = START
    while cursor.slot <= slot:
        giving = Giving(1, 1, [slot], store, Marks(), [])
        count = 0
        sys.setprofile(on_call)
        try:
            chunk = next_chunk(giving, cursor)
        finally:
            sys.setprofile(None)
        assert chunk is not None
        cursor = chunk.next
        costs.append(count)
        keys += [record.key for _, record in chunk.records]
    assert len(keys) == len(set(keys)) == 20_000
    assert max(costs) < 20_000
    assert len(costs) > 30
