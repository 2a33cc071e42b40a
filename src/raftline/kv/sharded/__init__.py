"""One group's share of a sharded store: which slots it serves, and how they come and go with all they hold."""
