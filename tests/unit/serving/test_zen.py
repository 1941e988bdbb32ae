"""What becomes of `import zentorch`; the library itself is proved by the engine tests on an AMD machine."""

from __future__ import annotations

import importlib
import sys

import pytest

from quantserve.serving import zen


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zentorch", None)
    monkeypatch.delitem(sys.modules, "zentorch")


def test_without_the_variable_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(zen.VARIABLE, raising=False)
    zen.prepare()
    assert "zentorch" not in sys.modules


def test_none_makes_the_package_look_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zen.VARIABLE, zen.NONE)
    zen.prepare()
    with pytest.raises(ImportError):
        importlib.import_module("zentorch")


def test_a_library_that_is_not_there_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zen.VARIABLE, "/nowhere/libzentorch.so")
    with pytest.raises(OSError, match="nowhere"):
        zen.prepare()
    assert "zentorch" not in sys.modules
