"""RESP2 and RESP3: requests in, replies out; bytes and values only, no sockets, no commands."""

__all__: list[str] = []
