"""From files on disk to a guarded plan: keys, the user's YAML, the manifest's hash, the supervisor's key."""

from __future__ import annotations

from pathlib import Path

from quantserve.core.files import sha256_file
from quantserve.quantize.artifact import MANIFEST
from quantserve.serving.command import Plan
from quantserve.serving.config import RunDirectory, ServeOptions
from quantserve.serving.guard.internal import use_internal_key
from quantserve.serving.guard.keys import digest, read_keys
from quantserve.serving.guard.paths import PathTable
from quantserve.serving.guard.planning import (
    GuardInputs,
    host_of,
    plan_guard,
    read_user_settings,
    require_keys,
    with_guard,
)
from quantserve.serving.guard.settings import Artifact
from quantserve.serving.guard.template import measure
from quantserve.serving.model import read_chat_template
from quantserve.serving.planning.features import guided_by_ours
from quantserve.serving.processes import file_limit
from quantserve.serving.target import Target


def guarded(plan: Plan, target: Target, options: ServeOptions, run: RunDirectory) -> Plan:
    """Add the guard to a plan, after checking that it could work.

    Raises:
        GuardError: the server would be open to strangers, or the settings are wrong.
        KeysError: the keys file cannot be used.
    """
    require_keys(host_of(plan), options.keys, run.keys)
    if options.keys is not None:
        read_keys(Path(options.keys))
    user_file = Path(options.guard) if options.guard is not None else None
    user = read_user_settings(user_file)
    PathTable(tuple(user.get("extra_paths", ())))
    manifest = target.directory / MANIFEST
    settings, items = plan_guard(
        GuardInputs(
            plan=plan,
            artifact=Artifact(
                name=plan.model,
                version=target.version,
                sha256=sha256_file(manifest) if target.version is not None else None,
                method=target.method,
                bits=target.bits,
            ),
            user=user,
            user_file=str(user_file),
            keys_file=options.keys,
            internal_key_sha256=digest(use_internal_key(run.path)),
            audit_file=None if options.private else str(_audit_file(run, options.port).resolve()),
            open_files=file_limit(),
            template=measure(read_chat_template(target.directory)),
            tokenizer=str(target.directory.resolve()) if guided_by_ours(plan.flags) else None,
        )
    )
    return with_guard(plan, settings, items)


def _audit_file(run: RunDirectory, port: int) -> Path:
    """One file for each port, since two servers must not rotate the same one."""
    return run.path / f"audit-{port}.jsonl"
