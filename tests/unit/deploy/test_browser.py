"""The browser for the page's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.deploy.local import browser


def test_a_browser_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find_browser() == str(program)
    assert browser.provide_browser() is True


def test_without_rights_the_mend_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert browser.provide_browser() is False
    assert "Chromium is not installed; mend: sudo apt-get install chromium" in capsys.readouterr().err
