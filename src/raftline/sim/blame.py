"""Which check noticed: the place that raised, in words for tables and reports."""

import traceback

__all__ = ["place_of"]


def place_of(error: BaseException) -> str:
    """Return module (below `raftline`) and function that raised; helpers that only raise are left out."""
    names = [
        f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}".removeprefix("raftline.")
        for frame, _line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_name.startswith(("_violated", "violated"))
    ]
    return names[-1] if names else ""
