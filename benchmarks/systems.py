"""The systems that are compared, each three nodes on loopback (Redis alone: one), fsync on, started and stopped here.

A system is a context manager; inside, `leader` and `followers` are client ports and `pids` its processes. What is not
installed says so in `missing`. It refuses to know what load comes.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from benchmarks.machine import first_line

from raftline.cli.local_cluster import LocalCluster, free_port

__all__ = ["SYSTEMS", "BareHops", "BareStore", "Etcd", "Raftline", "RedisAlone", "System", "cpu_of"]

_START_S_MAX = 20.0


class System:
    """One system under test; `name` is what tables call it, `protocol` what the load generator speaks."""

    name: ClassVar[str]
    protocol: ClassVar[str] = "resp"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.leader = 0
        self.followers: list[int] = []
        self.pids: list[int] = []

    @classmethod
    def missing(cls) -> str | None:
        """Return what has to be installed first, None if nothing."""
        return None

    @classmethod
    def version(cls) -> str:
        """Return the version that runs here."""
        return ""

    def start(self) -> None:
        """Start all processes and wait until they serve."""
        raise NotImplementedError

    def stop(self) -> None:
        """End every process that was started."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def cpu_s(self) -> float:
        """Return the CPU time that all its processes took so far."""
        return sum(cpu_of(pid) for pid in self.pids)


class Raftline(System):
    """Servers of this project with default settings, unless others are given."""

    name = "raftline"

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        settings: Mapping[str, object] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.cluster = LocalCluster(directory, size=size, settings=settings, prefix=prefix)

    @classmethod
    def version(cls) -> str:
        """Return the installed version."""
        return first_line(sys.executable, "-m", "raftline.cli.main", "--version")

    def start(self) -> None:
        """Start the nodes and find the leader."""
        self.cluster.start()
        leader = self.cluster.wait_for_leader()
        self.leader = self.cluster.nodes[leader].port
        self.followers = [node.port for name, node in self.cluster.nodes.items() if name != leader]
        self.pids = [node.pid for node in self.cluster.nodes.values()]

    def stop(self) -> None:
        """Kill the nodes."""
        self.cluster.close()


class _Processes(System):
    """Programs that are started by their command lines."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._processes: list[subprocess.Popen[bytes]] = []

    def _run(self, *command: str) -> None:
        log = (self.directory / f"{len(self._processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes.append(process)
        self.pids.append(process.pid)

    def stop(self) -> None:
        """Terminate, and kill what does not end."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Etcd(_Processes):
    """Three etcd servers with default settings; their own client drives them."""

    name = "etcd"
    protocol = "etcd"

    @classmethod
    def missing(cls) -> str | None:
        """Return how to install it."""
        return None if shutil.which("etcd") and shutil.which("etcdctl") else "apt-get install etcd-server etcd-client"

    @classmethod
    def version(cls) -> str:
        """Return what etcd says."""
        return first_line("etcd", "--version")

    def start(self) -> None:
        """Start three nodes and wait until one leads."""
        ports = {f"n{number}": (free_port(), free_port()) for number in (1, 2, 3)}
        cluster = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, (_, peer) in ports.items())
        for name, (client, peer) in ports.items():
            urls = {
                "--listen-client-urls": f"http://127.0.0.1:{client}",
                "--advertise-client-urls": f"http://127.0.0.1:{client}",
                "--listen-peer-urls": f"http://127.0.0.1:{peer}",
                "--initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
                "--data-dir": str(self.directory / name),
                "--log-level": "error",
            }
            flags = [part for pair in urls.items() for part in pair]
            self._run("etcd", "--name", name, *flags, "--initial-cluster", cluster, "--initial-cluster-state", "new")
        leading = None
        for _ in _until(_START_S_MAX):
            for client, _peer in ports.values():
                if _leads(client):
                    leading = client
            if leading is not None:
                break
        if leading is None:
            raise SystemExit(f"etcd has no leader after {_START_S_MAX} s; its logs are in {self.directory}")
        self.leader = leading
        self.followers = [client for client, _ in ports.values() if client != leading]


class RedisAlone(_Processes):
    """One redis-server, appendfsync always: what one machine does without replication."""

    name = "redis, alone"

    @classmethod
    def missing(cls) -> str | None:
        """Return how to install it."""
        return None if shutil.which("redis-server") else "apt-get install redis-server"

    @classmethod
    def version(cls) -> str:
        """Return what redis-server says."""
        return first_line("redis-server", "--version")

    def start(self) -> None:
        """Start it and wait for its port."""
        self.leader = free_port()
        settings = {
            "port": self.leader,
            "dir": self.directory,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        self._run("redis-server", *[part for key, value in settings.items() for part in (f"--{key}", str(value))])
        for _ in _until(_START_S_MAX):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.leader), 1):
                return
        raise SystemExit(f"redis-server does not answer after {_START_S_MAX} s; its log is in {self.directory}")


class BareHops(_Processes):
    """Three Python processes that only move and sync the bytes of writes: a bound for what one can do (`hops.py`)."""

    name = "bare hops"
    protocol = "writes"
    flags: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def version(cls) -> str:
        """Return what runs it."""
        return first_line(sys.executable, "--version")

    def start(self) -> None:
        """Start the followers, then their leader."""
        self.leader, *followers = [free_port() for _ in range(3)]
        for port in followers:
            self._run_hops("follower", port)
            self._wait_for(port)
        self._run_hops("leader", self.leader, "--peers", ",".join(map(str, followers)))
        self._wait_for(self.leader)

    def _run_hops(self, role: str, port: int, *flags: str) -> None:
        file = str(self.directory / f"{port}.bytes")
        self._run(
            sys.executable, "-m", "benchmarks.hops", role, "--port", str(port), "--file", file, *flags, *self.flags
        )

    def _wait_for(self, port: int) -> None:
        for _ in _until(_START_S_MAX):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
        raise SystemExit(f"the {self.name} do not answer after {_START_S_MAX} s; their logs are in {self.directory}")


class BareStore(BareHops):
    """Bare hops that do the least that makes them a store: a log format, checksums, a commit index, a state machine."""

    name = "bare store"
    flags: ClassVar[tuple[str, ...]] = ("--store",)


SYSTEMS: tuple[type[System], ...] = (Raftline, Etcd, RedisAlone, BareHops, BareStore)


def _leads(port: int) -> bool:
    command = ["etcdctl", "--endpoints", f"127.0.0.1:{port}", "--command-timeout", "1s", "endpoint", "status"]
    environment = {**os.environ, "ETCDCTL_API": "3"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    fields = [field.strip() for field in found.stdout.split(",")]
    return len(fields) > 4 and fields[4] == "true"


def cpu_of(pid: int) -> float:
    """Return the CPU time that a process took so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _until(timeout_s: float) -> Iterator[None]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)
