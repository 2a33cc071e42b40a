"""What a mutant is: a named patch of source text, and the loud error when the text has moved.

Nothing here runs anything or imports what is to be patched.
"""

import msgspec

from raftline.errors import RaftlineError

__all__ = ["Mutant", "Patch", "PatchMoved"]


class PatchMoved(RaftlineError):
    """The code that a mutant patches is no longer there, or there more than once: the mutant must be adapted."""


class Patch(msgspec.Struct, frozen=True):
    """One replacement of text in one module."""

    module: str
    """Dotted name, such as `raftline.core.election`."""
    old: str
    """Must occur exactly once."""
    new: str


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A wrong implementation: the production code with some text replaced."""

    name: str
    rules: tuple[str, ...]
    """Numbers of docs/rules.md, the one it is about first."""
    does: str
    """What the wrong code does, in one sentence."""
    patches: tuple[Patch, ...]
    bench: str = "cluster"
    """Where it is run: a name from `benches.BENCHES`."""

    def modules(self) -> tuple[str, ...]:
        """Return the names of the modules it patches, each once."""
        return tuple(dict.fromkeys(patch.module for patch in self.patches))

    def apply(self, module: str, source: str) -> str:
        """Return the patched source of `module`; raise `PatchMoved` if a text is not there exactly once."""
        for patch in self.patches:
            if patch.module != module:
                continue
            count = source.count(patch.old)
            if count != 1:
                raise PatchMoved(
                    f"mutant {self.name}: the code it patches has moved: {module} holds this text {count} times "
                    f"instead of once:\n{patch.old}"
                )
            source = source.replace(patch.old, patch.new)
        return source
