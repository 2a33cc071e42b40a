"""The real `redis-benchmark` as a load: it runs against one node, again and again, while the cluster is changed.

It ends with a code and a line at the first error reply or lost connection, and waits for ever for a server that takes
its connections and never answers; so each run has a time limit, and whatever is not a clean run is a trouble, in words.
"""

import shutil
import subprocess
import threading

__all__ = ["RedisBenchmark"]

_ERROR_SIGNS = ("Error", "error", "ERR ", "Could not connect")
_NO_NEED_OF_E = "WARNING: -e option has no effect"
"""What versions since 7.0 say to `-e`, without which older ones pass over error replies."""
_TOLD_CHARACTERS = 300


class RedisBenchmark:
    """Runs `redis-benchmark -t tests` against the node at `port` until stopped; the run under way then is finished.

    `troubles` holds one text for every run that did not end with exit code 0 and without an error line.
    """

    def __init__(
        self,
        port: int,
        *,
        tests: str = "set,get,incr",
        requests: int = 2000,
        clients: int = 4,
        limit_s: float = 60.0,
        cluster: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        """Prepare; with `cluster` it finds the nodes by itself, from the one at `port` on, and is redirected.

        Between two runs it does nothing for `pause_s`.
        """
        program = shutil.which("redis-benchmark")
        assert program is not None, "redis-benchmark is not installed: look at `installed` first"
        self._command = [program, "-p", str(port), "-t", tests, "-n", str(requests), "-c", str(clients)]
        self._command += ["-r", "1000", "-q", "-e", *(["--cluster"] if cluster else [])]
        self._port = port
        self._requests_per_run = requests * (tests.count(",") + 1)
        self._limit_s = limit_s
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.runs = 0
        self.troubles: list[str] = []

    @staticmethod
    def installed() -> bool:
        """Say whether there is a redis-benchmark on this machine."""
        return shutil.which("redis-benchmark") is not None

    @property
    def requests(self) -> int:
        """How many requests the clean runs sent and got an answer to."""
        return self._requests_per_run * (self.runs - len(self.troubles))

    def start(self) -> None:
        """Begin the first run."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further run and wait for the end of the present one, which has a time limit."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            trouble = self._trouble_of_one_run()
            self.runs += 1
            if trouble is not None:
                self.troubles.append(f"redis-benchmark against port {self._port}: {trouble}")
            self._stopping.wait(self._pause_s if trouble is None else max(0.1, self._pause_s))

    def _trouble_of_one_run(self) -> str | None:
        """Run once; None if all went well."""
        try:
            done = subprocess.run(  # noqa: S603  our own command line
                self._command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=self._limit_s,
            )
        except subprocess.TimeoutExpired:
            return f"no end after {self._limit_s} s"
        lines = (done.stdout + done.stderr).replace("\r", "\n").splitlines()
        text = "\n".join(line for line in lines if not line.startswith(_NO_NEED_OF_E))
        if done.returncode == 0 and not any(sign in text for sign in _ERROR_SIGNS):
            return None
        return f"exit code {done.returncode}: {text[-_TOLD_CHARACTERS:].strip()}"
