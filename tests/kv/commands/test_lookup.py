"""From arguments to rows, for clients and for the log."""

from raftline.kv.acl.rights import rows_of
from raftline.kv.commands.lookup import EXEC_NAME, TICK_NAME, WRITES, find_command
from raftline.kv.commands.server import NOTIFY_NAME
from raftline.kv.commands.table import COMMANDS


def test_any_case_and_subcommands_are_found() -> None:
    """Names are found in any case; an unknown subcommand gives its container, an unknown name nothing."""
    assert find_command([b"gEt", b"k"]) is COMMANDS[b"GET"]
    found = find_command([b"Client", b"SetName", b"x"])
    assert found is not None
    assert found.name == "client|setname"
    assert find_command([b"client", b"nosuch"]) is find_command([b"client"]) is COMMANDS[b"CLIENT"]
    assert find_command([b"nosuch"]) is None
    assert find_command([b""]) is None


def test_the_internal_tick_is_not_a_command() -> None:
    """What servers say to each other stands in the log's table, not in the clients'."""
    assert TICK_NAME in WRITES
    assert find_command([TICK_NAME]) is None
    assert NOTIFY_NAME in WRITES
    assert find_command([NOTIFY_NAME]) is None
    own = {TICK_NAME, NOTIFY_NAME, EXEC_NAME}
    assert set(WRITES) - own == {row.wire_name for row in rows_of(COMMANDS) if row.write}
