"""Bytes from a client become commands: lists of arguments.

Three readers of one grammar. Whole, ordinary commands are taken apart by one `split` in C; long ones by their headers,
so that nobody looks for line ends in kilobytes of value; what came in pieces, was typed by hand, holds line ends or is
wrong goes through the careful reader, which checks each limit as soon as the header that breaks it is there. None
allocates what a header merely promises. (hiredis does, for arrays; guarded against that it was measured to be no
faster.) Errors are worded as Redis words them.
"""

import re

from raftline.kv.limits import ARGUMENT_BYTES, Limits
from raftline.kv.resp.inline import split_inline

__all__ = ["RequestParser"]

_ASTERISK, _DOLLAR = b"*$"
_LINE_BYTES_MAX = 64 << 10
_INTEGER = re.compile(rb"-?[1-9][0-9]{0,17}|0")
_COUNTS = {b"*%d" % count: count for count in range(1, 64)}
_SIZES = {b"$%d" % size: size for size in range(4096)}
_LONG_BYTES = 800
"""Arguments of more bytes than this, on average, are not searched for line ends, which takes a nanosecond for each."""
_SHORT_BYTES = 1024
"""What is no longer is searched from end to end for a lone command; what is longer is one if those before it were."""
_HEADER_BYTES = 16
"""The longest header that is read without care, its line end included."""


