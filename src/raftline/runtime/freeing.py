"""Gives the space of large removed files back in slices, so that no fsync of the log waits behind one long removal.

A file system frees what an unlinked file held in one piece of work, a gigabyte in a fifth of a second, and whoever
fsyncs another file meanwhile waits for it. So the last descriptor of a removed file comes here, and one thread for the
whole process cuts the file down piece by piece. Whoever else still reads the file reads it to its end: nothing is cut
before this descriptor is the last. If the process dies, the kernel frees the rest at once.
"""

import fcntl
import os
import signal
import threading
import time
from queue import SimpleQueue

__all__ = ["SLICE_BYTES", "Freeing", "free_slowly"]

SLICE_BYTES = 8 << 20
_PAUSE_S = 0.01
_READ_ELSEWHERE_S = 0.2
"""How long to wait before looking again whether others still have a file open."""


class Freeing:
    """One thread, started when it is first needed, that owns the descriptors it was given."""

    def __init__(self, *, pause_s: float = _PAUSE_S, read_elsewhere_s: float = _READ_ELSEWHERE_S) -> None:
        self._pause_s = pause_s
        self._read_elsewhere_s = read_elsewhere_s
        self._descriptors: SimpleQueue[int | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def free(self, descriptor: int) -> None:
        """Take the descriptor of an unlinked file and close it, after cutting the file down if it is large."""
        if os.fstat(descriptor).st_size <= SLICE_BYTES:
            os.close(descriptor)
            return
        with self._starting:  # the disk threads of several nodes may come here
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="raftline-freeing", daemon=True)
                self._thread.start()
        self._descriptors.put(descriptor)

    def close(self) -> None:
        """Free everything that was given and is read by nobody else, and end the thread."""
        if self._thread is not None:
            self._descriptors.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        ending = False
        while not (ending and self._descriptors.empty()):
            descriptor = self._descriptors.get()
            if descriptor is None:
                ending = True
                continue
            # Whoever was just opening the file when it was unlinked has done so by now.
            time.sleep(self._pause_s)
            if self._is_done(descriptor) or ending:
                os.close(descriptor)
            else:
                self._descriptors.put(descriptor)
                time.sleep(self._read_elsewhere_s)

    def _is_done(self, descriptor: int) -> bool:
        """Cut the file down slice by slice, unless it is still read, or that cannot be told; False: try again later."""
        try:
            found = os.fstat(descriptor)
            if found.st_nlink > 0:
                return True
            if _is_open_elsewhere(descriptor):
                return False
            for size in range(found.st_size - SLICE_BYTES, 0, -SLICE_BYTES):
                os.ftruncate(descriptor, size)
                time.sleep(self._pause_s)
        except OSError:
            return True
        return True


def _is_open_elsewhere(descriptor: int) -> bool:
    """Say whether another descriptor of this file exists, in any process: no lease is given then (fcntl(2)).

    Raises OSError where the file system knows no leases.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # which nobody minds, should it ever be sent
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    return False


_freeing = Freeing()


def free_slowly(descriptor: int) -> None:
    """Give back the space of an unlinked file; closes `descriptor`, now or soon."""
    _freeing.free(descriptor)
