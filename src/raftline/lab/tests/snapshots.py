"""Lab 2D: the service takes a snapshot every ten commands; logs stay short, and whoever lags is sent one."""

from functools import partial

from raftline.lab.cluster import Cluster
from raftline.lab.consumer import SNAPSHOT_INTERVAL
from raftline.lab.promises import BrokenPromise
from raftline.lab.tests import late_scripts, snapshot_scripts
from raftline.lab.tests.case import LabTest

__all__ = ["TESTS"]

_STATE_BYTES_MAX = 2000


async def snapshots(cluster: Cluster, *, disconnect: bool, crash: bool) -> None:
    """Thirty rounds in which one server may be away while the log is compacted under its feet."""
    await cluster.agree(_command(cluster), cluster.count, retry=True)
    leader = await cluster.check_one_leader()
    for number in range(30):
        victim, sender = (leader + 1) % cluster.count, leader
        if number % 3 == 1:
            victim, sender = leader, (leader + 1) % cluster.count
        if disconnect:
            cluster.disconnect(victim)
            await cluster.agree(_command(cluster), cluster.count - 1, retry=True)
        if crash:
            cluster.crash(victim)
            await cluster.agree(_command(cluster), cluster.count - 1, retry=True)
        for _ in range(_commands_per_round(cluster)):
            cluster.submit(sender, _command(cluster))
        away = disconnect or crash
        await cluster.agree(_command(cluster), cluster.count - 1 if away else cluster.count, retry=True)
        _check_state_size(cluster)
        if disconnect:
            cluster.connect(victim)
        if crash:
            cluster.start(victim)
            cluster.connect(victim)
        if away:
            await cluster.agree(_command(cluster), cluster.count, retry=True)
            leader = await cluster.check_one_leader()


async def all_crash(cluster: Cluster) -> None:
    """All servers crash together, five times, and go on behind what was committed."""
    await cluster.agree(_command(cluster), cluster.count, retry=True)
    for _ in range(5):
        for _ in range(_commands_per_round(cluster)):
            await cluster.agree(_command(cluster), cluster.count, retry=True)
        before = await cluster.agree(_command(cluster), cluster.count, retry=True)
        for server in range(cluster.count):
            cluster.crash(server)
        for server in range(cluster.count):
            cluster.start(server)
            cluster.connect(server)
        after = await cluster.agree(_command(cluster), cluster.count, retry=True)
        if after < before + 1:
            seen = f"a command got index {after} after all restarted; index {before} was committed before"
            raise BrokenPromise("kept", seen, index=after)


def _commands_per_round(cluster: Cluster) -> int:
    return SNAPSHOT_INTERVAL // 2 + cluster.bench.random.randrange(SNAPSHOT_INTERVAL)


def _check_state_size(cluster: Cluster) -> None:
    for server in range(cluster.count):
        size = cluster.state_size(server)
        if size >= _STATE_BYTES_MAX:
            seen = f"server {server} saves {size} bytes of state; with a snapshot every {SNAPSHOT_INTERVAL} commands"
            raise BrokenPromise("small state", f"{seen} less than {_STATE_BYTES_MAX} are enough", server=server)


def _command(cluster: Cluster) -> bytes:
    return b"%d" % cluster.bench.random.getrandbits(63)


_basic = partial(snapshots, disconnect=False, crash=False)
_disconnect = partial(snapshots, disconnect=True, crash=False)
_crash = partial(snapshots, disconnect=False, crash=True)

TESTS = (
    LabTest("2D", "snapshots basic", 3, _basic, snapshots=True, scripts=late_scripts.UNDER_A_SNAPSHOT),
    LabTest(
        "2D",
        "install snapshots (disconnect)",
        3,
        _disconnect,
        snapshots=True,
        scripts=snapshot_scripts.LATE_SNAPSHOTS + snapshot_scripts.ONLY_A_SNAPSHOT,
    ),
    LabTest("2D", "install snapshots (disconnect+unreliable)", 3, _disconnect, reliable=False, snapshots=True),
    LabTest("2D", "install snapshots (crash)", 3, _crash, snapshots=True),
    LabTest("2D", "install snapshots (unreliable+crash)", 3, _crash, reliable=False, snapshots=True),
    LabTest("2D", "crash and restart all servers", 3, all_crash, snapshots=True),
)
