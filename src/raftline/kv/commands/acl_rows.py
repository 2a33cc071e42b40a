"""The rows of commands that need no login, and of ACL; `raftline.kv.commands.table` adds them to THE TABLE."""

from raftline.kv.commands import acl, connection
from raftline.kv.commands.command import Command
from raftline.kv.commands.rows import Rows, subcommand

__all__ = ["add_acl_rows"]

_PER_USER = "O(N) in the number of users."


def add_acl_rows(table: dict[bytes, Command]) -> None:
    """Add AUTH, HELLO, QUIT, RESET and ACL."""
    add = Rows(table, "connection").add
    add(
        "auth",
        -2,
        "[username] password",
        "Log in.",
        local=connection.auth,
        flags="noscript no_auth fast",
        since="1.0.0",
        note="What this node cannot confirm is asked of the group before it is refused.",
    )
    add(
        "hello",
        -1,
        "[protocol [AUTH user password] [SETNAME name]]",
        "Choose the protocol, 2 or 3, and learn about the server.",
        local=connection.hello,
        flags="noscript no_auth fast",
        since="6.0.0",
    )
    add(
        "quit",
        -1,
        "",
        "Close the connection once everything before is answered.",
        local=connection.quit_,
        flags="noscript no_auth fast",
    )
    add(
        "reset",
        1,
        "",
        "Make the connection what it was when it was new.",
        local=connection.reset,
        flags="noscript no_auth fast",
        since="6.2.0",
    )
    with_table = acl.AclCommands(table)
    Rows(table, "server").add_container(
        "acl",
        "6.0.0",
        "Say who may log in, and what each may do.",
        (*_changing(with_table), *_telling(with_table), *_local(with_table)),
    )


def _changing(with_table: acl.AclCommands) -> tuple[Command, ...]:
    return (
        subcommand(
            "acl|setuser",
            -3,
            "username [rule ...]",
            "Add or change a user.",
            write=acl.setuser,
            check=with_table.check_setuser,
            flags="admin noscript",
            concerns_keys=False,
            since="6.0.0",
            complexity="O(N) in the number of rules.",
            note="Passwords are hashed before they reach the log. No selectors, no rules for first arguments.",
        ),
        subcommand(
            "acl|deluser",
            -3,
            "username [username ...]",
            "Remove users; their connections end with their next command.",
            write=acl.deluser,
            flags="admin noscript",
            concerns_keys=False,
            since="6.0.0",
        ),
    )


def _telling(with_table: acl.AclCommands) -> tuple[Command, ...]:
    return (
        subcommand(
            "acl|list",
            2,
            "",
            "Return all users, in words that SETUSER takes.",
            read=acl.list_,
            flags="admin noscript",
            concerns_keys=False,
            since="6.0.0",
            complexity=_PER_USER,
        ),
        subcommand(
            "acl|users",
            2,
            "",
            "Return the names of all users.",
            read=acl.users,
            flags="admin noscript",
            concerns_keys=False,
            since="6.0.0",
            complexity=_PER_USER,
        ),
        subcommand(
            "acl|getuser",
            3,
            "username",
            "Return one user.",
            read=acl.getuser,
            flags="admin noscript",
            concerns_keys=False,
            since="6.0.0",
            note="Rules stand in the order they were given.",
        ),
        subcommand(
            "acl|dryrun",
            -4,
            "username command [argument ...]",
            "Say whether a user may do something, without doing it.",
            read=with_table.dryrun,
            flags="admin noscript",
            concerns_keys=False,
            since="7.0.0",
        ),
    )


def _local(with_table: acl.AclCommands) -> tuple[Command, ...]:
    return (
        subcommand(
            "acl|cat",
            -2,
            "[category]",
            "Return the categories, or the commands of one.",
            local=with_table.cat,
            flags="noscript",
            since="6.0.0",
        ),
        subcommand(
            "acl|whoami", 2, "", "Return as whom this connection is logged in.", local=acl.whoami,
            flags="noscript", since="6.0.0",
        ),
        subcommand(
            "acl|genpass", -2, "[bits]", "Return a random password.", local=acl.genpass,
            flags="noscript", since="6.0.0",
        ),
        subcommand(
            "acl|log",
            -2,
            "[count | RESET]",
            "Return what this node refused lately.",
            local=acl.log,
            flags="admin noscript",
            since="6.0.0",
        ),
    )  # fmt: skip
