"""The durable log and the snapshot files."""
