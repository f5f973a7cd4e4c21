"""torch's compiler, left out of a process that compiles nothing.

torch imports it, with sympy and much else, at the first step of any optimizer, only to tell it what not to look into.
That takes longer than the import of torch itself, and is the greatest part of what a training's process computes before
its first step.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_NAME = "torch._dynamo"


def spare_compiler() -> None:
    """Puts a stand-in where torch looks for its compiler, unless that is there; called before the first step.

    The stand-in knows the two words that torch says to it without compiling. Whatever else it is asked brings the
    compiler itself, so nothing is missing where a library does want it.
    """
    if _NAME not in sys.modules:
        sys.modules[_NAME] = _StandIn(_NAME)


class _StandIn(ModuleType):
    """Answers as the compiler does outside of what it compiles."""

    def disable(self, fn: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """Nothing is compiled, so nothing has to be kept from it."""
        return fn

    def graph_break(self, *_: Any, **__: Any) -> None:
        """Nothing is compiled, so there is no graph."""

    def __getattr__(self, name: str) -> Any:
        """The compiler's own, imported now in the place of this."""
        if name.startswith("__") and name != "__path__":  # what the import system asks of any module
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)
