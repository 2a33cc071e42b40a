"""Ask a node what it knows of itself and of its group, over the Redis protocol: the lines of `INFO raft` as a value.

Shared by `status`, the demo and local clusters. It refuses to know how a server works; whatever speaks RESP and has
the lines can be asked.
"""

from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from raftline.cli.access import Access, current_access, login_trouble
from raftline.cli.exit_codes import ExitCode
from raftline.errors import OperatingError

__all__ = ["MemberInfo", "NodeInfo", "NotAServer", "Unreachable", "ask_node", "not_a_server", "parse_info"]

_NEEDED = ("node_id", "role", "term", "commit_index", "applied_index", "last_index", "snapshot_index")


class Unreachable(OperatingError):
    """A node that does not answer, or whose answer is not that of a raftline server; says which and why."""

    exit_code = ExitCode.UNAVAILABLE


class NotAServer(Unreachable):
    """Something answers, and it is no raftline server, or not at the port for clients: asking again does not help."""


def not_a_server(where: str) -> NotAServer:
    """Return the error for an answer that is not in the Redis protocol."""
    return NotAServer(
        f"{where} answers, but not as a raftline server does: is it the port for peers? Give the one for clients"
    )


class MemberInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One member as another node sees it; `lag_entries` is known to the leader only."""

    node_id: str
    address: str
    voter: bool
    role: str | None
    lag_entries: int | None
    mode: str | None = None
    """How the leader sends to it: probe, replicate or snapshot; known to the leader only."""


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What one node says of itself."""

    node_id: str
    role: str
    leader_id: str | None
    term: int
    compacted_index: int
    snapshot_index: int
    applied_index: int
    commit_index: int
    last_index: int
    digest: str
    members: tuple[MemberInfo, ...]
    fields: dict[str, str]
    """Every line of the section, without the `raft_` in front."""


def ask_node(host: str, port: int, timeout_s: float = 2.0, access: Access | None = None) -> NodeInfo:
    """Send `INFO raft` to a node; raise Unreachable if it does not answer, or is no raftline server.

    `access` is how to reach it; None: as this process's command was told.
    """
    where = f"{host}:{port}"
    client = redis.Redis(
        host=host,
        port=port,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        **(access or current_access()).client_options(),
    )
    client.set_response_callback("INFO", _unparsed)
    try:
        text = client.execute_command("INFO", "raft")  # type: ignore[no-untyped-call]
    except redis.AuthenticationError as error:
        raise Unreachable(f"{where}: {login_trouble(error)}") from None
    except redis.TimeoutError:
        raise Unreachable(f"{where} does not answer within {timeout_s} s") from None
    except (redis.InvalidResponse, UnicodeDecodeError):
        raise not_a_server(where) from None
    except redis.RedisError as error:
        raise Unreachable(f"{where}: {str(error).rstrip('.')}") from None
    finally:
        client.close()
    return parse_info(text, where)


def parse_info(text: str, where: str) -> NodeInfo:
    """Read the lines `raft_name:value`; raise Unreachable if needed ones are missing."""
    fields = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.startswith("raft_"):
            fields[name.removeprefix("raft_")] = value.strip()
    missing = [name for name in _NEEDED if name not in fields]
    if missing:
        raise NotAServer(f"{where} answers, but its INFO has no raft_{missing[0]}: is it a raftline server?")
    try:
        return NodeInfo(
            node_id=fields["node_id"],
            role=fields["role"],
            leader_id=_or_none(fields.get("leader_id", "")),
            term=int(fields["term"]),
            compacted_index=int(fields.get("compacted_index", 0)),
            snapshot_index=int(fields["snapshot_index"]),
            applied_index=int(fields["applied_index"]),
            commit_index=int(fields["commit_index"]),
            last_index=int(fields["last_index"]),
            digest=fields.get("digest", ""),
            members=_members(fields),
            fields=fields,
        )
    except (ValueError, KeyError) as error:
        raise Unreachable(f"{where} answers, but its INFO raft cannot be read: {error}") from None


def _members(fields: dict[str, str]) -> tuple[MemberInfo, ...]:
    """Read the lines `raft_member0:node_id=n1,address=host:port@busport,voter=1,role=leader,...`."""
    members = []
    for name, value in fields.items():
        if name.startswith("member") and "=" in value:
            parts = dict(part.split("=", 1) for part in value.split(","))
            lag = _or_none(parts.get("lag_entries", ""))
            members.append(
                MemberInfo(
                    node_id=parts["node_id"],
                    address=parts["address"],
                    voter=parts.get("voter", "1") == "1",
                    role=_or_none(parts.get("role", "")),
                    lag_entries=int(lag) if lag is not None else None,
                    mode=_or_none(parts.get("mode", "")),
                )
            )
    return tuple(members)


def _or_none(text: str) -> str | None:
    return text or None


def _unparsed(response: Any, **_: Any) -> str:
    return str(response)
