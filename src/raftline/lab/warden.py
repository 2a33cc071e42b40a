"""The process between tester and worker: `python warden.py COMMAND...` runs it, counts what it forks, ends it all.

Code under test may kill its parent, fork without end, or leave processes behind that belong to no group any more. All
descendants stay in sight, because orphans come to this process (Linux); elsewhere the worker's process group must do.
Executed by its path: it loads nothing but the standard library. What it has to say goes where results go, after `MARK`.
"""

import ctypes
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

__all__ = ["MARK", "PROCESSES_MAX", "command_under", "descendants", "main"]

MARK = b"warden: "
PROCESSES_MAX = 32
"""That the code under test may have at one time, the worker not counted."""

_LOOK_INTERVAL_S = 0.05
_IDLE_SHARE = 30
"""Counting must not cost more than a thirtieth of a processor."""
_ENDING_S_MAX = 5.0
_WINDOW_S = 10.0
_SHOWN_BYTES_MAX = 1 << 20
"""Of what is printed within a window."""
_PRINTED_BYTES_MAX = 64 << 20
"""Within a window; more is not printing any more."""
_TASKS_SPARE = 500
_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


def command_under(command: list[str]) -> list[str]:
    """Return the command that runs `command` under a warden."""
    return [sys.executable, "-S", "-E", str(Path(__file__).resolve()), *command]


def descendants(ancestor: int) -> list[int]:
    """Return the ids of all processes below one that have not ended; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
                if state not in {b"Z", b"X"}:
                    children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    level = [ancestor]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    return found


class _Warden:
    """One worker and all that it starts; standard error of all of them is passed on, within bounds."""

    def __init__(self, command: list[str]) -> None:
        self._reason = ""
        self._asked_to_end = False
        self._window_started_s = time.monotonic()
        self._printed_bytes = 0
        signal.signal(signal.SIGTERM, self._on_term)
        _control_process(_SET_CHILD_SUBREAPER, 1)
        _control_process(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        self._worker = subprocess.Popen(  # noqa: S603  the tester's own command
            command,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            preexec_fn=_before_worker,  # noqa: PLW1509  there are no threads here
        )

    def run(self) -> int:
        """Watch until the worker ends, for whatever reason, then end the rest; return the exit code of the worker."""
        assert self._worker.stderr is not None, "a pipe"
        descriptor = self._worker.stderr.fileno()
        os.set_blocking(descriptor, False)
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            count_at_s = 0.0
            is_open = True
            while self._worker.poll() is None and not self._reason and not self._asked_to_end:
                if not is_open:
                    time.sleep(_LOOK_INTERVAL_S)  # the code under test closed it
                elif selector.select(_LOOK_INTERVAL_S):
                    is_open = self._pass_on(descriptor)
                began_s = time.monotonic()
                if began_s >= count_at_s:
                    self._count_processes()
                    ended_s = time.monotonic()
                    count_at_s = ended_s + max(_LOOK_INTERVAL_S, _IDLE_SHARE * (ended_s - began_s))
            self._end_all()
            while selector.select(0) and self._pass_on(descriptor):
                pass
        return self._worker.wait()

    def _count_processes(self) -> None:
        count = len(descendants(os.getpid())) - 1
        if count > PROCESSES_MAX:
            self._reason = f"the code had {count} processes at one time; {PROCESSES_MAX} are too many already"
        with suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid == self._worker.pid:
                    break
                os.waitpid(ended.si_pid, 0)  # an orphan that came here

    def _pass_on(self, descriptor: int) -> bool:
        """Read what was printed and pass it on; return False at its end."""
        try:
            piece = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if time.monotonic() > self._window_started_s + _WINDOW_S:
            self._window_started_s, self._printed_bytes = time.monotonic(), 0
        room = max(0, _SHOWN_BYTES_MAX - self._printed_bytes)
        self._printed_bytes += len(piece)
        with suppress(OSError):
            if room:
                os.write(2, piece[:room])
                if len(piece) > room:
                    os.write(2, b"\n... more is not shown\n")
        if self._printed_bytes > _PRINTED_BYTES_MAX:
            self._reason = f"the code printed more than {_PRINTED_BYTES_MAX >> 20} MiB within {_WINDOW_S:.0f} s"
        return bool(piece)

    def _end_all(self) -> None:
        """Stop everybody first, so that nobody forks while the others end; say why, if it was not the worker's end."""
        if self._reason:
            with suppress(OSError):
                os.write(1, MARK + self._reason.encode() + b"\n")
        deadline_s = time.monotonic() + _ENDING_S_MAX
        while time.monotonic() < deadline_s:
            found = descendants(os.getpid())
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for process in found:
                    if number == signal.SIGKILL or process != self._worker.pid:
                        _send(process, number)
            if not found:
                break
        if self._worker.poll() is None:
            _send(self._worker.pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._worker.pid, signal.SIGKILL)

    def _on_term(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked_to_end = True


def _before_worker() -> None:
    """In the worker's process, before its program: it ends when the warden does, and cannot fork without end."""
    _control_process(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.geteuid() != 0:  # for root the limit means nothing
        mine = sum(_threads_of(entry) for entry in _PROC.iterdir() if entry.name.isdigit()) if _PROC.is_dir() else 0
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = mine + _TASKS_SPARE
        if mine and (hard == resource.RLIM_INFINITY or limit < hard):
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))


def _threads_of(entry: Path) -> int:
    """Return how many tasks a process has, 0 if it is not this user's."""
    try:
        return len(list((entry / "task").iterdir())) if entry.stat().st_uid == os.getuid() else 0
    except OSError:
        return 0


def _control_process(option: int, value: int) -> None:
    """Call Linux's prctl; elsewhere nothing happens."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def main(command: list[str]) -> None:
    """Run a command to its end and end as it did."""
    code = _Warden(command).run()
    if code < 0:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # a signal that cannot be had again, such as SIGKILL, has its default anyway
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1:])
