"""`raftline demo`: three real servers, a leader killed in the middle of writes, and the proof that nothing was lost.

The story is told in `Demo.run`, one line per step; what is shown meanwhile is a live table on a terminal and plain
lines elsewhere. Whatever happens, the processes and the directory are gone afterwards.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raftline.cli.exit_codes import ExitCode
from raftline.cli.load import Load
from raftline.cli.local_cluster import ClusterTrouble, LocalCluster
from raftline.cli.node_info import NodeInfo
from raftline.cli.output import complain, make_console

__all__ = ["Demo", "run_demo"]

_LOOK_S = 0.2
_LINE_S = 1.0
_WRITE_S = 2.0
_RESUME_S_MAX = 30.0
"""Guards against a cluster that never comes back; how long it took is told."""
_LEVEL_S_MAX = 30.0


def run_demo(*, sharded: bool = False) -> ExitCode:
    """Run the demo in a temporary directory; code 0 only if every promise held."""
    kind: type[Demo] = Demo
    settings: dict[str, object] = {}
    if sharded:
        from raftline.cli.demo_sharded import SETTINGS, ShardedDemo  # noqa: PLC0415  it is built on this file

        kind, settings = ShardedDemo, SETTINGS
    console = make_console(markup=True)
    directory = Path(tempfile.mkdtemp(prefix="raftline-demo-"))
    interruption = _Interruption()
    before = {number: signal.signal(number, interruption) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        # What is meant for a server of the user's is not for these: a password would keep the demo from its own nodes.
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAFTLINE_")}
        with LocalCluster(directory, settings=settings, env=env) as cluster:
            return kind(cluster, console, check=interruption.check).run()
    except KeyboardInterrupt:
        complain("raftline demo: interrupted")
        return ExitCode.TROUBLE
    except ClusterTrouble as error:
        complain(f"raftline demo: {error}")
        return ExitCode.TROUBLE
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


class Demo:
    """One run over a cluster that was not started yet; `check` is called at each step and may raise to end it."""

    _about_refusals = "writes were refused for"

    def __init__(
        self,
        cluster: LocalCluster,
        console: Console,
        *,
        write_s: float = _WRITE_S,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._check = check
        self._console = console
        self._write_s = write_s
        self._began = time.monotonic()
        self._ports = [node.port for node in cluster.nodes.values()]
        self._load = Load(self._ports, writers=2, readers=1, timeout_s=_RESUME_S_MAX, prefix="demo")
        self._live: Live | None = None
        self._infos: dict[str, NodeInfo] = {}
        self._doing = ""
        self._last_line = 0.0

    def run(self) -> ExitCode:
        """Tell the story; return OK only if all of it held."""
        cluster, load = self._cluster, self._load
        with self._display():
            self._say("starting three servers")
            cluster.start()
            leader = cluster.wait_for_leader()
            self._say(f"{leader} leads; clients write to all three nodes")
            load.start()
            self._watch(self._write_s)

            killed_at = time.monotonic()
            cluster.kill9(leader)
            self._say(f"{leader}, the leader, killed with SIGKILL in the middle of {load.writes} writes")
            resumed = self._watch_until(lambda: load.first_acknowledged_after(killed_at) is not None, _RESUME_S_MAX)
            resumed_at = load.first_acknowledged_after(killed_at)
            refused_s = (resumed_at or time.monotonic()) - killed_at
            if resumed:
                self._say(f"writes are taken again, {refused_s:.2f} s after the kill")
            self._watch(self._write_s)

            cluster.start(leader)
            self._say(f"{leader} restarted with its own directory, while the clients go on writing")
            self._watch(self._write_s)
            load.stop()
            self._say("clients stopped; waiting until all three have applied the same")
            level = self._level()
            self._say("reading every key back through each node")
            findings = self._findings(level, resumed=resumed)
        return self._sum_up(findings, refused_s)

    def _findings(self, level: dict[str, NodeInfo], *, resumed: bool) -> list[tuple[str, list[str]]]:
        """Return every promise with what speaks against it."""
        load = self._load
        missing = [fault for port in self._ports for fault in load.check_node(port)]
        contents = {name: load.contents(node.port) for name, node in self._cluster.nodes.items()}
        first = next(iter(contents.values()))
        unlike = [f"the keys on {name} differ" for name, found in contents.items() if found != first]
        indexes = {name: info.applied_index for name, info in level.items()}
        digests = {name: info.digest for name, info in level.items()}
        logs = []
        if len(indexes) < len(self._ports) or len(set(indexes.values())) > 1:
            logs.append(f"applied indexes: {indexes}")
        if len(set(digests.values())) > 1 or not all(digests.values()):
            logs.append(f"digests: {digests}")
        return [
            (f"writes were taken again within {_RESUME_S_MAX:.0f} s", [] if resumed else ["they were not"]),
            ("no read was stale, no reply wrong", load.wrong),
            (f"all {load.writes} acknowledged writes are present on all three nodes", missing),
            ("the three nodes hold the same keys and values", unlike),
            (f"the three logs agree at index {max(indexes.values(), default=0)} (same digest of every command)", logs),
        ]

    def _sum_up(self, findings: list[tuple[str, list[str]]], refused_s: float) -> ExitCode:
        load = self._load
        self._console.print()
        self._console.print(
            f"{load.writes} writes acknowledged, {load.unknown} interrupted, {load.reads} reads; "
            f"{self._about_refusals} [bold]{refused_s:.2f} s[/bold]; {time.monotonic() - self._began:.1f} s in all"
        )
        for promise, against in findings:
            self._console.print(f"[red]FAIL[/red]  {promise}" if against else f"[green]ok[/green]    {promise}")
            for fault in against[:5]:
                self._console.print(f"      {fault}", style="red", markup=False)
            if len(against) > 5:
                self._console.print(f"      and {len(against) - 5} more", style="red")
        return ExitCode.TROUBLE if any(against for _, against in findings) else ExitCode.OK

    def _level(self) -> dict[str, NodeInfo]:
        try:
            return self._cluster.wait_until_level(_LEVEL_S_MAX)
        except ClusterTrouble:
            return self._cluster.infos()

    def _watch(self, seconds: float) -> None:
        """Let time pass, looking at the nodes."""
        self._watch_until(lambda: False, seconds)

    def _watch_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Look at the nodes until `condition()` or until the time is over; return which."""
        until = time.monotonic() + seconds
        while not condition():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._look()
            time.sleep(min(_LOOK_S, max(0.0, left)))
        return True

    def _look(self) -> None:
        self._check()
        cluster = self._cluster
        self._infos = {name: info for name in cluster.nodes if (info := cluster.info(name, 0.3)) is not None}
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif time.monotonic() - self._last_line >= _LINE_S:
            self._last_line = time.monotonic()
            nodes = ", ".join(
                f"{name} {info.role} term {info.term} applied {info.applied_index}" if info else f"{name} down"
                for name, info in ((name, self._infos.get(name)) for name in cluster.nodes)
            )
            self._console.print(f"{self._clock()}   {self._load.writes} writes; {nodes}")

    def _picture(self) -> Group:
        table = Table()
        for column in ("node", "role", "term"):
            table.add_column(column)
        for column in ("applied", "commit", "last"):
            table.add_column(column, justify="right")
        for name in self._cluster.nodes:
            info = self._infos.get(name)
            if info is None:
                table.add_row(name, "down", *["-"] * 4, style="red")
            else:
                positions = (info.applied_index, info.commit_index, info.last_index)
                style = "green" if info.role == "leader" else ""
                table.add_row(name, info.role, str(info.term), *[str(index) for index in positions], style=style)
        load = self._load
        counts = f"{load.writes} writes acknowledged, the last {load.silent_s:.2f} s ago; {load.reads} reads"
        return Group(table, Text(f"{self._clock()} {self._doing}"), Text(counts))

    def _say(self, text: str) -> None:
        """Tell one step; it stays on the screen above the table."""
        self._check()
        self._doing = text
        self._console.print(f"{self._clock()} [bold]{text}[/bold]")

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began:5.1f} s"

    @contextlib.contextmanager
    def _display(self) -> Iterator[None]:
        """Show the live table while the story goes on, if there is a terminal to show it on."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self._picture(), console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            yield
        self._live = None


class _Interruption:
    """What a signal asks for: raised where the program stands, and remembered.

    Python drops what is raised inside a finalizer (`__del__`, a weak reference's callback), so raising is not enough.
    """

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise what a signal asked for, again if need be."""
        if self._asked:
            raise KeyboardInterrupt
