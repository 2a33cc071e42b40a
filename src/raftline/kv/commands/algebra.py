"""Sorted sets made of several: unions, intersections, differences; plain sets take part with scores of 1."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec

from raftline.kv.commands.arguments import SYNTAX_ERROR, require_at_least, require_integer
from raftline.kv.commands.command import Arguments, Refused
from raftline.kv.commands.floats import parse_double
from raftline.kv.commands.sorted_sets import scored_reply
from raftline.kv.commands.typed import WRONG_TYPE
from raftline.kv.resp.replies import error, integer
from raftline.kv.store import Store
from raftline.kv.values.container import Container
from raftline.kv.values.set import Set
from raftline.kv.values.sorted_set import SortedSet

__all__ = ["zdiff", "zdiffstore", "zinter", "zintercard", "zinterstore", "zunion", "zunionstore"]

_NO_WEIGHT = error("ERR weight value is not a float")
_AGGREGATES = {b"SUM", b"MIN", b"MAX"}

Source = SortedSet | Set
Find = Callable[[bytes], Container | bytes | None]
"""Key → value."""


class _Request(msgspec.Struct, frozen=True):
    """What a command of this family was told; a key that is not there has None among `sources`."""

    sources: list[Source | None]
    weights: list[float]
    aggregate: bytes
    with_scores: bool
    limit: int


def zunion(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]."""
    request = _parse(args, 1, lambda key: store.read(key, now_ms), "zunion", b"WEIGHTS AGGREGATE WITHSCORES")
    return _reply(SortedSet(_union(request).items()), request)


def zinter(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZINTER numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]."""
    request = _parse(args, 1, lambda key: store.read(key, now_ms), "zinter", b"WEIGHTS AGGREGATE WITHSCORES")
    return _reply(SortedSet(_intersection(request)), request)


def zdiff(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZDIFF numkeys key [key ...] [WITHSCORES]."""
    request = _parse(args, 1, lambda key: store.read(key, now_ms), "zdiff", b"WITHSCORES")
    return _reply(SortedSet(_difference(request)), request)


def zintercard(store: Store, args: Arguments, now_ms: int) -> bytes:
    """ZINTERCARD numkeys key [key ...] [LIMIT limit]."""
    request = _parse(args, 1, lambda key: store.read(key, now_ms), "zintercard", b"LIMIT")
    sources = _once(request.sources)
    request = msgspec.structs.replace(request, sources=sources, weights=[1.0] * len(sources))
    return integer(sum(1 for _ in islice(_intersection(request), request.limit or None)))


def zunionstore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX]."""
    request = _parse(args, 2, store.get, "zunionstore", b"WEIGHTS AGGREGATE")
    return _store(store, args[1], _union(request).items())


def zinterstore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX]."""
    request = _parse(args, 2, store.get, "zinterstore", b"WEIGHTS AGGREGATE")
    return _store(store, args[1], _intersection(request))


def zdiffstore(store: Store, args: Arguments, _time_ms: int) -> bytes:
    """ZDIFFSTORE destination numkeys key [key ...]."""
    return _store(store, args[1], _difference(_parse(args, 2, store.get, "zdiffstore", b"")))


def _parse(args: Arguments, position: int, find: Find, name: str, allowed: bytes) -> _Request:
    """Read the keys whose number stands at `position`, then the options that are allowed; raises `Refused`."""
    count = require_integer(args[position])
    if count < 1:
        raise Refused(error(f"ERR at least 1 input key is needed for '{name}' command"))
    place = position + 1 + count
    if place > len(args):
        raise Refused(SYNTAX_ERROR)
    sources = [_source(find(key)) for key in args[position + 1 : place]]
    weights, aggregate, with_scores, limit = [1.0] * count, b"SUM", False, 0
    words = set(allowed.split())
    while place < len(args):
        option = args[place].upper()
        left = len(args) - place - 1
        if option not in words:
            raise Refused(SYNTAX_ERROR)
        if option == b"WEIGHTS" and left >= count:
            weights = [_weight(text) for text in args[place + 1 : place + 1 + count]]
            place += count
        elif option == b"AGGREGATE" and left and args[place + 1].upper() in _AGGREGATES:
            aggregate = args[place + 1].upper()
            place += 1
        elif option == b"LIMIT" and left:
            limit = require_at_least(args[place + 1], 0, "LIMIT can't be negative")
            place += 1
        elif option == b"WITHSCORES":
            with_scores = True
        else:
            raise Refused(SYNTAX_ERROR)
        place += 1
    return _Request(sources, weights, aggregate, with_scores, limit)


def _source(value: Container | bytes | None) -> Source | None:
    if value is None or isinstance(value, SortedSet | Set):
        return value
    raise Refused(WRONG_TYPE)


def _weight(text: bytes) -> float:
    weight = parse_double(text)
    if weight is None:
        raise Refused(_NO_WEIGHT)
    return weight


def _scored(source: Source) -> Iterator[tuple[bytes, float]]:
    if isinstance(source, SortedSet):
        yield from source.scores.items()
    else:
        for member in source:
            yield member, 1.0


def _score(source: Source, member: bytes) -> float | None:
    if isinstance(source, SortedSet):
        return source.scores.get(member)
    return 1.0 if member in source else None


def _once(sources: list[Source | None]) -> list[Source | None]:
    """Return each source once, where it changes nothing that one is named again."""
    return list({id(source): source for source in sources}.values())


def _smallest_first(request: _Request) -> list[tuple[Source | None, float]]:
    """Return the sources with their weights in the order in which Redis adds scores."""
    sources = zip(request.sources, request.weights, strict=True)
    return sorted(sources, key=lambda pair: 0 if pair[0] is None else pair[0].count)


def _weighted(score: float, weight: float) -> float:
    product = score * weight
    return 0.0 if math.isnan(product) else product


def _aggregated(aggregate: bytes, score: float, other: float) -> float:
    if aggregate == b"MIN":
        return min(score, other)
    if aggregate == b"MAX":
        return max(score, other)
    total = score + other
    return 0.0 if math.isnan(total) else total


def _union(request: _Request) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for source, weight in _smallest_first(request):
        for member, score in () if source is None else _scored(source):
            product = _weighted(score, weight)
            before = found.get(member)
            found[member] = product if before is None else _aggregated(request.aggregate, before, product)
    return found


def _intersection(request: _Request) -> Iterator[tuple[bytes, float]]:
    (first, first_weight), *others = _smallest_first(request)
    if first is None:
        return
    for member, score in _scored(first):
        total = _weighted(score, first_weight)
        for source, weight in others:
            other = None if source is None else _score(source, member)
            if other is None:
                break
            total = _aggregated(request.aggregate, total, other * weight)
        else:
            yield member, total


def _difference(request: _Request) -> Iterator[tuple[bytes, float]]:
    first, *others = request.sources
    if first is None:
        return
    there = [source for source in _once(others) if source is not None]
    if len(there) * first.count > sum(source.count for source in there):
        gone = {member for source in there for member, _ in _scored(source)}
        yield from ((member, score) for member, score in _scored(first) if member not in gone)
        return
    for member, score in _scored(first):
        if not any(_score(source, member) is not None for source in there):
            yield member, score


def _reply(result: SortedSet, request: _Request) -> bytes:
    return scored_reply(list(result.order), with_scores=request.with_scores)


def _store(store: Store, key: bytes, scored: Iterable[tuple[bytes, float]]) -> bytes:
    result = SortedSet(scored)
    store.put_new(key, result)
    return integer(result.count)
