"""What start-up does about each thing it may find behind the last good frame: THE CASE TABLE.

One batch at a time is on its way to disk, so a crash can leave at most one damaged frame, in the last segment, with
nothing behind it, and parts of it still zero, as preallocated. That, and nothing else, is a torn tail. Any other
damage happened to bytes that were durable, and is refused. The argument is in docs/wal-format.md.
"""

from enum import Enum

import msgspec

__all__ = ["CASES", "Case", "Finding", "Verdict", "decide", "fits"]


class Verdict(Enum):
    """What to do."""

    KEEP = "everything found is good"
    CUT_TAIL = "zero what the interrupted write left behind"
    REFUSE = "bytes that were durable have changed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind the last good frame of a segment."""

    last_segment: bool
    """No later segment exists."""
    clean: bool
    """Nothing but zeros up to the segment's end."""
    later_frame: bool
    """Something was written behind the damaged frame."""
    has_holes: bool
    """Some aligned 512-byte sector, or the end, of the damaged frame is still zero: not all of it was written."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A row: None stands for either."""

    letter: str
    last_segment: bool | None = None
    clean: bool | None = None
    later_frame: bool | None = None
    has_holes: bool | None = None
    verdict: Verdict
    reason: str


CASES = (
    Case(letter="A", clean=True, verdict=Verdict.KEEP, reason="the log ends here"),
    Case(
        letter="B",
        clean=False,
        later_frame=True,
        verdict=Verdict.REFUSE,
        reason="a damaged frame stands before a later one, so it was durable once",
    ),
    Case(
        letter="C",
        last_segment=False,
        clean=False,
        later_frame=False,
        verdict=Verdict.REFUSE,
        reason="a damaged frame stands in a segment that was finished",
    ),
    Case(
        letter="D",
        last_segment=True,
        clean=False,
        later_frame=False,
        has_holes=False,
        verdict=Verdict.REFUSE,
        reason="the last frame was written completely and changed afterwards",
    ),
    Case(
        letter="E",
        last_segment=True,
        clean=False,
        later_frame=False,
        has_holes=True,
        verdict=Verdict.CUT_TAIL,
        reason="the last write was interrupted",
    ),
)


def decide(finding: Finding) -> Case:
    """Return the one row that fits."""
    return next(case for case in CASES if fits(case, finding))


def fits(case: Case, finding: Finding) -> bool:
    """Say whether a row speaks of what was found."""
    return all(
        wanted is None or wanted == found
        for wanted, found in (
            (case.last_segment, finding.last_segment),
            (case.clean, finding.clean),
            (case.later_frame, finding.later_frame),
            (case.has_holes, finding.has_holes),
        )
    )
