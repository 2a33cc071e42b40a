"""A leader's view of one follower under answers in any order: what it never loses and never claims."""

from hypothesis import given
from hypothesis import strategies as st

from raftline.core.progress import Mode, PeerProgress

LAST = 30
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 5)),
        st.tuples(st.just("accept"), st.integers(0, 60)),
        st.tuples(st.just("refuse"), st.integers(0, 60)),
        st.tuples(st.just("heartbeat"), st.just(0)),
        st.tuples(st.just("snapshot"), st.integers(1, LAST)),
        st.tuples(st.just("chunk"), st.integers(0, 1000)),
    ),
    max_size=60,
)


class Follower:
    """What the follower really holds; answers are made of what was really sent."""

    def __init__(self, has: int) -> None:
        self.has = has
        self.sent: list[tuple[int, int]] = []
        self.answers: list[tuple[bool, int, int]] = []

    def take(self, prev: int, last: int) -> None:
        if prev <= self.has:
            self.has = max(self.has, last)
            self.answers.append((True, prev, last))
        else:
            self.answers.append((False, prev, self.has + 1))


def _send(progress: PeerProgress, follower: Follower, count: int, now: float) -> None:
    if progress.mode is Mode.SNAPSHOT or (progress.mode is Mode.PROBE and progress.probing):
        return
    prev = progress.next_index - 1
    last = min(prev + count, LAST)
    follower.take(prev, last)
    progress.on_sent(last, last - prev, now, 0)


def _step(progress: PeerProgress, follower: Follower, action: tuple[str, int], now: float) -> None:
    what, number = action
    answers = follower.answers
    if what == "send":
        _send(progress, follower, number, now)
    elif what == "heartbeat":
        progress.on_heartbeat_due()
    elif what == "snapshot" and progress.mode is not Mode.SNAPSHOT and progress.next_index <= number:
        progress.become_snapshot(number)
    elif what == "chunk" and progress.mode is Mode.SNAPSHOT:
        progress.on_chunk_asked(now)
        progress.on_chunk_accepted(number, now)
        follower.has = max(follower.has, progress.snapshot_index)
        progress.on_accepted(progress.snapshot_index, progress.snapshot_index)
    elif what in ("accept", "refuse") and answers:
        accepted, prev, index = answers[number % len(answers)]  # any of them, any number of times
        progress.on_heard(now, 0)
        if accepted:
            progress.on_accepted(index, 0)
        elif not progress.is_stale_refusal(prev):
            progress.on_refused(min(index, prev))


@given(st.integers(0, LAST), ACTIONS)
def test_match_is_true_and_only_rises_and_next_follows_it(has: int, actions: list[tuple[str, int]]) -> None:
    """Whatever is repeated or overtaken: match ≤ what is there, match < next, windows add up (B19, B20, E3, E4)."""
    follower = Follower(has)
    progress = PeerProgress(next_index=LAST + 1, now=0.0)
    for number, action in enumerate(actions):
        before = progress.match_index
        _step(progress, follower, action, float(number))
        assert before <= progress.match_index <= follower.has
        assert progress.match_index < progress.next_index <= LAST + 1
        assert progress.inflight_bytes == sum(size for _, size in progress._inflight)
        if progress.mode is not Mode.REPLICATE:
            assert progress.inflight_messages == 0


@given(st.integers(0, LAST), st.lists(st.booleans(), max_size=40))
def test_with_answers_it_always_arrives(has: int, losses: list[bool]) -> None:
    """Send, lose some, answer: once nothing is lost the follower is level within a bounded number of rounds (B14)."""
    follower = Follower(has)
    progress = PeerProgress(next_index=LAST + 1, now=0.0)
    for number in range(len(losses) + 3 * LAST):
        progress.on_heartbeat_due()
        _send(progress, follower, 3, float(number))
        if not follower.answers or (number < len(losses) and losses[number]):
            follower.answers.clear()
            continue
        for accepted, prev, index in follower.answers:
            if accepted:
                progress.on_accepted(index, 0)
            elif not progress.is_stale_refusal(prev):
                progress.on_refused(min(index, prev))
        follower.answers.clear()
        if progress.match_index == LAST:
            return
    raise AssertionError(f"stuck at {progress.match_index} of {LAST} in {progress.mode}")
