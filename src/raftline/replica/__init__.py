"""One group member: core, state machine, sessions and the callers who wait. Pure, like the core."""
