"""A load that keeps its size."""

from random import Random

from raftline.kv.machine import KvMachine, encode_command
from raftline.sim.level_words import LevelWords

READ_SIZE = {b"h": b"HLEN", b"l": b"LLEN", b"t": b"SCARD", b"z": b"ZCARD", b"u": b"SCARD", b"y": b"ZCARD"}
KEYS = 12
KINDS = {
    *(b"SET", b"INCR", b"HSET", b"HDEL", b"LPUSH", b"LTRIM", b"SADD", b"SPOP"),
    *(b"ZADD", b"ZPOPMIN", b"PEXPIRE", b"DEL", b"SUNIONSTORE", b"SINTERSTORE", b"SDIFFSTORE", b"ZRANGESTORE"),
}
READS = {b"GET", b"HGETALL", b"LRANGE", b"SMEMBERS", b"ZRANGE", b"SCAN", b"TTL"}


def test_the_number_of_keys_and_their_size_stay_the_same() -> None:
    """Ten thousand commands of every kind later the store is as large as after three thousand, and none was refused."""
    words, machine = LevelWords(Random(1), 20), KvMachine()
    sizes: list[tuple[int, int]] = []
    names = set()
    for index, command in enumerate([*words.fill(), *(words.next() for _ in range(10_000))], 1):
        names.add(command[0])
        if command[0] in READS:
            reply = machine.read(encode_command(list(command)), index * 150)
        else:
            reply = machine.apply(encode_command(list(command)), index, index * 150)
        assert not reply.startswith(b"-"), (command, reply)
        sizes.append((machine.store.count, machine.store.used_bytes))
    assert names >= KINDS | READS
    (keys, bytes_), (keys_late, bytes_late) = (
        (max(count for count, _ in part), max(size for _, size in part)) for part in (sizes[3000:5000], sizes[-2000:])
    )
    assert 0.8 * keys < keys_late < 1.1 * keys
    assert 0.8 * bytes_ < bytes_late < 1.1 * bytes_


def test_containers_begin_as_full_as_they_stay() -> None:
    """Right after they are filled containers hold what they hold on average over virtual hours, kind by kind."""
    words, machine = LevelWords(Random(2), KEYS), KvMachine()
    sums = dict.fromkeys(READ_SIZE, 0)
    for index, command in enumerate(words.fill(), 1):
        machine.apply(encode_command(list(command)), index, index)
    at_first = {kind: members(machine, kind) for kind in READ_SIZE}
    for index in range(1000, 31_000):
        command = words.next()
        if command[0] not in READS:
            machine.apply(encode_command(list(command)), index, index * 200)
        if index % 1000 == 0:
            sums = {kind: total + members(machine, kind) for kind, total in sums.items()}
    for kind, total in sums.items():
        assert 0.8 * at_first[kind] < total / 30 < 1.25 * at_first[kind], kind


def members(machine: KvMachine, kind: bytes) -> int:
    """Return how many members all keys of a kind have together."""
    return sum(
        int(machine.read(encode_command([READ_SIZE[kind], kind + b"%d" % number]), 0).strip(b":\r\n"))
        for number in range(KEYS)
    )
