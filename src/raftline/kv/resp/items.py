"""The items of an array reply, each as the bytes it is."""

__all__ = ["items_of"]

_CONTAINERS = frozenset(b"*~>%|&")
_DOUBLED = frozenset(b"%|")
_TEXTS = frozenset(b"$=!")


def items_of(reply: bytes) -> list[bytes]:
    """Return the replies that an array reply, complete and in RESP3, consists of."""
    assert reply[:1] == b"*", "an array"
    end = reply.index(b"\r\n")
    position = end + 2
    items: list[bytes] = []
    for _ in range(int(reply[1:end])):
        after = _end_of(reply, position)
        items.append(reply[position:after])
        position = after
    return items


def _end_of(reply: bytes, position: int) -> int:
    """Return where the value at `position` ends."""
    end = reply.index(b"\r\n", position)
    kind, after = reply[position], end + 2
    if kind in _TEXTS:
        size = int(reply[position + 1 : end])
        return after if size < 0 else after + size + 2
    if kind in _CONTAINERS:
        count = int(reply[position + 1 : end]) * (2 if kind in _DOUBLED else 1)
        for _ in range(count + (kind == 0x7C)):  # an attribute stands before the value that it is of
            after = _end_of(reply, after)
    return after
