"""The space of removed files: given back in slices, and never while somebody still reads the file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from raftline.runtime.freeing import SLICE_BYTES, Freeing
from raftline.wal.files import OsFiles

SIZE = 3 * SLICE_BYTES + 5


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes to which files are cut, in order."""
    found: list[int] = []
    ftruncate = os.ftruncate

    def noting(descriptor: int, size: int) -> None:
        found.append(size)
        ftruncate(descriptor, size)

    monkeypatch.setattr(os, "ftruncate", noting)
    return found


def large(path: Path) -> Path:
    """Make a file of three slices and a bit, with something at its end."""
    with path.open("wb") as file:
        file.seek(SIZE - 3)
        file.write(b"end")
    return path


def removed(path: Path) -> int:
    """Unlink a file; return its last descriptor."""
    descriptor = os.open(path, os.O_RDWR)
    path.unlink()
    return descriptor


def is_open(descriptor: int) -> bool:
    """Say whether this process has such a descriptor."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_large_file_goes_in_slices(tmp_path: Path, slices: list[int]) -> None:
    """From its end, one slice at a time, until the descriptor is closed."""
    frees = Freeing(pause_s=0)
    descriptor = removed(large(tmp_path / "old"))
    frees.free(descriptor)
    frees.close()
    assert slices == [2 * SLICE_BYTES + 5, SLICE_BYTES + 5, 5]
    assert not is_open(descriptor)


def test_a_small_file_goes_at_once(tmp_path: Path, slices: list[int]) -> None:
    """Nothing is left for later."""
    path = tmp_path / "small"
    path.write_bytes(b"x" * 100)
    descriptor = removed(path)
    Freeing().free(descriptor)
    assert not is_open(descriptor)
    assert slices == []


def test_whoever_still_reads_reads_to_the_end(tmp_path: Path, slices: list[int]) -> None:
    """A removed file stays whole while another descriptor is open, and goes once that is closed (D12)."""
    frees = Freeing(pause_s=0, read_elsewhere_s=0.001)
    path = large(tmp_path / "old")
    with path.open("rb") as reader:
        frees.free(removed(path))
        other = removed(large(tmp_path / "other"))
        frees.free(other)
        while is_open(other):  # by then the first was looked at
            os.sched_yield()
        assert reader.seek(-3, os.SEEK_END) == SIZE - 3
        assert reader.read() == b"end"
        count = len(slices)
    frees.close()
    assert len(slices) == count + 3


def test_a_file_with_another_name_is_never_cut(tmp_path: Path, slices: list[int]) -> None:
    """Somebody's hard link keeps what it held."""
    frees = Freeing(pause_s=0)
    path = large(tmp_path / "old")
    (tmp_path / "kept").hardlink_to(path)
    frees.free(removed(path))
    frees.close()
    assert slices == []
    assert (tmp_path / "kept").read_bytes().endswith(b"end")


@pytest.mark.parametrize("make", [OsFiles, lambda: OsFiles(os.close)], ids=["plain", "let go"])
def test_removing_is_the_same_for_whoever_looks(tmp_path: Path, make: Callable[[], OsFiles]) -> None:
    """The name is gone at once; what is not there cannot be removed, and what cannot be removed stays."""
    files = make()
    path = large(tmp_path / "old")
    files.remove(str(path))
    assert files.list(str(tmp_path)) == []
    with pytest.raises(FileNotFoundError):
        files.remove(str(path))
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        files.remove(str(tmp_path / "directory"))
