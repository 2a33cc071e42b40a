"""Mutants of exactly-once (rules G7, G8, G9, G19): sessions that give way, commands in them, clients' decisions."""

from raftline.sim.mutants.mutant import Mutant, Patch

__all__ = ["MUTANTS"]

_CALL = "raftline.client.call"
_CONNECTION = "raftline.kv.connection"
_REPLICA = "raftline.replica.replica"
_SESSIONS = "raftline.replica.sessions"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="once_is_an_ordinary_command",
        rules=("G7", "G8"),
        does="RAFTLINE.ONCE proposes its command without the session.",
        patches=(
            Patch(
                _CONNECTION,
                "            self._propose(plan, inner, session, sequence)\n",
                "            self._propose(plan, inner)\n",
            ),
        ),
    ),
    Mutant(
        name="older_numbers_are_carried_out",
        rules=("G8", "G7"),
        does="Only the last number of a session is a repetition; a lower one that comes late is carried out.",
        patches=(
            Patch(_REPLICA, "        if sequence < session.sequence:\n", "        if sequence < 0:\n"),
            Patch(_REPLICA, "        if sequence > session.sequence:\n", "        if sequence != session.sequence:\n"),
        ),
        bench="evictions",
    ),
    Mutant(
        name="forgotten_reply_forgets_the_number",
        rules=("G7", "G8"),
        does="A session whose reply has to make room forgets which command it carried out, too.",
        patches=(
            Patch(
                _SESSIONS,
                'msgspec.structs.replace(session, reply=b"", reply_forgotten=True)',
                'Session(0, False, b"", session.used_ms)',
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="large_reply_is_no_command",
        rules=("G7", "G8"),
        does="A command whose reply is too large to be kept is not noted at all.",
        patches=(
            Patch(
                _SESSIONS,
                "        is_kept = len(reply) <= self.reply_bytes_max // _SHARE_OF_ONE\n",
                "        is_kept = len(reply) <= self.reply_bytes_max // _SHARE_OF_ONE\n"
                "        if not is_kept:\n"
                "            return\n",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="unknown_session_is_opened",
        rules=("G9", "G7"),
        does="A command in a session that is not open opens it, as if nothing had been carried out in it.",
        patches=(
            Patch(
                _REPLICA,
                "        if session is None:\n",
                "        if session is None:\n"
                "            self.sessions.open(session_id, self.time_ms)\n"
                "            session = self.sessions.find(session_id)\n"
                "        if session is None:\n",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="sessions_are_used_where_they_are_asked",
        rules=("G9",),
        does="Which session was used last is noted by the leader only, and each node lets others make room.",
        patches=(
            Patch(
                _REPLICA,
                "            self.sessions.touch(session_id, self.time_ms)\n",
                "            if self.core.is_leader:\n                self.sessions.touch(session_id, self.time_ms)\n",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="sessions_are_counted_where_they_are_opened",
        rules=("G9",),
        does="Each node bounds the sessions that it let in while it led; those of other leaders do not count.",
        patches=(
            Patch(
                _REPLICA,
                "            if not self.sessions.open(session, self.time_ms, born):\n",
                "            if not self.core.is_leader:\n"
                "                self.sessions.count_max += 1\n"
                "            if not self.sessions.open(session, self.time_ms, born):\n",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="replies_are_not_in_the_snapshot",
        rules=("G9", "G14"),
        does="A snapshot holds the numbers of the sessions, and not what they were answered.",
        patches=(
            Patch(
                _REPLICA,
                "self.time_ms, self.sessions.dump()",
                "self.time_ms, [(number, msgspec.structs.replace(session, reply=b''))"
                " for number, session in self.sessions.dump()]",
            ),
        ),
    ),
    Mutant(
        name="restored_replies_are_not_counted",
        rules=("G9",),
        does="A node that restored a snapshot lets replies make room later than the others.",
        patches=(
            Patch(
                _SESSIONS,
                "        self.reply_bytes = sum(len(session.reply) for _, session in sessions)\n",
                "        self.reply_bytes = 0\n",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="restored_sessions_are_in_another_order",
        rules=("G9",),
        does="A restore sorts the sessions by their number, so others make room than on the other nodes.",
        patches=(
            Patch(
                _SESSIONS,
                "        self._sessions = {session_id: session for session_id, session in sessions if not",
                "        sessions = sorted(sessions, key=lambda item: item[0])\n"
                "        self._sessions = {session_id: session for session_id, session in sessions if not",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="client_takes_silence_for_a_refusal",
        rules=("G19",),
        does="A client whose connection was lost says that the command was not applied.",
        patches=(
            Patch(
                _CALL,
                "        if outcome is Outcome.LOST and self.kind is not Kind.READ:\n",
                "        if outcome is Outcome.LOST and self.kind is Kind.OTHER:\n",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="client_repeats_in_a_new_session",
        rules=("G8", "G19"),
        does="A client whose session is gone sends its command in a new one, also if it may have been applied.",
        patches=(
            Patch(
                _CALL,
                "        if outcome is Outcome.OUTDATED or self.may_have_been_applied:\n",
                "        if outcome is Outcome.OUTDATED:\n",
            ),
        ),
        bench="evictions",
    ),
    Mutant(
        name="client_takes_unknown_for_refused",
        rules=("G19",),
        does="A client takes every CLUSTERDOWN for a refusal, also one that says that the outcome is unknown.",
        patches=(Patch(_CALL, "    if outcome is Outcome.REFUSED and _UNSURE in reply:\n", "    if not reply:\n"),),
        bench="evictions",
    ),
)
