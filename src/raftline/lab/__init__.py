"""The Make/Start interface of the MIT 6.5840 labs over the consensus core, and the lab's tests for any Python Raft.

raft.py       make, and the server behind it: a thin face of `core`
persister.py  what survives a crash
"""

from raftline.lab.persister import Persister
from raftline.lab.raft import ApplyMsg, ClientEnd, make

__all__ = ["ApplyMsg", "ClientEnd", "Persister", "make"]
