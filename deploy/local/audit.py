"""Ask the advisory database about every pin, and write what it answered down. Run as: make audit

pip-audit (PyPA) asks; AUDIT_SERVICE chooses whom: pypi (default) or osv. First it is asked about a release
with known advisories: a service that is not there, or knows nothing, must not look like a clean result. A pin
that could not be looked up is not known, never clean. An advisory stands as accepted only with a reason, in
requirements/advisories.toml. The result is written to docs/advisories.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantserve.core.errors import InputError, QuantserveError, UsageError
from quantserve.core.files import exclusive_lock, write_text
from quantserve.deploy.local.environments import ROOT, VENVS, Environment
from quantserve.deploy.local.setup import bootstrap_uv, install
from quantserve.deploy.local.terminal import paint, run_main, say

REQUIREMENTS = ROOT / "requirements"
ACCEPTED = REQUIREMENTS / "advisories.toml"
PAGE = ROOT / "docs" / "advisories.md"
SERVICES = ("pypi", "osv")
KNOWN_BAD = "urllib3==1.26.4"
"""A release with advisories since 2021 (CVE-2021-33503): the service must know it."""
_TIMEOUT_S = 1800
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Advisory:
    """One finding."""

    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    fixed_in: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """Its id and the ids that other databases give it."""
        return frozenset((self.id, *self.aliases))


@dataclass(frozen=True)
class Result:
    """What one scan found out. `unknown` are pins that could not be looked up."""

    service: str
    pins: int
    advisories: tuple[Advisory, ...]
    unknown: tuple[str, ...]


class AuditFailed(QuantserveError):
    """The scan could not be made, or found what nobody has accepted."""


def pins(files: Iterable[Path]) -> list[str]:
    """Return every pinned release once, as NAME==VERSION in PyPI's spelling, without local parts (+cpu)."""
    found = set()
    for file in files:
        for name, version in _PIN.findall(file.read_text(encoding="utf-8")):
            found.add(f"{re.sub(r'[-_.]+', '-', name).lower()}=={version.partition('+')[0]}")
    return sorted(found)


def read_report(text: str, service: str) -> Result:
    """Read pip-audit's JSON.

    Raises:
        AuditFailed: it is none.
    """
    try:
        entries = json.loads(text)["dependencies"]
        advisories = tuple(
            Advisory(e["name"], e["version"], v["id"], tuple(v.get("aliases", ())), tuple(v["fix_versions"]))
            for e in entries
            for v in e.get("vulns", ())
        )
        unknown = tuple(sorted(e["name"] for e in entries if "skip_reason" in e))
    except (ValueError, KeyError, TypeError) as error:
        raise AuditFailed("pip-audit's report cannot be read", mend="Look at its words above") from error
    return Result(service, len(entries), advisories, unknown)


def read_accepted(path: Path) -> dict[str, str]:
    """Return the reason for each advisory that is accepted.

    Raises:
        InputError: an entry lacks its id or its reason.
    """
    if not path.is_file():
        return {}
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8")).get("accepted", [])
    for entry in entries:
        if not (entry.get("id") and str(entry.get("reason", "")).strip()):
            raise InputError(f"{path}: {entry} lacks id or reason", mend="Say why the advisory is no danger")
    return {entry["id"]: entry["reason"] for entry in entries}


def decision(advisory: Advisory, accepted: Mapping[str, str]) -> str | None:
    """Return why an advisory is accepted, None when it is not."""
    return next((accepted[name] for name in sorted(advisory.names) if name in accepted), None)


def verdict(result: Result, accepted: Mapping[str, str]) -> str:
    """Return CLEAN, FINDINGS (one is not accepted) or UNKNOWN (a pin could not be looked up)."""
    if any(decision(advisory, accepted) is None for advisory in result.advisories):
        return "FINDINGS"
    return "UNKNOWN" if result.unknown or not result.pins else "CLEAN"


