"""The only folder that owns tasks, threads and clocks."""
