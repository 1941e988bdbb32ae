from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from quantserve.core.errors import UsageError
from quantserve.serving.ports import url_of
from quantserve.serving.tls import Tls, client_context, tls_of, with_absolute_files, without_tls
from tests.integration.serving.certificates import make_certificate


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"--max-num-seqs": "4"}, None),
        ({"--enable-ssl-refresh": None}, None),
        ({"--ssl-certfile": "c", "--ssl-keyfile": "k"}, Tls("c", "k")),
        ({"--ssl_certfile": "both"}, Tls("both")),
        (
            {"--ssl-certfile": "c", "--ssl-ca-certs": "a", "--ssl-cert-reqs": "1", "--ssl-ciphers": "HIGH"},
            Tls("c", None, "a", 1, "HIGH"),
        ),
    ],
)
def test_vllms_flags_say_what_is_spoken(flags: dict[str, str | None], expected: Tls | None) -> None:
    assert tls_of(flags) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"--ssl-keyfile": "k"}, "--ssl-keyfile without --ssl-certfile. Give the server's certificate, too"),
        ({"--ssl-certfile": None}, "--ssl-certfile without --ssl-certfile"),
        ({"--ssl-ca-certs": "a"}, "--ssl-ca-certs without --ssl-certfile"),
        ({"--ssl-certfile": "c", "--ssl-cert-reqs": "2"}, "--ssl-cert-reqs 2 is not served"),
        ({"--ssl-certfile": "c", "--ssl-cert-reqs": "yes"}, "--ssl-cert-reqs yes is not served"),
    ],
)
def test_half_of_it_is_refused(flags: dict[str, str | None], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        tls_of(flags)
    assert str(caught.value).startswith(message)


def test_files_that_belong_together_are_taken(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    assert Tls(str(certificate), str(key)).server_context().verify_mode == ssl.CERT_NONE
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    asked = Tls(str(both), ca_certs=str(certificate), cert_reqs=1, ciphers="HIGH").server_context()
    assert asked.verify_mode == ssl.CERT_OPTIONAL


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("absent", "No such file or directory"),
        ("folder", "Is a directory"),
        ("text", "no certificate and key in PEM form"),
        ("another key", "key values mismatch"),
        ("password", ""),
        ("no key", ""),
        ("ciphers", "No cipher can be selected"),
    ],
)
def test_files_that_do_not_are_one_line_before_anything_starts(tmp_path: Path, what: str, words: str) -> None:
    certificate, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other", password="secret" if what == "password" else "")
    (tmp_path / "text").write_text("no certificate")
    tls = {
        "absent": Tls(str(tmp_path / "gone"), str(key)),
        "folder": Tls(str(tmp_path), str(key)),
        "text": Tls(str(tmp_path / "text"), str(key)),
        "another key": Tls(str(certificate), str(other)),
        "password": Tls(str(certificate), str(other)),
        "no key": Tls(str(certificate)),
        "ciphers": Tls(str(certificate), str(key), ciphers="no-such"),
    }[what]
    with pytest.raises(UsageError, match="TLS cannot be spoken with ") as caught:
        tls.server_context()
    assert words.lower() in str(caught.value).lower()
    assert "\n" not in str(caught.value)


def test_replicas_on_loopback_are_started_without_it() -> None:
    words = ["--a", "1", "--ssl-certfile", "c", "--ssl_keyfile=k", "--enable-ssl-refresh", "--b", "2", "3"]
    assert without_tls(words) == ("--a", "1", "--b", "2", "3")


def test_files_are_kept_absolute_for_a_restart_from_elsewhere() -> None:
    here = os.fspath(Path.cwd())
    words = ["--ssl-certfile", "c", "--ssl_keyfile=k", "--ssl-ca-certs", "/a", "--seed", "1", "--x=y"]
    assert with_absolute_files(words) == (
        "--ssl-certfile", f"{here}/c", f"--ssl_keyfile={here}/k", "--ssl-ca-certs", "/a", "--seed", "1",
        "--x=y",
    )  # fmt: skip


def test_the_printed_address_says_it() -> None:
    assert url_of("0.0.0.0", 8000, tls=True) == "https://127.0.0.1:8000"
    assert url_of("::", 8000, tls=True) == "https://[::1]:8000"


def test_a_client_trusts_the_certificate_it_is_told_and_no_other(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    context = client_context(str(certificate))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
    assert client_context(None).check_hostname
