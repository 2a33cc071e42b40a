"""A real cluster on this machine: server processes on free loopback ports, each with its own directory and log files.

What the demo, the failure benchmarks and the tests on real processes share: start, kill -9, pause, wipe, restart, and
who leads. Every process is started here, and ended here by its own pid.
"""

import atexit
import contextlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from raftline.cli.access import Access
from raftline.cli.link_proxy import LinkProxies
from raftline.cli.node_info import NodeInfo, ask_node
from raftline.errors import OperatingError
from raftline.kv.machine import KvMachine

__all__ = ["ClusterTrouble", "LocalCluster", "LocalNode", "free_port", "plain_client"]

_PORTS = range(15_000, 32_000)  # below the range from which the kernel takes ports for outgoing connections
_claims: dict[int, socket.socket] = {}
"""The ports given last, oldest first, each held as one for datagrams: no other process gives it before it is used."""
_CLAIMS_MAX = 200
"""Each takes a descriptor, of which a process often has 1,024; whoever was given so many since has used the oldest."""
_HOST = "127.0.0.1"
_PROXY_HOST = "127.0.0.2"
_START_S_MAX = 60.0
_STOP_S_MAX = 60.0
_WAIT_S_MAX = 30.0
"""However busy the machine is: only what does not come at all takes so long."""
_POLL_S = 0.02
_LOOK_S = 1.0
"""Who is paused holds up a look at all nodes for so long."""


class ClusterTrouble(OperatingError):
    """A local cluster did not do what was asked of it in time; says what, and what the node's log says last."""


@atexit.register
def _let_ports_go() -> None:
    for claim in _claims.values():
        claim.close()


def free_port() -> int:
    """Return a loopback port on which nobody listens now, and which no process was given lately."""
    for _ in range(1000):
        port = random.choice(_PORTS)  # noqa: S311  guards nothing
        if port in _claims:
            continue
        claim = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                claim.bind((_HOST, port))
                probe.bind((_HOST, port))
                _claims[port] = claim
                if len(_claims) > _CLAIMS_MAX:
                    _claims.pop(next(iter(_claims))).close()
                return port
        claim.close()
    raise ClusterTrouble(f"no free port found in {_PORTS.start}..{_PORTS.stop - 1}")


