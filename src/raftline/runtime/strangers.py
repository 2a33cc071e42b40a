"""A candidate that is no member is told so, and what a node makes of being told (§6, last paragraph).

Who was removed while it was down, or while the leader changed, may never hear of it from a leader: it asks for votes
for ever, a learner without wanting any, and its clients wait. Members therefore answer a stranger's question with a
word of their own beside the vote, which goes back the way the question came and which the core never sees: it changes
no term, no vote, no log and no membership, and who hears it goes on asking. Only clients, the log and the status learn
of it, until a leader is heard; and of a sharded store's replica its keeper, which gives it up.

Why a node with an outdated view cannot make a member believe this: the word is about an index. It is said only by a
member whose membership in force is committed, and holds as of that member's commit index. A node that was just added
knows an entry (or snapshot) behind that index which names it, and passes over every older word; where the word is as
new as what the node knows of itself, both come from the same committed log, and the newer one is right. Two histories
(C14) are not compared. The word of one that was cut off for long is thus at most out of date: true as of its index,
believed only by a node that knows nothing newer and hears no leader, and forgotten with the first word of one.
"""

from collections.abc import Sequence

import structlog

from raftline.core.ids import GroupId, Index, NodeId
from raftline.core.messages import VoteRequest
from raftline.core.state import RaftState
from raftline.errors import NotMember
from raftline.runtime.members import ask_members, not_member
from raftline.runtime.ports import Transport
from raftline.transport.codec import Stranger

__all__ = ["Strangers"]

_log = structlog.get_logger("raftline.group")
_NODE_IS_OUT = "this node is no member of the group: stop it; with an emptied directory it can be added again"
_REPLICA_IS_OUT = "this node is no member of a group that it hosts: remove the replica, as a sharded server does"


class Strangers:
    """Both sides of the word for one replica.

    Invariant: `word` is the newest that was believed since a leader was last heard.
    """

    __slots__ = ("_group", "_state", "_transport", "_word")

    def __init__(self, group: GroupId, state: RaftState, transport: Transport) -> None:
        self._group = group
        self._state = state
        self._transport = transport
        self._word: Stranger | None = None

    @property
    def word(self) -> Stranger | None:
        """Return what this node was told, None if it was told nothing or has heard better since."""
        word = self._word
        if word is None or not self._can_be_true(word.index):
            return None
        return word

    def ask(self, nodes: Sequence[NodeId]) -> bool:
        """Ask nodes that may hold the group, though none of them is asked for a vote, for their word; say if so.

        The voters that it knows may all have been let go: those who vote by now may be entirely other nodes, or were
        learners when it last heard of them. Who hears a leader has no need to ask.
        """
        state = self._state
        if state.leader is not None or state.is_out or self.word is not None:
            return False
        last_index, last_term = state.log.last_index, state.log.last_term
        question = VoteRequest(state.term, last_index, last_term, pre_vote=True, history=state.history)
        unasked = [node for node in nodes if not state.membership.is_voter(node)]
        for node in unasked:
            self._transport.send(node, self._group, question)
        return bool(unasked)

    def answer(self, candidate: NodeId) -> None:
        """Tell whoever asks for a vote if it is no member, as far as is committed here and no change is under way."""
        state = self._state
        membership = state.membership
        is_settled = 0 < state.commit >= state.configuration.index
        if membership.is_member(candidate) or not is_settled or not membership.is_member(state.me):
            return
        word = Stranger(self._group, state.commit, membership.addresses, state.history)
        self._transport.tell_stranger(candidate, word)

    def on_word(self, sender: NodeId, word: Stranger) -> bool:
        """Take a member's word; say whether it is believed, and new."""
        state = self._state
        is_of_another_history = state.history and word.history not in (0, state.history)
        if is_of_another_history or not self._can_be_true(word.index):
            return False
        was_told = self.word
        if was_told is not None and was_told.index >= word.index:
            return False
        self._word = word
        if was_told is None:
            _log.warning(
                _REPLICA_IS_OUT if self._group else _NODE_IS_OUT,
                node=state.me, group=self._group, told_by=sender, as_of_index=word.index, members=dict(word.addresses),
            )  # fmt: skip
        return True

    def forget(self) -> None:
        """A leader speaks to this node, or it leads: it is a member again, or was all along."""
        self._word = None

    def role(self) -> str | None:
        """Return the word for a status: `removed` for who held something of a log, `stranger` for who never did."""
        if self.word is None:
            return None
        return "removed" if self._state.log.last_index else "stranger"

    def trouble(self) -> str | None:
        """Return the same as `error` in words for a status; None for a node that knows by itself where it belongs."""
        return str(self.error()) if self.word is not None else None

    def error(self) -> NotMember | None:
        """Return what to tell clients; None if they are served, or may wait for a leader.

        Who knows of its removal refuses even while it hears a leader, which soon speaks to it no more: what was passed
        on then would have an unknown outcome.
        """
        state = self._state
        if state.is_removed and (state.leader is None or state.membership.voters):
            return not_member(state)
        word = self.word
        if word is None:
            return None
        what = "was removed from the group" if self._state.log.last_index else "is no member of the group"
        return NotMember(f"{self._state.me} {what}: ask {ask_members(word.addresses)}")

    def _can_be_true(self, index: Index) -> bool:
        """Say whether nothing newer than `index` is known here: no leader, and no membership behind it."""
        state = self._state
        return state.leader is None and not state.is_out and state.configuration.index <= index
