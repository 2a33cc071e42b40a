"""A load that keeps its size."""

from random import Random

from raftline.kv.machine import KvMachine, encode_command
from raftline.sim.level_words import LevelWords

KINDS = {
    *(b"SET", b"INCR", b"HSET", b"HDEL", b"LPUSH", b"LTRIM", b"SADD", b"SPOP"),
    *(b"ZADD", b"ZPOPMIN", b"PEXPIRE", b"DEL"),
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
