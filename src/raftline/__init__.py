"""Raft for Python: a library, a linearizable Redis-protocol store, and a test bench.

Layers, arrows only go down: cli → kv, lab, sim; kv → runtime, replica; sim → runtime, replica, wal, kv;
runtime → replica, wal, transport; replica → core; wal and transport → core; core → errors.
"""
