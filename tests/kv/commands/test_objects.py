"""OBJECT and MEMORY, whose answers are ours."""

from raftline.kv.commands import objects
from raftline.kv.commands.sets import sadd
from raftline.kv.store import Store


def test_usage_adds_up_to_what_is_counted() -> None:
    """The memory of all keys is the store's."""
    store = Store()
    store.put(b"s", b"text")
    store.expire_at(b"s", 500)
    sadd(store, [b"SADD", b"set", b"a", b"b"], 0)
    sizes = [objects.memory_usage(store, [b"MEMORY", b"USAGE", key], 0) for key in (b"s", b"set")]
    assert sum(int(size[1:]) for size in sizes) == store.used_bytes


def test_strings_have_the_names_of_redis() -> None:
    """A number, a short text and a long one are told apart."""
    store = Store()
    for value, name in ((b"12", b"int"), (b"012", b"embstr"), (b"x" * 44, b"embstr"), (b"x" * 45, b"raw")):
        store.put(b"k", value)
        reply = objects.object_encoding(store, [b"OBJECT", b"ENCODING", b"k"], 0)
        assert reply == b"$%d\r\n%b\r\n" % (len(name), name)
