"""The 25 tests of labs 2A to 2D, and the scripts: exact schedules that force what chance would rarely show."""
