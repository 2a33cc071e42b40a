"""`raftline top HOST:PORT`: every node of a group, again and again, until a key ends it; `--once` prints one frame.

Nodes are asked side by side over the Redis protocol, so that it works wherever redis-cli does; one that does not answer
has a red row and a sentence that says why.
"""

import contextlib
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from rich.live import Live

from raftline.cli.asking import Asker, NodeRefusal
from raftline.cli.exit_codes import ExitCode
from raftline.cli.node_info import Unreachable, parse_info
from raftline.cli.output import complain, make_console
from raftline.cli.top_view import Look, frame
from raftline.errors import ConfigError
from raftline.kv.shards_view import decode_report
from raftline.transport.address import parse_client_address

__all__ = ["look_at", "look_at_all", "run_top"]

_QUIT = frozenset("qQ\x03\x04\x1b")
_HINT = "q quits"


def run_top(target: str, *, once: bool, interval_s: float, timeout_s: float) -> ExitCode:
    """Show the group that the node at `target` belongs to; return the exit code."""
    address = parse_client_address(target)
    if address is None:
        complain(f"raftline top: {target!r} is no address: write HOST:PORT, as in 127.0.0.1:7001")
        return ExitCode.CONFIG
    first = look_at("", f"{address.host}:{address.port}", timeout_s)
    if first.info is None:
        complain(f"raftline top: {first.trouble}")
        return ExitCode.UNAVAILABLE
    looks = look_at_all({first.node_id: first.address}, timeout_s)
    console = make_console()
    if once or not console.is_terminal:
        time.sleep(interval_s)
        before, looks = _by_node(looks), look_at_all(_addresses(looks), timeout_s)
        console.print(frame(looks, before, _headline(looks)))
        return ExitCode.OK if all(look.info for look in looks) else ExitCode.TROUBLE
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, screen=True) as live,
        _keys(),
    ):
        before = {}
        while True:
            live.update(frame(looks, before, _headline(looks), _HINT), refresh=True)
            if _is_ended(interval_s):
                break
            before, looks = _by_node(looks), look_at_all(_addresses(looks), timeout_s)
    return ExitCode.OK


def look_at_all(addresses: Mapping[str, str], timeout_s: float) -> list[Look]:
    """Ask the nodes that are known, then those members that they name and nobody has asked yet; sorted by name."""
    found: dict[str, Look] = {}
    waiting = dict(addresses)
    while waiting:
        with ThreadPoolExecutor(len(waiting)) as pool:
            asked = [pool.submit(look_at, name, address, timeout_s) for name, address in waiting.items()]
            for look in [future.result() for future in asked]:
                found[look.node_id] = look
        named = {
            member.node_id: member.address.partition("@")[0]
            for look in found.values()
            if look.info is not None
            for member in look.info.members
        }
        waiting = {name: address for name, address in named.items() if name not in found}
    return [found[name] for name in sorted(found)]


def look_at(name: str, address: str, timeout_s: float) -> Look:
    """Ask one node for everything that it says of itself; a failure is told in the look."""
    trouble = ""
    try:
        with Asker(address, timeout_s) as asker:
            text = bytes(asker.ask("INFO")).decode("utf-8", "replace")
            info = parse_info(text, address)
            shards = decode_report(asker.ask("RAFTLINE.SHARD", "STATUS")) if info.fields.get("sharded") == "1" else None
    except (Unreachable, NodeRefusal, ConfigError) as error:
        trouble = str(error)
        return Look(node_id=name, address=address, at_s=time.monotonic(), trouble=trouble)
    if name not in {"", info.node_id}:
        trouble = f"{address} answers as {info.node_id!r}, not as {name!r}"
        return Look(node_id=name, address=address, at_s=time.monotonic(), trouble=trouble)
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    lines = {key: value.strip() for key, _, value in pairs}
    if lines.get("raft_not_ready"):
        trouble = f"not ready: {lines['raft_not_ready']}"
    return Look(
        node_id=info.node_id,
        address=address,
        at_s=time.monotonic(),
        info=info,
        lines=lines,
        trouble=trouble,
        shards=shards,
    )


def _by_node(looks: list[Look]) -> dict[str, Look]:
    return {look.node_id: look for look in looks if look.info is not None}


def _addresses(looks: list[Look]) -> dict[str, str]:
    """Return whom to ask next: the members that the newest answers name, or, if nobody answered, the same as before."""
    named = {
        member.node_id: member.address.partition("@")[0]
        for look in looks
        if look.info is not None
        for member in look.info.members
    }
    return named or {look.node_id: look.address for look in looks}


def _headline(looks: list[Look]) -> str:
    infos = [look.info for look in looks if look.info is not None]
    if not infos:
        return "no node answers"
    term = max(info.term for info in infos)
    leading = [info.node_id for info in infos if info.role == "leader" and info.term == term]
    who = f"{leading[0]} leads" if len(leading) == 1 else "no leader"
    return f"{who} in term {term}; {len(infos)} of {len(looks)} nodes answer"


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Let single keys be read from the terminal, if standard input is one."""
    if not sys.stdin.isatty():
        yield
        return
    usual = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, usual)


def _is_ended(seconds: float) -> bool:
    """Wait so long, or until a key is pressed; say whether it is one that ends."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and sys.stdin.read(1) in _QUIT
