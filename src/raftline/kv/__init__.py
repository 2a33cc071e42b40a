"""The Redis-protocol key/value store."""
