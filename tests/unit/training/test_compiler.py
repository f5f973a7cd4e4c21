"""What stands where torch looks for its compiler, in a process that compiles nothing."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from glaucoma.training import compiler
from glaucoma.training.compiler import spare_compiler

NAME = "torch._dynamo"


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)  # put back afterwards, whatever it was
    del sys.modules[NAME]


@pytest.mark.usefixtures("without_compiler")
def test_the_stand_in_leaves_functions_as_they_are_and_brings_the_compiler_for_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spare_compiler()
    stand_in = sys.modules[NAME]
    assert stand_in.disable(len, True, wrapping=False) is len
    assert stand_in.graph_break() is None
    assert not hasattr(stand_in, "__wrapped__"), "what Python asks of any module brings nothing"
    assert sys.modules[NAME] is stand_in
    real = SimpleNamespace(config="the compiler's own", __path__=["there"])
    monkeypatch.setattr(compiler.importlib, "import_module", {NAME: real}.__getitem__)
    assert stand_in.config == "the compiler's own"
    assert NAME not in sys.modules, "so that it is imported itself"
    assert stand_in.__path__ == ["there"], "its modules are found"


def test_a_compiler_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = SimpleNamespace()
    monkeypatch.setitem(sys.modules, NAME, there)
    spare_compiler()
    assert sys.modules[NAME] is there
