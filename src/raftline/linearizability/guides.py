"""What makes the search short for objects that hold a value: which states matter, and which moves lose the game.

Each operation is summed up by a `Role`. Two proofs are built from roles. Values nobody ever asks for are all alike, so
they become one state. And an answer that needs a value can only come while the value is there: a move that leaves it,
with nothing left to bring it back, need not be tried. `docs/linearizability.md` gives the arguments.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from raftline.linearizability.model import Guide, State

__all__ = ["NOTHING", "UNREAD", "Role", "counter_guide", "text_guide", "unread_text", "value_guide"]


class _Symbol:
    """A value that no history can hold."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return self._words


NOTHING: Hashable = _Symbol("nothing")
"""No value at all, where None is a value like any other."""
UNREAD: Hashable = _Symbol("a value that nobody asks for")


@dataclass(frozen=True, slots=True)
class Role:
    """What one operation, with the output it has, needs of the value and does to it.

    `needs`     the only value it can be accepted at (if not `known`: the only value at which it does anything).
    `compares`  a value it tells apart from others.
    `makes`     the value it may set; None removes the value.
    `adds`      the text it puts at the end.
    """

    needs: Hashable = NOTHING
    compares: Hashable = NOTHING
    makes: Hashable = NOTHING
    adds: str = ""
    known: bool = True


def value_guide(roles: Sequence[Role], *, start: State, unread: State) -> Guide:
    """Guide for values that are only set and asked for; `unread` stands for every value that nobody asks for.

    An unread value accepts nothing that another would not, except that a comparison failed.
    """
    tells: dict[State, int] = {}
    serves: dict[State, int] = {}
    sources: dict[State, int] = {}
    blind = compared = refuted = 0
    for index, role in enumerate(roles):
        bit = 1 << index
        for value in {role.needs, role.compares} - {NOTHING}:
            tells[value] = tells.get(value, 0) | bit
        if role.needs is not NOTHING and role.known:
            serves[role.needs] = serves.get(role.needs, 0) | bit
        if role.makes is not NOTHING:
            sources[role.makes] = sources.get(role.makes, 0) | bit
            blind |= bit if role.needs is NOTHING else 0
        compared |= bit if role.compares is not NOTHING else 0
    if compared:
        blind = 0
    inert = sum(1 << index for index, role in enumerate(roles) if blind >> index & 1 and role.makes not in tells)
    for value, wanting in serves.items():
        if value != start and value not in sources:
            refuted |= wanting
    return Guide(
        tells=lambda state: tells.get(state, 0),
        forget=lambda _state: unread,
        serves=lambda state: serves.get(state, 0),
        sources=lambda state: sources.get(state, 0),
        inert=inert,
        blind=blind,
        refuted=refuted,
    )


def counter_guide(needs: Sequence[int | None], *, grows: bool) -> Guide:
    """Guide for totals, `needs` being those at which answers fit; if the total only `grows`, none comes back."""
    if not grows:
        return Guide()
    order = sorted((total, index) for index, total in enumerate(needs) if total is not None)
    totals = [total for total, _ in order]
    at_least = [0] * (len(order) + 1)
    for place in range(len(order) - 1, -1, -1):
        at_least[place] = at_least[place + 1] | 1 << order[place][1]

    def serves(state: State) -> int:
        assert isinstance(state, int)
        return at_least[bisect_left(totals, state)]

    return Guide(serves=serves)


def unread_text(roles: Sequence[Role]) -> str:
    """Return a letter that begins no text anybody asks for, ASCII if there is one."""
    used = {text[:1] for role in roles for text in (role.needs, role.compares) if isinstance(text, str)}
    return next(letter for letter in map(chr, range(len(used) + 1)) if letter not in used)


def text_guide(
    roles: Sequence[Role],
    *,
    text_of: Callable[[State], str],
    unread: Callable[[State], State],
    unread_is_poorest: bool,
) -> Guide:
    """Guide for texts, empty at first, that are set and appended to.

    `unread(state)` stands for every state like this one whose text, however it grows, nobody asks for;
    `unread_is_poorest` says that it accepts nothing which another state would not.
    """
    told = _Told(roles)
    paths = _Paths(roles)
    inert = blind = 0
    if unread_is_poorest:
        for index, role in enumerate(roles):
            if role.needs is NOTHING:
                set_unread = isinstance(role.makes, str) and not told.tells(role.makes)
                grown_unread = role.adds != "" and not told.contains(role.adds)
                inert |= 1 << index if set_unread or grown_unread else 0
                blind |= 1 << index if isinstance(role.makes, str) else 0
    return Guide(
        tells=lambda state: told.tells(text_of(state)),
        forget=unread,
        serves=lambda state: paths.serves.get(text_of(state), 0),
        depends=paths.depends,
        inert=inert,
        blind=blind,
        refuted=paths.refuted,
    )


