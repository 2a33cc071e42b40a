"""The commands: `table` has a row for each, one file per family has their functions."""

__all__: list[str] = []
