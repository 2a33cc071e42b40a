"""The language of dialogues: what it refuses, and how; what it says is held by tests/scenarios."""

import pytest

from raftline.core import invariants
from raftline.errors import SafetyViolation
from raftline.sim.dialogue import COMMANDS, DialogueError, run_dialogue


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("> propose n1 x", "line 1, '> propose n1 x': nothing runs yet"),
        ("# a\n> start 3\n> dance", "line 3, '> dance': unknown command 'dance'; there are "),
        ("> start 3\n> crash n4", "no node 'n4'; there are n1, n2, n3"),
        ("> start 3\n> crash n1\n> timeout n1", "n1 is down"),
        ("> start 3\n> deliver n1->n2", "nothing is under way on n1->n2"),
        ("> start 3\n> deliver n1", "'n1' is no link"),
        ("> start 3\n> wait long", "'long' is no time"),
        ("> start 3\n> chunk n1", "n1 has no chunk"),
        ("> start x", "invalid literal"),
        ("> start 3 pre_vote=maybe", "Expected `bool`"),
        ("> start", "list index out of range"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_with_its_line(text: str, complaint: str) -> None:
    """Whoever writes a dialogue learns where it is wrong."""
    with pytest.raises(DialogueError) as caught:
        run_dialogue(text)
    assert complaint in str(caught.value)


def test_an_old_trace_is_replaced_and_the_story_stays() -> None:
    """Everything that is neither story nor command is trace."""
    text = "# Story.\n\n> start 1\n> timeout n1\n  some old line\n"
    assert run_dialogue(text) == (
        "# Story.\n\n> start 1\n> timeout n1\n"
        "  0.000  n1  LEADER    t1  voted n1  commit 1   [1]                      timer; applied 1..1\n"
    )


def test_every_command_says_what_it_does() -> None:
    """The docstring of each begins with its form."""
    for name, command in COMMANDS.items():
        assert (command.__doc__ or "").startswith(f"`{name}"), name


def test_a_broken_promise_ends_a_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invariants are checked after every step."""
    monkeypatch.setattr(invariants.Watch, "check", _broken)
    with pytest.raises(SafetyViolation, match="broken on purpose"):
        run_dialogue("> start 3\n> timeout n1\n")


def _broken(_watch: object) -> None:
    raise SafetyViolation("broken on purpose")