class _Told:
    """The texts that somebody asks for, and who."""

    def __init__(self, roles: Sequence[Role]) -> None:
        asking: dict[str, int] = {}
        for index, role in enumerate(roles):
            for text in (role.needs, role.compares):
                if isinstance(text, str):
                    asking[text] = asking.get(text, 0) | 1 << index
        self._texts = sorted(asking)
        self._asking_before = [0]
        for text in self._texts:
            self._asking_before.append(self._asking_before[-1] | asking[text])

    def tells(self, text: str) -> int:
        """Return the operations that ask for a text which begins with this one."""
        low = bisect_left(self._texts, text)
        high = bisect_left(self._texts, 1, lo=low, key=lambda told: not told.startswith(text))
        return self._asking_before[high] & ~self._asking_before[low]

    def contains(self, part: str) -> bool:
        """Whether this part is found in any of the texts."""
        return any(part in text for text in self._texts)


class _Paths:
    """Finds the texts that can be put together in one way only, and what each needs on its way.

    Texts are taken in sorted order, and what was worked out for the common beginning of two neighbours is kept: a list
    with, for each length, the only step (operation, length before) that leads there, or None if there is no step or
    more than one. Step (-1, -1) is the empty text of the start.
    """

    def __init__(self, roles: Sequence[Role]) -> None:
        self.serves: dict[str, int] = {}
        self.depends = [0] * len(roles)
        self.refuted = 0
        self._roots: dict[str, list[int]] = {"": [-1]}
        self._adds: dict[str, list[int]] = {}
        asking: dict[str, int] = {}
        for index, role in enumerate(roles):
            if role.makes is None or isinstance(role.makes, str):
                self._roots.setdefault(role.makes or "", []).append(index)
            if role.adds:
                self._adds.setdefault(role.adds, []).append(index)
            if isinstance(role.needs, str) and role.known:
                asking[role.needs] = asking.get(role.needs, 0) | 1 << index
        self._add_lengths = sorted({len(text) for text in self._adds})
        self._root_lengths = {len(text) for text in self._roots}
        self._walk(sorted(asking.items()))

    def _walk(self, asking: list[tuple[str, int]]) -> None:
        """Work through the texts; `wanting[n]` is who asks for a text whose only path leads through length n."""
        steps: list[tuple[int, int] | None] = []
        reached: list[bool] = []
        wanting: list[int] = []
        before = ""
        for text, mask in [*asking, ("", 0)]:
            shared = _shared_length(before, text) + 1 if reached else 0
            while len(reached) > shared:
                self._leave(before, steps, wanting)
                reached.pop()
            for length in range(len(reached), len(text) + 1):
                found = self._steps_to(text, length, reached)
                reached.append(bool(found))
                unique = len(found) == 1 and (found[0][1] < 0 or steps[found[0][1]] is not None)
                steps.append(found[0] if unique else None)
                wanting.append(0)
            if not reached[-1]:
                self.refuted |= mask
            elif steps[-1] is not None:
                wanting[-1] |= mask
            before = text
        self._leave(before, steps, wanting)

    def _steps_to(self, text: str, length: int, reached: list[bool]) -> list[tuple[int, int]]:
        """Return the steps (operation, length before) that can lead to the first `length` letters."""
        found: list[tuple[int, int]] = []
        if length in self._root_lengths:
            found += [(index, -1) for index in self._roots.get(text[:length], ())]
        for added in self._add_lengths:
            if added > length:
                break
            if reached[length - added]:
                found += [(index, length - added) for index in self._adds.get(text[length - added : length], ())]
        return found

    def _leave(self, text: str, steps: list[tuple[int, int] | None], wanting: list[int]) -> None:
        """Give up the last length; all who want it are known by now, and they want the length before it too."""
        step, mask = steps.pop(), wanting.pop()
        if step is None or not mask:
            return
        index, length = step
        self.serves[text[: len(steps)]] = mask
        if index >= 0:
            self.depends[index] |= mask
        if length >= 0:
            wanting[length] |= mask


def _shared_length(first: str, second: str) -> int:
    """Return how many letters two texts have in common at their beginnings."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[:middle] == second[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
