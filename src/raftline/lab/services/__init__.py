"""Labs 3A to 4B: store, shard controller and sharded store as services on Raft, on virtual time, with clerks."""
