"""The Redis-protocol key/value store.

server (sockets) → connection (one client, sans-IO) → resp (bytes ⇄ commands) and commands/table → node, which hands
committed commands to machine → commands/* → store.
"""

__all__: list[str] = []
