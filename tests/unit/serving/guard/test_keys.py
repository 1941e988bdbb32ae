from __future__ import annotations

import hashlib
import hmac
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.commands.keys import parse_expiry
from quantserve.serving.guard.internal import probe_headers, use_internal_key
from quantserve.serving.guard.keys import (
    Key,
    KeyFile,
    KeyRing,
    KeysError,
    digest,
    new_secret,
    read_keys,
    write_keys,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def made(name: str = "alice") -> tuple[Key, str]:
    identity, secret = new_secret()
    return Key(id=identity, name=name, sha256=digest(secret), created=NOW), secret


def test_secret_has_256_random_bits_and_only_its_hash_is_written(tmp_path: Path) -> None:
    key, secret = made()
    write_keys(tmp_path / "keys.json", KeyFile(keys=(key,)))
    assert len(secret) == len("qs-") + 8 + 1 + 43
    assert secret not in (tmp_path / "keys.json").read_text()
    assert hashlib.sha256(secret.encode()).hexdigest() in (tmp_path / "keys.json").read_text()
    assert read_keys(tmp_path / "keys.json").keys == (key,)


def test_only_the_whole_key_is_known(tmp_path: Path) -> None:
    (first, secret), (second, other) = made("a"), made("b")
    write_keys(tmp_path / "k", KeyFile(keys=(first, second)))
    ring = KeyRing(tmp_path / "k")
    assert ring.find(secret) == first
    assert ring.find(other) == second
    for wrong in (secret[:-1], secret + "x", f"qs-{first.id}-", f"qs-{first.id}-{other[12:]}", "", "qs", "ü"):
        assert ring.find(wrong) is None


def test_every_key_costs_one_comparison_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, secret = made()
    write_keys(tmp_path / "k", KeyFile(keys=(known,)))
    ring = KeyRing(tmp_path / "k")
    compared: list[tuple[int, int]] = []
    really = hmac.compare_digest

    def noting(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return really(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    for presented in (secret, secret[:-1] + "!", "qs-00000000-unknown", "no key at all", ""):
        ring.find(presented)
    assert compared == [(64, 64)] * 5


def test_changed_file_is_read_again_and_a_damaged_or_lost_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k"
    (first, secret), (second, other) = made("a"), made("b")
    write_keys(path, KeyFile(keys=(first,)))
    ring = KeyRing(path, check_every_s=1.0)
    ring.refresh(0.0)
    write_keys(path, KeyFile(keys=(second,)))
    ring.refresh(0.5)
    assert ring.find(secret) == first
    ring.refresh(1.5)
    assert (ring.find(secret), ring.find(other)) == (None, second)

    path.write_text("{broken")
    ring.refresh(3.0)
    assert ring.find(other) == second
    assert ring.problem is not None
    path.unlink()
    ring.refresh(5.0)
    assert ring.find(other) == second
    write_keys(path, KeyFile())
    ring.refresh(7.0)
    assert ring.find(other) is None


def test_yaml_written_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        f"keys:\n- {{id: '00000001', name: a, sha256: '{'0' * 64}',\n"
        "   created: 2026-01-01, expires: 2026-02-01}\n"
    )
    (key,) = read_keys(path).keys
    assert key.expired(NOW)
    assert not key.expired(datetime(2026, 1, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ("keys: 3", "keys"),
        ("kes: []", "kes"),
        ("version: 2", "version"),
        ("keys: [{id: x}]", "keys.0.id"),
    ],
)
def test_wrong_file_is_one_line_that_names_the_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    with pytest.raises(KeysError) as caught:
        read_keys(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scopes(tmp_path: Path) -> None:
    key = made()[0].model_copy(update={"models": ("m",), "endpoints": ("chat",)})
    assert (key.may_ask("m"), key.may_ask("other")) == (True, False)
    assert (key.may_use("chat"), key.may_use("tokenize")) == (True, False)
    assert made()[0].may_use("anything")
    with pytest.raises(ValueError, match="no endpoint"):
        Key(id="00000000", name="a", sha256="0" * 64, created=NOW, endpoints=("chta",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("30d", NOW + timedelta(days=30)),
        ("12h", NOW + timedelta(hours=12)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
    ],
)
def test_expiry(text: str | None, expected: datetime | None) -> None:
    assert parse_expiry(text, NOW) == expected


@pytest.mark.parametrize("text", ["soon", "2020-01-01", "-3d", ""])
def test_expiry_that_is_no_date_or_past(text: str) -> None:
    with pytest.raises(UsageError):
        parse_expiry(text, NOW)


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
