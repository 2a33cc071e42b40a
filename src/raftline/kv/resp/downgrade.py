"""RESP3 to RESP2: what a client gets that did not say HELLO 3; and pairs, which RESP3 itself does not have.

Maps become flat arrays, sets and pushes arrays, doubles and big numbers strings, booleans integers, null the null
string, verbatim text a plain string, long errors short ones, attributes nothing; as Redis itself answers such a client.
"""

import re

__all__ = ["as_resp3", "downgrade"]

_UNCHANGED = frozenset(b"+-:$")
_CONTAINERS = frozenset(b"*~>%|&")
_PUSH = 0x3E
_DOUBLED = frozenset(b"%|")
_TEXTS = frozenset(b"$=!")
_RESP3_WITHIN = re.compile(rb"\n[_%~#,(=>|!&]")
_PAIRS_WITHIN = re.compile(rb"\n&[0-9-]")
_NULL = b"$-1\r\n"
_NULL_ARRAY = b"*-1\r\n"
_NULL_PAIRS = b"&-1\r\n"
_RESP3_NULL = b"_\r\n"


def downgrade(reply: bytes) -> bytes:
    """Return the RESP2 form of one complete RESP3 reply, or of several pushes."""
    kind = reply[0]
    if kind in _UNCHANGED:
        return reply
    if kind == 0x5F:  # _
        return _NULL
    if reply == _NULL_PAIRS:
        return _NULL_ARRAY
    if kind == 0x2A and _RESP3_WITHIN.search(reply) is None:  # *
        return reply
    parts: list[bytes] = []
    position = _convert(reply, 0, parts)
    while position < len(reply):
        position = _convert(reply, position, parts)
    return b"".join(parts)


def as_resp3(reply: bytes) -> bytes:
    """Return one complete reply with arrays of pairs in place of `&`."""
    kind = reply[0]
    if kind == 0x26:  # &
        return _RESP3_NULL if reply == _NULL_PAIRS else b"*" + reply[1:]
    if kind not in _CONTAINERS or kind == _PUSH or _PAIRS_WITHIN.search(reply) is None:
        return reply
    parts: list[bytes] = []
    _copy(reply, 0, parts)
    return b"".join(parts)


def _copy(reply: bytes, position: int, parts: list[bytes]) -> int:
    """Append the RESP3 form of the value at `position`; return where the next one starts."""
    end = reply.index(b"\r\n", position)
    kind, size = reply[position], reply[position + 1 : end]
    after = end + 2
    if kind == 0x26 and size == b"-1":
        parts.append(_RESP3_NULL)
        return after
    if kind in _TEXTS and size != b"-1":
        after += int(size) + 2
    head = reply[position:after]
    parts.append(b"*" + head[1:] if kind == 0x26 else head)
    if kind in _CONTAINERS:
        for _ in range(int(size) * (2 if kind in _DOUBLED else 1)):
            after = _copy(reply, after, parts)
    return after


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
    if kind == b"&":
        return _convert_pairs(reply, position, size, parts)
    assert kind in b"*~>%", "replies are RESP3"
    parts.append(b"*%d\r\n" % count)
    for _ in range(count):
        position = _convert(reply, position, parts)
    return position


def _convert_pairs(reply: bytes, start: int, size: int, parts: list[bytes]) -> int:
    """Convert pairs whose header was read to one flat array."""
    if size < 0:
        parts.append(_NULL_ARRAY)
        return start
    position = start
    parts.append(b"*%d\r\n" % (2 * size))
    for _ in range(size):
        position += len(b"*2\r\n")
        position = _convert(reply, _convert(reply, position, parts), parts)
    return position