class RequestParser:
    """One connection's input.

    Invariants: what is buffered is less than one request and within the limits; after an error nothing is parsed.
    """

    __slots__ = (
        "_args",
        "_buffer",
        "_bulk",
        "_is_long",
        "_limits",
        "_missing",
        "_position",
        "_request_bytes",
        "error",
        "is_amid_request",
        "parsed_count",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._position = 0
        self._args: list[bytes] = []
        self._missing = 0
        self._bulk = -1
        self._request_bytes = 0
        self._is_long = False
        """What came last was long commands; what comes next will be like it, for all that this decides."""
        self.error: str | None = None
        self.parsed_count = 0
        """Commands that were complete so far."""
        self.is_amid_request = False
        """Part of a request was received, and not all of it."""

    @property
    def partial_bytes(self) -> int:
        """Return the memory that a half-received request takes; 0 between requests."""
        if not self._buffer and not self._missing:
            return 0
        return len(self._buffer) + self._request_bytes + ARGUMENT_BYTES * (len(self._args) + 1)

    def clear(self) -> None:
        """Forget the request that is half there."""
        self._buffer = bytearray()
        self._args = []
        self._position = self._missing = self._request_bytes = 0
        self._bulk = -1
        self.is_amid_request = False

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Take bytes in; return the commands they complete, each with at least one argument. See `error` afterwards."""
        if self.error is not None:
            return []
        if not self._buffer and not self._missing:
            commands = self._parse(data)
        else:
            self._buffer += data
            commands = self._parse_carefully(one=True)
            if commands and self._buffer:
                rest = bytes(self._buffer)
                self._buffer = bytearray()
                commands += self._parse(rest)
        self.parsed_count += len(commands)
        self.is_amid_request = bool(self._missing or self._buffer)
        return commands

    def find_alone(self, data: bytes) -> list[bytes] | None:
        """Take in the command that `data` is: one, whole and ordinary, between two others; None: it is to be fed.

        Its length is within the limits.
        """
        is_short = len(data) <= _SHORT_BYTES
        if self._buffer or self._missing or self.error is not None or not (is_short or self._is_long):
            return None
        parts = data.split(b"\r\n") if is_short else _split_long(data)
        count = _COUNTS.get(parts[0])
        if count is None or len(parts) != count + count + 2 or parts[-1]:
            return None
        args = parts[2::2]
        headers = parts[1:-1:2]
        if [*map(_SIZES.get, headers)] != [*map(len, args)] and (
            is_short or headers != [b"$%d" % len(arg) for arg in args]
        ):
            return None
        self.parsed_count += 1
        self._is_long = not is_short and len(data) > _LONG_BYTES * count
        return args

    def _parse(self, data: bytes) -> list[list[bytes]]:
        """Parse from a boundary between requests: whole ordinary commands first, the rest carefully.

        `*3 CRLF $3 CRLF SET CRLF ...` split at line ends is count, size, argument, size, argument, ...; every size is
        compared, so that an argument that holds line ends is noticed.
        """
        limits = self._limits
        is_within = len(data) <= limits.request_bytes_max and limits.args_max >= len(_COUNTS)
        if self._is_long and is_within:
            return self._parse_long(data)
        parts = data.split(b"\r\n")
        last = len(parts) - 1
        commands: list[list[bytes]] = []
        start = 0
        counts, sizes = _COUNTS.get, _SIZES.get
        if not is_within:
            last = 0  # only the careful reader looks at these limits
        while start < last:
            count = counts(parts[start])
            if count is None:
                break
            end = start + count + count + 1
            if end > last:
                break
            args = parts[start + 2 : end : 2]
            position = start + 1
            for arg in args:
                header = parts[position]
                if sizes(header) != len(arg) and header != b"$%d" % len(arg):
                    break
                position += 2
            else:
                commands.append(args)
                start = end
                continue
            break
        self._is_long = len(data) + len(data) > _LONG_BYTES * len(parts)  # every other part is an argument
        if start == len(parts) - 1 and not parts[start]:
            return commands
        self._buffer += data if start == 0 else b"\r\n".join(parts[start:])
        del parts
        return commands + self._parse_carefully()

    def _parse_long(self, data: bytes) -> list[list[bytes]]:
        """Parse as `_parse` does, from header to header; what is not whole or not ordinary is read carefully."""
        commands: list[list[bytes]] = []
        start, stop = 0, len(data)
        args_count = 0
        while start < stop:
            args, end = _take_long(data, start)
            if not args:
                break
            commands.append(args)
            args_count += len(args)
            start = end
        if commands:
            self._is_long = start > _LONG_BYTES * args_count
        if start < stop:
            self._buffer += data if start == 0 else data[start:]
            commands += self._parse_carefully()
        return commands

    def _parse_carefully(self, *, one: bool = False) -> list[list[bytes]]:
        """Parse what is buffered; with `one`, no further than the end of one command."""
        commands: list[list[bytes]] = []
        buffer = self._buffer
        while self.error is None and not (one and commands):
            if self._missing:
                progress = self._take_bulk()
                if progress and not self._missing:
                    commands.append(self._args)
                    self._args = []
                    self._request_bytes = 0
            elif self._position >= len(buffer):
                progress = False
            elif buffer[self._position] == _ASTERISK:
                progress = self._take_count()
            else:
                progress = self._take_inline(commands)
            if not progress:
                break
        if self.error is not None:
            self._args = []
            self._missing = 0
        if self.error is not None or self._position == len(buffer):
            self._buffer = bytearray()  # an emptied bytearray may keep its memory
        else:
            del buffer[: self._position]
        self._position = 0
        return commands

    def _take_line(self, too_long: str) -> bytes | None:
        """Return the next line without its end, or None until it is there."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", self._position)
        if end < 0:
            if len(buffer) - self._position > _LINE_BYTES_MAX:
                self.error = too_long
            return None
        line = bytes(buffer[self._position : end])
        self._position = end + 2
        return line

    def _take_count(self) -> bool:
        """Read `*N`: a request of N arguments begins. N <= 0 is a request of nothing."""
        line = self._take_line("too big mbulk count string")
        if line is None:
            return False
        count = _parse_integer(line[1:])
        if count is None or count > self._limits.args_max:
            self.error = "invalid multibulk length"
            return False
        self._missing = max(0, count)
        self._request_bytes = 0
        return True

    def _take_bulk(self) -> bool:
        """Read `$N` and then N bytes: one argument."""
        buffer = self._buffer
        if self._bulk < 0:
            if self._position < len(buffer) and buffer[self._position] != _DOLLAR:
                got = bytes(buffer[self._position : self._position + 1]).decode("utf-8", "surrogateescape")
                self.error = f"expected '$', got '{got}'"
                return False
            line = self._take_line("too big bulk count string")
            if line is None:
                return False
            size = _parse_integer(line[1:])
            if size is None or size < 0 or self._request_bytes + size > self._limits.request_bytes_max:
                self.error = "invalid bulk length"
                return False
            self._bulk = size
        end = self._position + self._bulk
        if len(buffer) < end + 2:
            return False
        with memoryview(buffer) as view:
            self._args.append(bytes(view[self._position : end]))
        self._request_bytes += self._bulk
        self._position = end + 2
        self._bulk = -1
        self._missing -= 1
        return True

    def _take_inline(self, commands: list[list[bytes]]) -> bool:
        """Read a line that a person typed; an empty one is nothing."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._position)
        if end < 0 or end - self._position > _LINE_BYTES_MAX:
            if len(buffer) - self._position > _LINE_BYTES_MAX:
                self.error = "too big inline request"
            return False
        line = bytes(buffer[self._position : end])
        self._position = end + 1
        args = split_inline(line.removesuffix(b"\r"))
        if args is None:
            self.error = "unbalanced quotes in request"
            return False
        if args:
            commands.append(args)
        return True


def _split_long(data: bytes) -> list[bytes]:
    """Return what `data.split` does of a lone command, without a search for line ends in its last argument."""
    count = _COUNTS.get(data[:2], 0)
    parts = data.split(b"\r\n", count + count)
    last = parts[-1]
    if len(parts) == count + count + 1 and last[-2:] == b"\r\n":
        parts[-1:] = [last[:-2], b""]
    return parts


def _take_long(data: bytes, start: int) -> tuple[list[bytes], int]:
    """Return the command at `start` and where it ends; no arguments if it is not whole, or not ordinary."""
    line = data.find(b"\r\n", start, start + _HEADER_BYTES)
    count = 0 if line < 0 else _COUNTS.get(data[start:line], 0)
    args: list[bytes] = []
    end = line + 2
    for _ in range(count):
        line = data.find(b"\r\n", end, end + _HEADER_BYTES)
        header = data[end:line]
        size = -1 if line < 0 else _SIZES.get(header) or _size_in(header)
        begin, end = line + 2, line + size + 4
        if size < 0 or data[end - 2 : end] != b"\r\n":
            return [], start
        args.append(data[begin : end - 2])
    return args, end


def _size_in(header: bytes) -> int:
    """Return the size that `$N` gives; -1 if it is written otherwise."""
    digits = header[1:]
    return int(digits) if header[:1] == b"$" and _INTEGER.fullmatch(digits) else -1


def _parse_integer(digits: bytes) -> int | None:
    """Read an integer as Redis does: no sign but minus, no leading zeros, no blanks."""
    return int(digits) if _INTEGER.fullmatch(digits) else None