def page(result: Result, accepted: Mapping[str, str], day: str) -> str:
    """Return docs/advisories.md."""
    lines = [
        "# Advisories",
        "",
        "Written by `make audit`, which asks the advisory database about every pin in `requirements/*.txt`.",
        "",
        "| date | database | pins | advisories | could not be looked up | result |",
        "|---|---|---|---|---|---|",
        f"| {day} | {result.service} | {result.pins} | {len(result.advisories)} | {len(result.unknown)} "
        f"| {verdict(result, accepted)} |",
        "",
    ]
    if result.advisories:
        lines += ["| package | advisory | mended in | decided |", "|---|---|---|---|"]
        for found in result.advisories:
            mended = ", ".join(found.fixed_in) or "no release yet"
            why = decision(found, accepted) or "**open**"
            lines.append(f"| {found.package} {found.version} | {found.id} | {mended} | {why} |")
        lines.append("")
    if result.unknown:
        lines += [f"Not known: {', '.join(result.unknown)}.", ""]
    return "\n".join(lines)


def ask(python: Path, wanted: Iterable[str], service: str) -> Result:
    """Have pip-audit look the releases up.

    Raises:
        AuditFailed: it could not, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="quantserve-audit-") as folder:
        listed = Path(folder) / "pins.txt"
        listed.write_text("".join(f"{pin}\n" for pin in wanted), encoding="utf-8")
        words = [str(python), "-m", "pip_audit", "-r", str(listed), "--no-deps", "--disable-pip"]
        words += ["-s", service, "-f", "json", "--progress-spinner", "off", "--aliases", "on"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise AuditFailed(f"the advisory service did not answer within {_TIMEOUT_S} s") from error
    if not done.stdout.strip():
        said = done.stderr.strip().splitlines() or ["no word"]
        raise AuditFailed(f"the advisory service ({service}) cannot be asked: {said[-1]}")
    return read_report(done.stdout, service)


def require_service(python: Path, service: str) -> None:
    """Refuse a service that does not know a release everybody knows to be bad.

    Raises:
        AuditFailed: nothing was scanned.
    """
    if not ask(python, [KNOWN_BAD], service).advisories:
        raise AuditFailed(
            f"the advisory service ({service}) cannot be reached from here: it knows nothing of {KNOWN_BAD}, "
            "so no pin was looked up and nothing is known of any",
            mend="Run make audit where it can be reached, or ask another: AUDIT_SERVICE=osv make audit",
        )


def main() -> None:
    """Scan, write the page, and fail unless every pin is known and clean or accepted."""
    service = os.environ.get("AUDIT_SERVICE") or SERVICES[0]
    if service not in SERVICES:
        raise UsageError(f"AUDIT_SERVICE={service} is unknown", mend=f"Use one of: {', '.join(SERVICES)}")
    accepted = read_accepted(ACCEPTED)
    environment = Environment("audit", REQUIREMENTS / "audit.txt", "cpu", 0.2)
    with exclusive_lock(VENVS / ".lock", "make setup"):
        if not environment.up_to_date():
            install(bootstrap_uv(), environment)
    require_service(environment.python, service)
    wanted = pins(sorted(REQUIREMENTS.glob("*.txt")))
    say(f"asking {service} about {len(wanted)} pins")
    result = ask(environment.python, wanted, service)
    write_text(PAGE, page(result, accepted, f"{datetime.now(UTC):%Y-%m-%d}"))
    said = verdict(result, accepted)
    say(
        f"{paint(said, 'green' if said == 'CLEAN' else 'red')}: {len(result.advisories)} advisories in {PAGE}"
    )
    if said != "CLEAN":
        raise AuditFailed(
            f"{said}: {PAGE.name} lists what is open or not known",
            mend="Raise the pin (make pins), or accept it with a reason in requirements/advisories.toml",
        )


if __name__ == "__main__":
    run_main(main)
