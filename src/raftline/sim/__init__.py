"""The code that ships, under virtual time and injected faults."""
