"""What an implementation returns or raises, checked and described without trusting any of it.

A `repr` may raise, be endless or have a million characters; a number may have more digits than can be printed.
"""

import inspect

__all__ = ["describe_value", "is_pair", "is_plain", "is_triple", "text_of"]

_TEXT_MAX = 200
_INTEGER_MAX = (1 << 63) - 1
"""Of a term or an index; more fits into no file and no message."""


def text_of(error: BaseException) -> str:
    """Return an exception's text, shortened; whatever it raises instead is said."""
    try:
        return _shortened(str(error)) or "no text"
    except Exception as trouble:  # noqa: BLE001  whatever its __str__ raises
        return f"its text cannot be had: {type(trouble).__name__}"


def describe_value(value: object) -> str:
    """Return a value as code would write it, shortened."""
    try:
        return _shortened(repr(value))
    except Exception as trouble:  # noqa: BLE001  whatever its __repr__ raises
        return f"a {type(value).__name__}, which cannot be shown: {type(trouble).__name__}"


def is_pair(value: object) -> bool:
    """Return whether a value is what get_state() returns: (term, leads)."""
    return type(value) is tuple and [type(item) for item in value] == [int, bool] and 0 <= value[0] <= _INTEGER_MAX


def is_triple(value: object) -> bool:
    """Return whether a value is what start() returns: (index, term, leads)."""
    return (
        type(value) is tuple
        and [type(item) for item in value] == [int, int, bool]
        and -1 <= value[0] <= _INTEGER_MAX
        and 0 <= value[1] <= _INTEGER_MAX
    )


def is_plain(value: object) -> bool:
    """Return whether a plain call returned this; an awaitable means that it was written as `async def`."""
    if inspect.iscoroutine(value):
        value.close()  # nobody will await it, and nobody needs to be told so twice
        return False
    return not inspect.isawaitable(value)


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}... ({len(text)} characters)"
