"""COMMAND and its subcommands."""

from typing import TYPE_CHECKING, Any

import hiredis

from raftline.kv.commands.table import COMMANDS

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation


def ask(conversation: "Conversation", *args: bytes) -> Any:
    """Send a command and return its reply as a value."""
    reader = hiredis.Reader()
    reader.feed(conversation.ask(*args))
    return reader.gets()


def test_the_whole_table_is_told(conversation: "Conversation") -> None:
    """COMMAND, COMMAND INFO, COUNT and LIST agree with the table."""
    everything = ask(conversation, b"COMMAND")
    assert [row[0].decode() for row in everything] == [command.name for command in COMMANDS.values()]
    assert ask(conversation, b"COMMAND", b"INFO") == everything
    assert ask(conversation, b"COMMAND", b"COUNT") == len(COMMANDS)
    names = [name for row in everything for name in (row[0], *[subcommand[0] for subcommand in row[9]])]
    assert ask(conversation, b"COMMAND", b"LIST") == names


def test_rows_are_told_by_name(conversation: "Conversation") -> None:
    """A command, a subcommand and an unknown name."""
    get, setname, unknown, half = ask(
        conversation, b"COMMAND", b"INFO", b"GET", b"client|setname", b"nosuch", b"client|nosuch"
    )
    assert get[:2] == [b"get", 2]
    assert get[3:6] == [1, 1, 1]
    assert setname[0] == b"client|setname"
    assert unknown is None
    assert half is None


def test_rows_are_explained(conversation: "Conversation") -> None:
    """COMMAND DOCS gives maps; unknown names are left out."""
    conversation.ask(b"HELLO", b"3")
    docs = ask(conversation, b"COMMAND", b"DOCS", b"set", b"nosuch", b"config")
    assert list(docs) == [b"set", b"config"]
    assert docs[b"set"][b"group"] == b"string"
    assert b"config|get" in docs[b"config"][b"subcommands"]
    assert len(ask(conversation, b"COMMAND", b"DOCS")) == len(COMMANDS)


def test_lists_are_filtered(conversation: "Conversation") -> None:
    """By pattern, category and module."""
    assert ask(conversation, b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", b"p?xpireat") == [b"pexpireat"]
    assert b"set" in ask(conversation, b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT", b"write")
    assert b"get" not in ask(conversation, b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT", b"write")
    assert b"config|set" in ask(conversation, b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT", b"dangerous")
    assert ask(conversation, b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", b"config|g*") == [b"config|get"]
    assert ask(conversation, b"COMMAND", b"LIST", b"FILTERBY", b"MODULE", b"x") == []


def test_containers_help(conversation: "Conversation") -> None:
    """CLIENT HELP and its like name their subcommands."""
    for container in (b"CLIENT", b"CONFIG", b"COMMAND"):
        lines = ask(conversation, container, b"HELP")
        for row in COMMANDS[container].subcommands[:-1]:
            assert any(line.startswith(row.name.partition("|")[2].upper().encode()) for line in lines)


def test_the_keys_of_a_command_in_another_are_found(conversation: "Conversation") -> None:
    """RAFTLINE.ONCE has the keys of the command that it carries, wherever they stand in it."""
    reply = conversation.ask(b"COMMAND", b"GETKEYS", b"RAFTLINE.ONCE", b"7", b"1", b"MSET", b"a", b"1", b"b", b"2")
    assert reply == b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"
    assert b"no key arguments" in conversation.ask(b"COMMAND", b"GETKEYS", b"RAFTLINE.ONCE", b"7", b"1", b"DBSIZE")
