"""Shared by several folders: an authority that issues certificates, and no time limits for examples of hypothesis.

By default an example that takes 200 ms fails its test, which on a busy machine says nothing about the code.
"""

import contextlib
import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, settings

from raftline.transport.tls import TlsFiles

settings.register_profile("raftline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("raftline")

_DESCRIPTORS = Path("/proc/self/fd")
_DISK_BYTES_MIN = 4 << 30
"""What the tests of one run hold at once, several times over: the nodes of a test set 64 MiB each aside."""

_OF_THE_TERMINAL = (
    "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
    "COLUMNS", "LINES", "TERMINAL_WIDTH",
)  # fmt: skip
"""Make programs print colours, or narrower, where there is no terminal: services that build set some of them."""

_OF_THE_NETWORK = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
"""Send a request to a node on this machine somewhere else."""


def pytest_configure() -> None:
    """Take away what changes the programs that are tested, and refuse to begin on a disk that would be full half-way.

    What fails then says nothing about the code.
    """
    for name in (*_OF_THE_TERMINAL, *_OF_THE_NETWORK):
        os.environ.pop(name, None)
    directory = tempfile.gettempdir()
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < _DISK_BYTES_MIN:
        raise pytest.UsageError(
            f"{directory} has {free_bytes >> 20} MiB left, and the tests need {_DISK_BYTES_MIN >> 20}: "
            "free some, or name another directory with TMPDIR"
        )


def open_files(directory: Path) -> list[str]:
    """Return the files whose path begins with `directory` that are open in this process, removed or not."""
    paths: list[str] = []
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208  no name outlives its listing
        with contextlib.suppress(FileNotFoundError):  # another thread has closed it since
            paths.append(os.readlink(_DESCRIPTORS / name))  # noqa: PTH115
    return [path for path in paths if path.startswith(str(directory))]


class Office:
    """Issues certificates into files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)

    def files(
        self, *names: str, by: trustme.CA | None = None, ends: datetime | None = None, stem: str = ""
    ) -> TlsFiles:
        """Issue a certificate for `names` and return the files of whoever has it."""
        issued = (by or self.authority).issue_cert(*names, not_after=ends)
        stem = stem or f"{'-'.join(names)}-{len(list(self.directory.iterdir()))}"
        cert_file, key_file = self.directory / f"{stem}.crt", self.directory / f"{stem}.key"
        issued.cert_chain_pems[0].write_to_path(cert_file)
        issued.private_key_pem.write_to_path(key_file)
        return TlsFiles(str(cert_file), str(key_file), str(self.ca_file))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Return an authority of our own."""
    return Office(tmp_path)
