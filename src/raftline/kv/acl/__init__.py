"""Users, passwords and what each user may do; the state is replicated, the decisions are each node's."""

__all__: list[str] = []
