"""Pure, deterministic Raft: two verbs, `step(event, now)` and `take_ready()`.

Standard library and msgspec only. No clock, no I/O, no globals: time and randomness are passed in.
"""
