from __future__ import annotations

import os
from pathlib import Path

import pytest

from quantserve.serving.guard.internal import probe_headers, use_internal_key


def test_internal_key_is_made_once_and_only_its_owner_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    key = use_internal_key(tmp_path / "run")
    assert use_internal_key(tmp_path / "run") == key
    assert (tmp_path / "run/internal.key").stat().st_mode & 0o777 == 0o600
    assert probe_headers() == {"Authorization": f"Bearer {key}"}
    assert probe_headers("given") == {"Authorization": "Bearer given"}
    (tmp_path / "run/internal.key").write_text("")
    assert use_internal_key(tmp_path / "run") not in ("", key)
