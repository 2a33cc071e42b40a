"""Labs 3A, 3B and 4A: the store and the shard controller as services on Raft, on virtual time, with clerks."""