def plain_client(port: int, *, timeout_s: float = 10.0, **options: Any) -> redis.Redis:
    """Return a redis-py client that never retries by itself, so that an error is the outcome."""
    return redis.Redis(
        host="127.0.0.1",
        port=port,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


class LocalNode:
    """One server process, or the place where one was."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.port = free_port()
        self.bus_port = free_port()
        self.data_dir = directory / f"{name}.data"
        self.out_path = directory / f"{name}.out"
        self.log_path = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.joins: str | None = None
        """Client address of the node whose cluster it is to be added to; None for one of the first members."""

    @property
    def address(self) -> str:
        """`host:port@busport`, as the other nodes are told."""
        return f"127.0.0.1:{self.port}@{self.bus_port}"

    @property
    def running(self) -> bool:
        """Say whether the process lives (a paused one does)."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The process id; only while it runs or before it was started again."""
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    def announced(self) -> bool:
        """Say whether the line on standard output has come."""
        return self.out_path.exists() and self.out_path.read_bytes().endswith(b"\n")

    def log(self) -> str:
        """Return what the node wrote to standard error, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


class LocalCluster:
    """Nodes n1, n2, ... of one cluster in `directory`; a context manager that leaves no process behind.

    `settings` go to every node as flags: `{"segment_bytes": 1 << 16}`. Raises ClusterTrouble when a wait runs out.
    """

    def __init__(
        self,
        directory: Path,
        *,
        size: int = 3,
        settings: Mapping[str, object] | None = None,
        prefix: Sequence[str] = (),
        access: Access | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.env = env
        """The environment of the servers; this process's own if there is none."""
        self.settings = dict(settings or {})
        self.access = access or Access()
        """How the nodes' client ports are reached."""
        self.prefix = tuple(prefix)
        """Put before each server's command line, as in `("prlimit", "--fsize=1048576")`."""
        self.nodes = {f"n{number}": LocalNode(f"n{number}", directory) for number in range(1, size + 1)}
        self.proxies: LinkProxies | None = None
        """What stands between the nodes, if `link_proxies` was asked for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def command(self, name: str) -> list[str]:
        """Return the command line that starts a node."""
        node = self.nodes[name]
        first = [other for other in self.nodes.values() if other.joins is None]
        told = [f"{other.name}={self.host}:{other.port}@{other.bus_port}" for other in first]
        begin = {"cluster": ",".join(told)} if node.joins is None else {"join": node.joins, "listen": node.address}
        flags = {"id": name, **begin, "data_dir": node.data_dir, **self.settings}
        if self.proxies is not None:
            flags["bind"] = _HOST
        written = [part for key, value in flags.items() for part in ("--" + key.replace("_", "-"), str(value))]
        return [*self.prefix, sys.executable, "-m", "raftline.cli.main", "server", *written]

    def grow(self, name: str, *, joins: str) -> LocalNode:
        """Make place for one more node, which waits to be added to the cluster of the node `joins`."""
        node = self.nodes[name] = LocalNode(name, self.directory)
        node.joins = f"127.0.0.1:{self.nodes[joins].port}"
        return node

    def link_proxies(self) -> LinkProxies:
        """Put a proxy in front of every peer port, before the first start; enter what is returned.

        The nodes are told another loopback address than the one they listen on: that of the proxies.
        """
        self.proxies = LinkProxies(_PROXY_HOST, {node.name: node.bus_port for node in self.nodes.values()})
        return self.proxies

    @property
    def host(self) -> str:
        """The host of the addresses that nodes are told."""
        return _HOST if self.proxies is None else _PROXY_HOST

    def start(self, *names: str, wait: bool = True) -> None:
        """Start nodes, all of them unless named; wait until each serves."""
        chosen = names or tuple(self.nodes)
        for name in chosen:
            node = self.nodes[name]
            assert not node.running, f"{name} runs already"
            node.out_path.unlink(missing_ok=True)
            with node.out_path.open("wb") as out, node.log_path.open("ab") as log:
                node.process = subprocess.Popen(  # noqa: S603  our own command line
                    self.command(name),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    start_new_session=True,
                    env=self.env,
                )
        if wait:
            for name in chosen:
                self.wait_until_serving(name)

    def wait_until_serving(self, name: str, timeout_s: float = _START_S_MAX) -> None:
        """Wait for the line on standard output; raise at once if the process ends instead."""
        node = self.nodes[name]
        for _ in _until(timeout_s):
            if node.announced():
                return
            if not node.running:
                code = node.process.returncode if node.process else None
                raise ClusterTrouble(f"{name} ended with exit code {code} before it served:\n{node.log()[-2000:]}")
        raise ClusterTrouble(f"{name} does not serve after {timeout_s} s:\n{node.log()[-2000:]}")

    def kill9(self, *names: str) -> None:
        """Kill with SIGKILL, all of them unless named: all signals first, then the waiting."""
        chosen = [self.nodes[name] for name in names or tuple(self.nodes)]
        for node in chosen:
            self._signal(node, signal.SIGKILL)
        for node in chosen:
            if node.process is not None:
                node.process.wait(_STOP_S_MAX)

    def terminate(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask a node to stop and return its exit code."""
        self._signal(self.nodes[name], number)
        return self.wait_exit(name)

    def wait_exit(self, name: str, timeout_s: float = _STOP_S_MAX) -> int:
        """Wait until a node's process ends and return its exit code."""
        process = self.nodes[name].process
        assert process is not None, f"{name} was never started"
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log = self.nodes[name].log()[-2000:]
            raise ClusterTrouble(f"{name} has not ended after {timeout_s} s:\n{log}") from None

    def pause(self, name: str) -> None:
        """Freeze a node's process, as a long garbage collection or a busy host would."""
        self._signal(self.nodes[name], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused node go on."""
        self._signal(self.nodes[name], signal.SIGCONT)

    def wipe(self, name: str) -> None:
        """Delete a stopped node's directory, as a replaced disk would."""
        assert not self.nodes[name].running, f"{name} still runs"
        shutil.rmtree(self.nodes[name].data_dir)

    def restart(self, name: str) -> None:
        """Stop a node cleanly if it runs, start it again and wait until it serves."""
        if self.nodes[name].running:
            self.terminate(name)
        self.start(name)

    def info(self, name: str, timeout_s: float = 10.0) -> NodeInfo | None:
        """Return what a node says of itself, None if it does not answer."""
        try:
            return ask_node("127.0.0.1", self.nodes[name].port, timeout_s, self.access)
        except OperatingError:
            return None

    def infos(self) -> dict[str, NodeInfo]:
        """Return what every node that answers says."""
        found = {name: self.info(name, _LOOK_S) for name, node in self.nodes.items() if node.running}
        return {name: info for name, info in found.items() if info is not None}

    def leader(self) -> str | None:
        """Return who leads according to itself in the highest term that is known, None if nobody does."""
        leading = [(info.term, name) for name, info in self.infos().items() if info.role == "leader"]
        return max(leading)[1] if leading else None

    def wait_for_leader(self, timeout_s: float = _WAIT_S_MAX, *, other_than: str | None = None) -> str:
        """Wait until a node leads (another one than `other_than`) and return its name."""
        for _ in _until(timeout_s):
            leader = self.leader()
            if leader is not None and leader != other_than:
                return leader
        raise ClusterTrouble(f"no leader after {timeout_s} s:\n{self._logs()}")

    def wait_until_agreed(self) -> None:
        """Wait until every node knows that all of them know the newest commands; till then those are refused."""
        newest = str(KvMachine.version)

        def agreed() -> bool:
            infos = self.infos().values()
            return len(infos) == len(self.nodes) and {info.fields["command_version"] for info in infos} == {newest}

        self.wait_for(agreed, "the nodes have agreed on the newest commands")

    def followers(self) -> list[str]:
        """Return the running nodes that do not lead."""
        leader = self.wait_for_leader()
        return [name for name, node in self.nodes.items() if node.running and name != leader]

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = _WAIT_S_MAX) -> None:
        """Wait until `condition()` is true; `what` says in words what did not happen."""
        for _ in _until(timeout_s):
            if condition():
                return
        raise ClusterTrouble(f"{what}: not after {timeout_s} s:\n{self._logs()}")

    def wait_until_level(self, timeout_s: float = _WAIT_S_MAX) -> dict[str, NodeInfo]:
        """Wait until every node has applied the same index, and return what they say of it."""
        infos: dict[str, NodeInfo] = {}
        for _ in _until(timeout_s):
            infos = self.infos()
            if len(infos) == len(self.nodes) and len({info.applied_index for info in infos.values()}) == 1:
                return infos
        positions = {name: info.applied_index for name, info in infos.items()}
        raise ClusterTrouble(f"the nodes are not level after {timeout_s} s: applied {positions}\n{self._logs()}")

    def client(self, name: str, **options: Any) -> redis.Redis:
        """Return a client of one node that never retries."""
        return plain_client(self.nodes[name].port, **self.access.client_options() | options)

    def close(self) -> None:
        """Kill every process that still runs."""
        self.kill9()

    def _signal(self, node: LocalNode, number: signal.Signals) -> None:
        if node.process is not None and node.process.poll() is None:
            node.process.send_signal(number)

    def _logs(self) -> str:
        return "\n".join(f"--- {node.name}\n{node.log()[-1500:]}" for node in self.nodes.values())


def _until(timeout_s: float) -> Iterator[None]:
    """Yield now and every few milliseconds until the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(_POLL_S)
