"""TLS on the public address, by vLLM's own flags (--ssl-certfile and the rest): read, checked, spoken.

vLLM's uvicorn speaks it, and whoever answers in its place does, too: the unavailable server while there is no
engine, the front before replicas. Probes come from this machine to a socket that we hold and verify nothing;
our clients of a server that `up` started trust its certificate and no other.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from quantserve.core.errors import UsageError

FILES = ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certs")
REFRESH = "--enable-ssl-refresh"
FLAGS = (*FILES, "--ssl-cert-reqs", "--ssl-ciphers", REFRESH)


@dataclass(frozen=True)
class Tls:
    """What vLLM is told. Without `keyfile` the key is in the file of the certificate."""

    certfile: str
    keyfile: str | None = None
    ca_certs: str | None = None
    cert_reqs: int = ssl.CERT_NONE
    ciphers: str | None = None

    def server_context(self) -> ssl.SSLContext:
        """Return the context of a server, made as uvicorn makes its own.

        Raises:
            UsageError: a file cannot be read, or they do not go together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certfile, self.keyfile, password=_no_password)
            if self.ca_certs is not None:
                context.load_verify_locations(self.ca_certs)
            context.verify_mode = ssl.VerifyMode(self.cert_reqs)
            if self.ciphers is not None:
                context.set_ciphers(self.ciphers)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            files = ", ".join(file for file in (self.certfile, self.keyfile, self.ca_certs) if file)
            raise UsageError(
                f"TLS cannot be spoken with {files}: {_words(error)}",
                mend="Give --ssl-certfile and --ssl-keyfile as PEM files that belong together, unencrypted",
            ) from error
        return context

    def uvicorn(self) -> dict[str, str | int]:
        """Return uvicorn's options."""
        found: dict[str, str | int] = {"ssl_certfile": self.certfile, "ssl_cert_reqs": self.cert_reqs}
        given = {"ssl_keyfile": self.keyfile, "ssl_ca_certs": self.ca_certs, "ssl_ciphers": self.ciphers}
        return found | {name: value for name, value in given.items() if value is not None}


def _no_password() -> str:
    """A key that asks for a password would have the server wait at a terminal nobody sees."""
    return ""


def _words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
        return str(error.strerror)
    reason = getattr(error, "reason", None)
    if reason is None and "PEM lib" in str(error):
        return "no certificate and key in PEM form"
    return str(reason).lower().replace("_", " ") if reason else str(error)


def tls_of(flags: Mapping[str, str | None]) -> Tls | None:
    """Return what vLLM's flags say of TLS, None where they say nothing.

    Raises:
        UsageError: a key or more without a certificate, or clients must show certificates.
    """
    found = {_plain(name): value for name, value in flags.items() if _plain(name) in FLAGS}
    given = sorted(name for name in found if name != REFRESH)
    if not given:
        return None
    certfile = found.get("--ssl-certfile")
    if not certfile:
        raise UsageError(f"{given[0]} without --ssl-certfile", mend="Give the server's certificate, too")
    wanted = found.get("--ssl-cert-reqs") or "0"
    if wanted not in ("0", "1"):
        raise UsageError(
            f"--ssl-cert-reqs {wanted} is not served: the probe that finds out whether the engine lives has "
            "no certificate to show",
            mend="Use 0 or 1, and API keys to tell clients apart (quantserve serving keys create NAME)",
        )
    return Tls(
        certfile,
        found.get("--ssl-keyfile"),
        found.get("--ssl-ca-certs"),
        int(wanted),
        found.get("--ssl-ciphers"),
    )


def _plain(name: str) -> str:
    """vLLM takes --ssl_certfile for --ssl-certfile."""
    return name.replace("_", "-")


def without_tls(words: Iterable[str]) -> tuple[str, ...]:
    """Return vLLM's flags without those of TLS: for servers on loopback behind one that speaks it."""
    kept: list[str] = []
    skipping = False
    for word in words:
        if word.startswith("--"):
            skipping = _plain(word.partition("=")[0]).replace("--no-", "--") in FLAGS
        if not skipping:
            kept.append(word)
    return tuple(kept)


def with_absolute_files(words: Iterable[str]) -> tuple[str, ...]:
    """Return the flags with the files made absolute, since a server may be started again from elsewhere."""
    found: list[str] = []
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            is_file = equals and _plain(name) in FILES
            found.append(f"{name}={Path(value).absolute()}" if is_file else word)
        else:
            found.append(str(Path(word).absolute()) if _plain(name) in FILES else word)
    return tuple(found)


def client_context(certificate: str | None) -> ssl.SSLContext:
    """Return the context of a client; without a certificate it trusts what the system does, or SSL_CERT_FILE.

    With one it trusts that and no other. The name in it is not compared: a server on this machine is asked by
    its address, its certificate is for the world outside.
    """
    if certificate is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the server's own certificate may be the anchor
    context.load_verify_locations(certificate)
    return context
