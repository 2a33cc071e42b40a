"""Names: what a directory sync has seen stays, the rest is decided name by name, sanely."""

from collections import Counter
from random import Random

from raftline.sim.directory import NameChange, Names, parent_of
from raftline.sim.inode import Inode


def _lose(names: Names, seed: int, keep: float = 0.5, now_s: float = 9.0) -> frozenset[str]:
    names.lose_power(now_s, keep, Random(seed).random, Counter())
    return frozenset(names.live)


def _names() -> Names:
    """Return a directory in which `/d/old` and `/d/gone` are durable."""
    names = Names()
    names.directories["/d"] = None
    for path in ("/d/old", "/d/gone"):
        names.change(NameChange(path, Inode(), 0.0))
    names.sync("/d", 0.0, 0.0)
    names.settle(0.5)
    assert names.changes == []
    return names


def test_names_in_a_directory_are_listed_in_order() -> None:
    """Files and directories of one directory, not those below it."""
    names = _names()
    names.directories["/d/sub"] = None
    names.change(NameChange("/d/sub/file", Inode(), 1.0))
    assert names.list("/d") == ["gone", "old", "sub"]
    assert names.list("/") == ["d"]
    assert (parent_of("/d/sub/file"), parent_of("/d")) == ("/d/sub", "/")


def test_a_rename_happens_whole_or_not_at_all() -> None:
    """After the crash the file has its old name or its new one, and the one it replaced is there or not accordingly."""
    outcomes = set()
    for seed in range(40):
        names = _names()
        inode, replaced = names.live["/d/old"], names.live["/d/gone"]
        names.change(NameChange("/d/gone", inode, 1.0, "/d/old"))
        _lose(names, seed)
        assert names.live in ({"/d/old": inode, "/d/gone": replaced}, {"/d/gone": inode})
        outcomes.add(len(names.live))
    assert outcomes == {1, 2}


def test_changes_of_different_names_are_kept_or_lost_for_themselves() -> None:
    """Of two removals either one may come back alone."""
    outcomes = set()
    for seed in range(60):
        names = _names()
        names.change(NameChange("/d/old", None, 1.0))
        names.change(NameChange("/d/gone", None, 1.0))
        outcomes.add(_lose(names, seed))
    assert outcomes == {
        frozenset(),
        frozenset({"/d/old"}),
        frozenset({"/d/gone"}),
        frozenset({"/d/old", "/d/gone"}),
    }


def test_nothing_happens_to_a_name_whose_earlier_change_was_lost() -> None:
    """A file that was never created cannot have been renamed: there is no name without its file."""
    outcomes = set()
    for seed in range(60):
        names = _names()
        names.change(NameChange("/d/new.tmp", inode := Inode(), 1.0))
        names.change(NameChange("/d/new", inode, 1.0, "/d/new.tmp"))
        outcomes.add(_lose(names, seed) - {"/d/old", "/d/gone"})
    assert outcomes == {frozenset(), frozenset({"/d/new.tmp"}), frozenset({"/d/new"})}


def test_a_file_never_vanishes_because_a_later_change_was_kept() -> None:
    """If the rename of a file is lost, so is the new file that took its old name: the old one is still there."""
    for seed in range(60):
        names = _names()
        inode = names.live["/d/old"]
        names.change(NameChange("/d/moved", inode, 1.0, "/d/old"))
        names.change(NameChange("/d/old", Inode(), 1.0))
        _lose(names, seed)
        assert inode in names.live.values()


def test_a_synced_directory_keeps_its_names() -> None:
    """What was done before the sync stays for every chance, once the sync has ended; later changes may go."""
    for seed in range(20):
        names = _names()
        names.change(NameChange("/d/new", Inode(), 1.0))
        names.sync("/d", 1.0, 2.0)
        names.change(NameChange("/d/later", Inode(), 3.0))
        assert _lose(names, seed, keep=0.0) == {"/d/old", "/d/gone", "/d/new"}
    names = _names()
    names.change(NameChange("/d/new", Inode(), 1.0))
    names.sync("/d", 1.0, 2.0)
    assert _lose(names, 1, keep=0.0, now_s=1.9) == {"/d/old", "/d/gone"}


def test_the_sync_of_another_directory_does_not_help() -> None:
    """Only the directory that holds a name makes it last."""
    names = _names()
    names.directories["/e"] = None
    names.change(NameChange("/d/new", Inode(), 1.0))
    names.sync("/e", 1.0, 1.0)
    assert _lose(names, 1, keep=0.0) == {"/d/old", "/d/gone"}


def test_the_death_of_the_program_undoes_only_what_came_after_it() -> None:
    """Names survive a kill without any sync, except those that work ahead of time had made."""
    names = _names()
    names.change(NameChange("/d/new", Inode(), 1.0))
    names.change(NameChange("/d/future", Inode(), 5.0))
    names.kill(3.0)
    assert set(names.live) == {"/d/old", "/d/gone", "/d/new"}
    assert _lose(names, 1, keep=0.0) == {"/d/old", "/d/gone"}


def test_an_interrupted_sync_keeps_a_prefix_of_the_changes() -> None:
    """Directories are journalled: of two creations the first is durable before the second."""
    outcomes = set()
    for seed in range(60):
        names = _names()
        names.change(NameChange("/d/1", Inode(), 1.0))
        names.change(NameChange("/d/2", Inode(), 1.0))
        names.sync_partly(2.0, Random(seed).random)
        outcomes.add(_lose(names, 1, keep=0.0, now_s=2.0) - {"/d/old", "/d/gone"})
    assert outcomes == {frozenset(), frozenset({"/d/1"}), frozenset({"/d/1", "/d/2"})}
