from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.core.http.key_commands import create_key, new_key, parse_expiry, revoke_key
from quantserve.core.http.keys import Key, KeyRing, KeyRules, KeysError, read_keys, write_keys
from quantserve.core.http.refusal import Refusal
from quantserve.rag.server.config import key_rules
from quantserve.serving.guard.paths import KEY_RULES as SERVING_KEYS

RAG_KEYS = key_rules()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def made(name: str = "alice") -> tuple[Key, str]:
    return new_key(SERVING_KEYS, name)


def test_secret_has_256_random_bits_and_only_its_hash_is_written(tmp_path: Path) -> None:
    key, secret = made()
    write_keys(tmp_path / "keys.json", (key,))
    assert len(secret) == len("qs-") + 8 + 1 + 43
    assert secret not in (tmp_path / "keys.json").read_text()
    assert hashlib.sha256(secret.encode()).hexdigest() in (tmp_path / "keys.json").read_text()
    assert read_keys(tmp_path / "keys.json", SERVING_KEYS).keys == (key,)


def test_only_the_whole_key_is_known(tmp_path: Path) -> None:
    (first, secret), (second, other) = made("a"), made("b")
    write_keys(tmp_path / "k", (first, second))
    ring = KeyRing(tmp_path / "k", SERVING_KEYS)
    assert ring.find(secret) == first
    assert ring.find(other) == second
    for wrong in (secret[:-1], secret + "x", f"qs-{first.id}-", f"qs-{first.id}-{other[12:]}", "", "qs", "ü"):
        assert ring.find(wrong) is None


def test_every_key_costs_one_comparison_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, secret = made()
    write_keys(tmp_path / "k", (known,))
    ring = KeyRing(tmp_path / "k", SERVING_KEYS)
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
    write_keys(path, (first,))
    ring = KeyRing(path, SERVING_KEYS, check_every_s=1.0)
    ring.refresh(0.0)
    write_keys(path, (second,))
    ring.refresh(0.5)
    assert ring.find(secret) == first
    ring.refresh(1.5)
    assert (ring.find(secret), ring.find(other)) == (None, second)

    path.write_text("{broken")
    ring.refresh(3.0)
    assert ring.find(other) == second
    assert str(path) in ring.problem
    path.unlink()
    ring.refresh(5.0)
    assert ring.find(other) == second
    write_keys(path, ())
    ring.refresh(7.0)
    assert ring.find(other) is None


def test_yaml_written_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        f"keys:\n- {{id: '00000001', name: a, sha256: '{'0' * 64}',\n"
        "   created: 2026-01-01, expires: 2026-02-01}\n"
    )
    (key,) = read_keys(path, SERVING_KEYS).keys
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
        read_keys(path, SERVING_KEYS)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scopes(tmp_path: Path) -> None:
    key = made()[0].model_copy(update={"models": ("m",), "endpoints": ("chat",)})
    assert (key.may_ask("m"), key.may_ask("other")) == (True, False)
    assert (key.may_use("chat"), key.may_use("tokenize")) == (True, False)
    assert made()[0].may_use("anything")
    with pytest.raises(UsageError, match="no endpoint"):
        new_key(SERVING_KEYS, "a", endpoints=("chta",))


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


def test_lock_of_a_change_and_names_by_which_a_log_tells_keys_apart(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first, _ = create_key(path, RAG_KEYS, "alice")
    with pytest.raises(KeysError, match="has a key named 'alice'"):
        create_key(path, RAG_KEYS, "alice")
    assert revoke_key(path, RAG_KEYS, first.id) == (first, 0)
    with pytest.raises(KeysError, match="no key is called alice"):
        revoke_key(path, RAG_KEYS, "alice")


def test_a_key_is_revoked_by_a_name_that_only_it_has(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    one, other = made()[0], made()[0]
    write_keys(path, (one, other))  # as the version before let two have one name
    with pytest.raises(KeysError, match="2 keys are called alice"):
        revoke_key(path, SERVING_KEYS, "alice")
    with pytest.raises(KeysError, match="no key is called carol"):
        revoke_key(path, SERVING_KEYS, "carol")
    assert revoke_key(path, SERVING_KEYS, one.id) == (one, 1)


@pytest.mark.parametrize("rules", [RAG_KEYS, SERVING_KEYS], ids=["rag", "serving"])
def test_a_file_that_the_version_before_wrote_is_read(tmp_path: Path, rules: KeyRules) -> None:
    path = tmp_path / "rag-keys.json"
    entry = {"id": "00000001", "name": "alice", "sha256": "0" * 64, "created": "2026-11-01T00:00:00Z"}
    path.write_text(json.dumps({"version": 1, "keys": [entry]}))
    (key,) = read_keys(path, rules).keys
    assert (key.name, key.created) == ("alice", datetime(2026, 11, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("limit", "value", "heeded"),
    [
        ("expires", "2027-01-01T00:00:00Z", True),
        ("requests_per_minute", 5, True),
        ("models", ["m"], False),
        ("endpoints", ["chat"], False),
        ("tokens_per_minute", 5, False),
        ("tokens_per_day", 5, False),
    ],
)
def test_a_limit_that_a_server_does_not_heed_is_refused_rather_than_forgotten(
    tmp_path: Path, limit: str, value: object, heeded: bool
) -> None:
    path = tmp_path / "keys.json"
    key, _ = new_key(SERVING_KEYS, "alice", **{limit: value})
    write_keys(path, [key])
    assert read_keys(path, SERVING_KEYS).keys == (key,)
    if heeded:
        assert read_keys(path, RAG_KEYS).keys == (key,)
    else:
        with pytest.raises(KeysError, match=f"'alice' is limited by {limit}") as caught:
            read_keys(path, RAG_KEYS)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("presented", "code"), [("", "no_key"), ("qs-00000000-x", "wrong_key"), ("nonsense", "wrong_key")]
)
def test_a_request_without_the_right_key_is_401(tmp_path: Path, presented: str, code: str) -> None:
    write_keys(tmp_path / "k", [made()[0]])
    with pytest.raises(Refusal) as caught:
        KeyRing(tmp_path / "k", SERVING_KEYS).identify(presented, 0.0)
    assert (caught.value.status, caught.value.code) == (401, code)
