"""RESP3 to RESP2: what a client gets that did not say HELLO 3.

Maps become flat arrays, sets and pushes arrays, doubles and big numbers strings, booleans integers, null the null
string, verbatim text a plain string, long errors short ones, attributes nothing; as Redis itself answers such a client.
"""

import re

__all__ = ["downgrade"]

_UNCHANGED = frozenset(b"+-:$")
_RESP3_WITHIN = re.compile(rb"\n[_%~#,(=>|!]")
_NULL = b"$-1\r\n"


def downgrade(reply: bytes) -> bytes:
    """Return the RESP2 form of one complete RESP3 reply."""
    kind = reply[0]
    if kind in _UNCHANGED:
        return reply
    if kind == 0x5F:  # _
        return _NULL
    if kind == 0x2A and _RESP3_WITHIN.search(reply) is None:  # *
        return reply
    parts: list[bytes] = []
    _convert(reply, 0, parts)
    return b"".join(parts)


def _convert(reply: bytes, position: int, parts: list[bytes]) -> int:
    """Append the RESP2 form of the value at `position`; return where the next one starts."""
    end = reply.index(b"\r\n", position)
    kind = reply[position : position + 1]
    head = reply[position + 1 : end]
    after = end + 2
    if kind in b"+-:":
        parts.append(reply[position:after])
    elif kind in b"$=!":
        after = _convert_text(kind, reply, after, int(head), parts)
    elif kind == b"_":
        parts.append(_NULL)
    elif kind == b"#":
        parts.append(b":1\r\n" if head == b"t" else b":0\r\n")
    elif kind in b",(":
        parts.append(b"$%d\r\n%b\r\n" % (len(head), head))
    else:
        after = _convert_container(kind, reply, after, int(head), parts)
    return after


def _convert_text(kind: bytes, reply: bytes, start: int, size: int, parts: list[bytes]) -> int:
    if size < 0:
        parts.append(_NULL)
        return start
    text = reply[start : start + size]
    if kind == b"!":
        parts.append(b"-%b\r\n" % text)
    else:
        if kind == b"=":
            text = text[4:]
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return start + size + 2


def _convert_container(kind: bytes, reply: bytes, start: int, size: int, parts: list[bytes]) -> int:
    """Convert an array, set, push, map or attribute whose header was read."""
    count = 2 * size if kind in b"%|" else size
    position = start
    if kind == b"|":
        dropped: list[bytes] = []
        for _ in range(count):
            position = _convert(reply, position, dropped)
        return _convert(reply, position, parts)
    assert kind in b"*~>%", "replies are RESP3"
    parts.append(b"*%d\r\n" % count)
    for _ in range(count):
        position = _convert(reply, position, parts)
    return position
