"""The numbers to compare with: the course's sample run, and what a straightforward Raft was measured to need."""

from raftline.lab.result import Numbers

__all__ = ["SAMPLE", "STRAIGHTFORWARD_RPCS"]


def _row(time_s: float, servers: int, rpcs: int, size_bytes: int, commits: int) -> Numbers:
    return Numbers(time_s=time_s, servers=servers, rpcs=rpcs, bytes=size_bytes, commits=commits)


SAMPLE = {
    "initial election": _row(3.5, 3, 58, 16840, 0),
    "election after network failure": _row(5.4, 3, 118, 25269, 0),
    "multiple elections": _row(7.3, 7, 624, 138014, 0),
    "basic agreement": _row(0.9, 3, 16, 4572, 3),
    "RPC byte count": _row(1.7, 3, 48, 114536, 11),
    "agreement after follower reconnects": _row(3.6, 3, 78, 22131, 7),
    "no agreement if too many followers disconnect": _row(3.8, 5, 172, 40935, 3),
    "concurrent Start()s": _row(1.1, 3, 24, 7379, 6),
    "rejoin of partitioned leader": _row(5.1, 3, 152, 37021, 4),
    "leader backs up quickly over incorrect follower logs": _row(17.2, 5, 2080, 1587388, 102),
    "RPC counts aren't too high": _row(2.2, 3, 60, 20119, 12),
    "basic persistence": _row(5.0, 3, 86, 22849, 6),
    "more persistence": _row(17.6, 5, 952, 218854, 16),
    "partitioned leader and one follower crash, leader restarts": _row(2.0, 3, 34, 8937, 4),
    "Figure 8": _row(31.2, 5, 580, 130675, 32),
    "unreliable agreement": _row(1.7, 5, 1044, 366392, 246),
    "Figure 8 (unreliable)": _row(33.6, 5, 10700, 33695245, 308),
    "churn": _row(16.1, 5, 8864, 44771259, 1544),
    "unreliable churn": _row(16.5, 5, 4220, 6414632, 906),
    "snapshots basic": _row(11.6, 3, 176, 61716, 192),
    "install snapshots (disconnect)": _row(64.2, 3, 878, 320610, 336),
    "install snapshots (disconnect+unreliable)": _row(81.1, 3, 1059, 375850, 341),
    "install snapshots (crash)": _row(53.5, 3, 601, 256638, 339),
    "install snapshots (unreliable+crash)": _row(63.5, 3, 687, 288294, 336),
    "crash and restart all servers": _row(19.5, 3, 268, 81352, 58),
}
"""The five numbers of each test in the sample run that the course's page shows."""

STRAIGHTFORWARD_RPCS = {
    "initial election": 56,
    "basic agreement": 16,
    "RPC byte count": 48,
    "RPC counts aren't too high": 42,
    "leader backs up quickly over incorrect follower logs": 1504,
    "Figure 8 (unreliable)": 3738,
    "churn": 5284,
}
"""RPCs that a Raft written straight from the paper needed."""
