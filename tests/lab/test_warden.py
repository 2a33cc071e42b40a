"""A warden ends as its command did, takes everything down with it, and is in nobody's way."""

import os
import signal
import subprocess
import sys

import pytest

from raftline.lab.warden import MARK, command_under, descendants


def _under_a_warden(code: str, *, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = command_under([sys.executable, "-c", code])
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("raise SystemExit(5)", 5),
        ("pass", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_it_ends_as_its_command_did(code: str, ended: int) -> None:
    """Exit codes and signals are passed on (H5)."""
    assert _under_a_warden(code).returncode == ended


def test_input_and_output_go_through() -> None:
    """Jobs, results and what is printed pass it untouched, if there is not too much of it."""
    done = _under_a_warden("import sys; print(input()); print('aside', file=sys.stderr)", stdin=b"job\n")
    assert (done.stdout, done.stderr) == (b"job\n", b"aside\n")


def test_too_much_print_is_cut_and_ended() -> None:
    """A megabyte is shown; with more than 64 it says so and ends the command."""
    done = _under_a_warden("import sys\nfor _ in range(1000): sys.stderr.write('x' * 1_000_000)")
    assert len(done.stderr) < 1_200_000
    assert done.stdout == MARK + b"the code printed more than 64 MiB within 10 s\n"


def test_descendants_are_found_below_their_ancestor() -> None:
    """Children of children are listed, those that have ended are not."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in descendants(os.getpid())
        assert len(descendants(process.pid)) == 1
        process.communicate(b"\n")
    assert descendants(process.pid) == []


def test_whoever_ends_the_warden_ends_all() -> None:
    """Asked to end, it takes its command along, and what that started (H5)."""
    code = "import subprocess; subprocess.Popen(['sleep', '30']); print(1, flush=True); input()"
    with subprocess.Popen(
        command_under([sys.executable, "-c", code]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        below = descendants(process.pid)
        assert len(below) == 2
        process.terminate()
        process.wait(timeout=20)
    assert not [pid for pid in below if pid in descendants(1)]
