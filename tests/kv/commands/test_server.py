"""CONFIG, as far as tools ask."""

from typing import TYPE_CHECKING, Any

import hiredis
import pytest

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation


def config(conversation: "Conversation", *patterns: bytes) -> dict[bytes, bytes]:
    """Ask for settings."""
    conversation.ask(b"HELLO", b"3")
    reader = hiredis.Reader()
    reader.feed(conversation.ask(b"CONFIG", b"GET", *patterns))
    found: Any = reader.gets()
    return dict(found)


def test_tools_find_what_they_ask_for(conversation: "Conversation") -> None:
    """What redis-benchmark shows, what clients adapt to."""
    assert config(conversation, b"save") == {b"save": b""}
    assert config(conversation, b"APPENDONLY") == {b"appendonly": b"yes"}
    assert config(conversation, b"max*", b"maxmemory") == {
        b"maxclients": b"20000",
        b"maxmemory": b"0",
        b"maxmemory-policy": b"noeviction",
    }
    assert config(conversation, b"nosuch") == {}
    assert len(config(conversation, b"*")) > 5


@pytest.mark.parametrize("args", [(b"SET", b"maxclients", b"1"), (b"REWRITE",)])
def test_settings_do_not_change_at_run_time(conversation: "Conversation", args: tuple[bytes, ...]) -> None:
    """The refusal says where settings are given."""
    assert conversation.ask(b"CONFIG", *args).startswith(b"-ERR ")
    assert conversation.ask(b"CONFIG", b"RESETSTAT") == b"+OK\r\n"
