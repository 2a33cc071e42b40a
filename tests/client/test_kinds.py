"""Which commands may be sent again."""

from typing import Any

import pytest

from raftline.client.call import Kind
from raftline.client.kinds import CommandKinds
from raftline.errors import ConfigError


def row(name: str, *flags: str, subcommands: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Return a row of COMMAND."""
    return (name.encode(), 1, {flag.encode() for flag in flags}, 0, 0, 0, [], [], [], list(subcommands))


def test_the_servers_say_what_writes() -> None:
    """Writes go in a session, reads are repeated, everything else is sent once."""
    kinds = CommandKinds()
    assert not kinds.knows(("SET",))
    container = row("object", subcommands=(row("object|freq", "readonly"), row("object|set", "write")))
    kinds.learn(
        [
            row("raftline.once"),
            row("set", "write"),
            row("get", "readonly"),
            row("blpop", "write", "blocking"),
            container,
        ]
    )
    assert kinds.knows(("set", "k"))
    assert kinds.of(("Set", "k", "v")) is Kind.WRITE
    assert kinds.of((b"get", "k")) is Kind.READ
    assert kinds.of(("BLPOP", "k", 0)) is Kind.WAIT
    assert kinds.of(("OBJECT", "freq", "k")) is Kind.READ
    assert kinds.of(("OBJECT", "SET", "k")) is Kind.WRITE
    assert kinds.of(("NOSUCH",)) is Kind.OTHER
    assert kinds.of(("PING",)) is Kind.READ
    assert kinds.of(("RAFTLINE.MEMBER", "LIST")) is Kind.READ


@pytest.mark.parametrize("line", ["READONLY", "client reads stale", "CLIENT REPLY OFF", "MULTI", "SELECT 0"])
def test_what_changes_one_connection_is_refused(line: str) -> None:
    """Commands are spread over several connections, so a later read would be stale, or unanswered, by chance."""
    with pytest.raises(ConfigError, match="changes one connection") as raised:
        CommandKinds().of(line.split())
    assert raised.value.may_have_been_applied is False  # type: ignore[attr-defined]


def test_another_server_is_refused_in_words() -> None:
    """Without sessions nothing could be promised."""
    with pytest.raises(ConfigError, match="not raftline"):
        CommandKinds().learn([row("set", "write")])
