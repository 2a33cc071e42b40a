"""What the operating system says becomes what an operator can do."""

import errno
import os

import pytest

from raftline.wal.storage_errors import REMEDY, storage_error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "No space left on device (the disk is full: make room"),
        (errno.EIO, "Input/output error (the disk reports an error"),
        (errno.EACCES, "check owner and permissions"),
        (errno.EBADF, "nothing acknowledged is lost"),
    ],
)
def test_a_storage_error_names_file_reason_and_remedy(code: int, words: str) -> None:
    """In one line, in this order."""
    text = str(storage_error("write", "/d/wal-1.log", OSError(code, os.strerror(code))))
    assert text.startswith("could not write /d/wal-1.log: ")
    assert words in text


def test_an_error_without_a_number_still_has_its_words() -> None:
    """Not every OSError comes from a system call."""
    assert "strange" in str(storage_error("read", "/d", OSError("strange")))


def test_an_empty_directory_is_advised_only_where_others_have_the_data() -> None:
    """A cluster of one that starts empty has lost everything: the condition comes first, another way last (C14)."""
    condition, remedy = "If a majority of the cluster is up without this node", "start it with an empty one"
    assert "keep the directory aside" in REMEDY
    assert 0 <= REMEDY.find(condition) < REMEDY.find(remedy) < REMEDY.find("If not")
    for words in ("one node at a time", "'When the majority is lost'", "restore a backup", "Never start an older copy"):
        assert words in REMEDY
