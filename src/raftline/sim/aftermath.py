"""What must hold once everything is healed and the clients have ended: all up, all equal, all serving, nothing lost.

Every node answers a write and reads every key; the reads join the history, so an acknowledged write that is missing
anywhere has no place in any order. States are compared as such, logs and files are as short as was asked for.
"""

from collections.abc import Callable

from raftline.errors import RaftlineError, SafetyViolation
from raftline.linearizability.history import Operation
from raftline.runtime.status import Status
from raftline.sim.cluster import Member, SimCluster
from raftline.sim.workload import Answer, Workload

__all__ = ["Aftermath", "LivenessViolation"]

_ANSWER_S_MAX = 1.5
_LEVEL_S_MAX = 0.2
"""In which an entry reaches everybody, and the next message says that it is committed."""
_LOOK_S = 0.01
_SEGMENTS_SPARE = 4
_RECORD_BYTES = 400
"""What an entry may take in the log's files, its frame and its share of other records included."""


class LivenessViolation(RaftlineError):
    """Everything was healed and the cluster did not get going again in time."""


class Aftermath:
    """The last checks of a run."""

    def __init__(self, cluster: SimCluster, workload: Workload) -> None:
        self._cluster = cluster
        self._workload = workload
        self._members = list(cluster.members.values())

    def ask_everybody(self) -> None:
        """Let every node carry out a write and read every key; the reads become part of the history."""
        keys = sorted({operation.key for operation in self._workload.operations if operation.key is not None})
        unanswered: dict[str, str] = {}
        for member in self._members:
            self._ask(member, [b"SET", f"last of {member.name}".encode(), b"1"], unanswered, lambda _answer: None)
            for key in keys:
                self._ask(member, [b"GET", key.encode()], unanswered, self._recorder(member, key))
        self._cluster.world.run_for(_ANSWER_S_MAX)
        for request, answer in unanswered.items():
            raise LivenessViolation(f"{request} long after everything was healed: {answer} (G10)")

    def _ask(
        self, member: Member, arguments: list[bytes], unanswered: dict[str, str], record: Callable[[Answer], None]
    ) -> None:
        name = f"{member.name} was asked for {b' '.join(arguments[:2]).decode()}"
        unanswered[name] = "no answer"

        def done(answer: Answer) -> None:
            if answer.error is None:
                del unanswered[name]
                record(answer)
            else:
                unanswered[name] = answer.error

        self._workload.ask(member, arguments, done)

    def _recorder(self, member: Member, key: str) -> Callable[[Answer], None]:
        called_at = self._cluster.world.now

        def record(answer: Answer) -> None:
            operation = Operation(
                client=f"{member.name} at the end, {key}",
                kind="get",
                key=key,
                input=None,
                output=answer.value,
                call_time=called_at,
                return_time=self._cluster.world.now,
                note=member.name,
            )
            self._workload.record(operation, answer)

        return record

    def check(self) -> None:
        """Everybody is up, at the same position, with the same state, and holds no more than it should."""
        down = [member.name for member in self._members if not member.ready]
        if down:
            raise LivenessViolation(f"{', '.join(down)} did not come back after everything was healed")
        statuses = self._level_statuses()
        seen = {(status.commit_index, status.applied_index, status.digest) for status in statuses}
        if len(seen) != 1:
            positions = ", ".join(
                f"{s.node_id} {s.role} term {s.term} committed {s.commit_index} applied {s.applied_index} "
                f"digest {s.digest:08x}"
                for s in statuses
            )
            raise LivenessViolation(f"the replicas do not agree after everything was healed: {positions}")
        self._cluster.checkers.check_equal_states()
        for member in self._members:
            self._check_sizes(member)

    def _level_statuses(self) -> list[Status]:
        """Return how everybody stands once all stand level; a key that expires this very moment is an entry, too."""
        until = self._cluster.world.now + _LEVEL_S_MAX
        while True:
            statuses = [member.node.status() for member in self._members if member.node is not None]
            positions = {(status.commit_index, status.applied_index) for status in statuses}
            if len(positions) == 1 or self._cluster.world.now >= until:
                return statuses
            self._cluster.world.run_for(_LOOK_S)

    def _check_sizes(self, member: Member) -> None:
        """Snapshots were taken as often as asked for, and the log let go in memory and on disk (D1, D18)."""
        assert member.node is not None, "up"
        status, config = member.node.status(), member.node.config
        most = 2 * config.snapshot_log_entries + config.keep_log_entries + 50
        held = status.last_index - status.compacted_index
        if held > most:
            raise SafetyViolation(
                f"{member.name}: its log holds {held} entries, a snapshot was asked for every "
                f"{config.snapshot_log_entries} (D1, D18)"
            )
        names = member.disk.names.list(config.data_dir)
        segments = [name for name in names if name.startswith("wal-")]
        bytes_held = held * _RECORD_BYTES + 4 * status.log_bytes
        allowed = _SEGMENTS_SPARE + bytes_held // config.segment_bytes
        snapshots = [name for name in names if name.startswith("snapshot")]
        if len(segments) > allowed or len(snapshots) > 2:
            raise SafetyViolation(
                f"{member.name}: {held} entries ({status.log_bytes} bytes) are spread over {len(segments)} segments, "
                f"and there are {len(snapshots)} snapshots: old files stay (D18)"
            )
