"""The guard's settings, each with its reason: what the plan and the model suggest, then what the user wrote.

plan_guarded(plan, …) → Plan                     reads keys, the user's YAML, the manifest's hash
plan_guard(GuardInputs) → (GuardSettings, items)     pure
with_guard(plan, settings, items) → Plan             adds flag and variable; pure
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantserve.core.files import sha256_file
from quantserve.core.http.keys import digest, read_keys, require_keys_beyond_loopback
from quantserve.core.http.origin import is_loopback
from quantserve.quantize.artifact import MANIFEST
from quantserve.serving.command import Item, Plan
from quantserve.serving.config import RunDirectory, ServeOptions
from quantserve.serving.guard import MIDDLEWARE, TASK_PROBE
from quantserve.serving.guard.internal import use_internal_key
from quantserve.serving.guard.paths import KEY_RULES, PathTable
from quantserve.serving.guard.request.limits import MIB, RequestLimits
from quantserve.serving.guard.request.token_bounds import TemplateCost, measure_template
from quantserve.serving.guard.settings import VARIABLE, Artifact, GuardSettings, read_user_settings
from quantserve.serving.model import read_chat_template
from quantserve.serving.planning import features
from quantserve.serving.planning.features import guided_by_ours
from quantserve.serving.processes import file_limit
from quantserve.serving.target import Target

_CHARS_PER_TOKEN = 16
_MOST_BODY_BYTES = 32 * MIB
_OWN_FILES = 128
_SECTIONS = ("limits", "tokens", "audit")
_ENVIRONMENT = (
    ("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0", "a redirect could lead past the list of hosts"),
    ("VLLM_ENABLE_RESPONSES_API_STORE", "0", "no answer is kept on the server"),
    ("VLLM_DEBUG_LOG_API_SERVER_RESPONSE", "0", "no answer is written into a log"),
    ("FORWARDED_ALLOW_IPS", "", "a client's address is believed from the front with its key, from no other"),
    ("VLLM_ENFORCE_STRICT_TOOL_CALLING", "0", "demanded calls follow a JSON schema for every model"),
    ("VLLM_API_KEY", "", "the guard's keys are the only ones"),
)
"""Variables on which the guard relies, whatever a profile says."""


@dataclass(frozen=True)
class GuardInputs:
    """All the guard's plan may depend on."""

    plan: Plan
    artifact: Artifact
    user: dict[str, Any]
    """What the user's YAML says."""
    user_file: str | None
    keys_file: str | None
    internal_key_sha256: str
    audit_file: str | None
    template: TemplateCost = field(default_factory=TemplateCost)
    """What the model's chat template adds to a conversation."""
    open_files: int | None = None
    """Connections and files the server's process may have open."""
    tokenizer: str | None = None
    """The checkpoint's directory, for the compiler of schemas; None where the model writes no text."""


def host_of(plan: Plan) -> str:
    """Return the address the server will listen on."""
    return next((item.value or "" for item in reversed(plan.flags) if item.name == "--host"), "")


def plan_guard(inputs: GuardInputs) -> tuple[GuardSettings, tuple[Item, ...]]:
    """Decide every setting."""
    planned = _planned(inputs)
    wanted: dict[str, Any] = {
        "keys_file": inputs.keys_file,
        "internal_key_sha256": inputs.internal_key_sha256,
        "artifact": inputs.artifact,
        "task": inputs.plan.task,
        "adapters": [
            {"name": a.name, "directory": str(a.directory), "bytes": a.bytes, "mtime_ns": a.mtime_ns}
            for a in inputs.plan.adapters
        ],
        "limits": {name.partition(".")[2]: value for name, (value, _, _) in planned.items()},
        "audit": {"file": inputs.audit_file},
        "metrics_open": is_loopback(host_of(inputs.plan)),
        "metrics_host": host_of(inputs.plan),
        "auto_tools": features.decides_on_tools(inputs.plan.flags),
        "tokenizer": inputs.tokenizer,
        "tokens": {
            "window": inputs.plan.max_model_length,
            "template_once": inputs.template.once,
            "template_turn": inputs.template.turn,
            "template_tools": inputs.template.tools,
        },
    }
    for name, value in inputs.user.items():
        wanted[name] = {**wanted[name], **value} if name in _SECTIONS else value
    settings = GuardSettings.model_validate(wanted)
    return settings, tuple(_items(settings, inputs, planned))


def _planned(inputs: GuardInputs) -> dict[str, tuple[int, str, str]]:
    """Limits that follow from the plan: value, source, reason."""
    plan = inputs.plan
    flags = {item.name: item for item in plan.flags}
    running = int(flags["--max-num-seqs"].value or 0) * plan.copies
    queue = flags["--max-num-queued-reqs"]
    together = int(queue.value or 0)
    if queue.source != "user" and flags["--max-num-seqs"].source == "user":
        together = max(together, 2 * running)  # the profile's own pair is taken at its word
    waiting = "more gets 429 and Retry-After"
    if inputs.open_files is not None and (room := _connections(inputs.open_files)) < together:
        together, waiting = room, f"{waiting}; {inputs.open_files} open files allow no more"
    length = plan.max_model_length
    characters = _CHARS_PER_TOKEN * length
    return {
        "limits.max_requests": (
            together,
            queue.source if queue.source == "user" else "profile",
            f"{min(running, together)} run at once, {max(0, together - running)} wait; one {waiting}",
        ),
        "limits.max_tokens": (length, "model", "no answer can be longer than the context"),
        "limits.max_prompt_chars": (
            characters,
            "model",
            f"{_CHARS_PER_TOKEN} characters for each token of the context; more cannot fit",
        ),
        "limits.max_prompt_tokens": (
            _CHARS_PER_TOKEN * length,
            "model",
            "token ids; more than the context is for truncate_prompt_tokens",
        ),
        "limits.max_inputs": (
            min(RequestLimits.model_fields["max_inputs"].default, together),
            "profile",
            "each text or passage of a request takes a place, and there are no more",
        ),
        "limits.max_body_bytes": (
            min(max(4 * MIB, 8 * characters), _MOST_BODY_BYTES),
            "model",
            "room for the longest prompt in JSON's longest spelling",
        ),
    }


def _connections(open_files: int) -> int:
    """Return how many requests leave room to take the connections of those that are refused."""
    return max(1, (open_files - _OWN_FILES) * 3 // 4)


def _items(
    settings: GuardSettings, inputs: GuardInputs, planned: dict[str, tuple[int, str, str]]
) -> Iterator[Item]:
    if settings.keys_file is None:
        yield Item("keys", "none", "user", "open to everyone on this machine, and to no other")
    else:
        yield Item("keys", settings.keys_file, "user", "every path but /health asks for one of its keys")
    yield Item(
        "metrics",
        "open" if settings.metrics_open else "with key",
        "safety",
        "/metrics is open on loopback only"
        + (f"; port {settings.metrics_port} shows them, too" if settings.metrics_port else ""),
    )
    if settings.metrics_port is not None:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        source = "user" if "metrics_host" in inputs.user else "safety"
        yield Item("metrics port", where, source, "without a key, on the server's own address by default")
    yield Item(
        "auto_tools",
        "yes" if settings.auto_tools else "no",
        "model",
        "whether the model decides on tool calls; those that are demanded need no form of its own",
    )
    yield Item(
        "share_prefix_cache",
        "yes" if settings.share_prefix_cache else "no",
        "user" if "share_prefix_cache" in inputs.user else "safety",
        "each key's prompts are cached apart, so that no time tells what others asked",
    )
    sections = ("limits", settings.limits), ("tokens", settings.tokens), ("audit", settings.audit)
    for section, model in sections:
        said = inputs.user.get(section, {})
        for name, known in type(model).model_fields.items():
            full = f"{section}.{name}"
            value, source, reason = getattr(model, name), "safety", known.description or ""
            if name in said:
                source, reason = "user", f"{inputs.user_file}: {reason}"
            elif full in planned:
                _, source, reason = planned[full]
            yield Item(full, "none" if value is None else str(value), source, reason)
    if settings.adapters:
        names = ", ".join(adapter.name for adapter in settings.adapters)
        yield Item("adapters", names, "user", "loaded and unloaded by these names; their paths stay here")
    for name in ("extra_paths", "allowed_origins", "allowed_media_hosts", "refused_fields"):
        value = getattr(settings, name)
        source = "user" if name in inputs.user else "safety"
        reason = GuardSettings.model_fields[name].description or ""
        yield Item(name, ", ".join(value) or "none", source, reason)


def with_guard(plan: Plan, settings: GuardSettings, items: tuple[Item, ...]) -> Plan:
    """Return the plan of a guarded server."""
    running = next(int(item.value or 0) for item in plan.flags if item.name == "--max-num-seqs")
    backstop = settings.limits.max_requests + running
    flags = [
        replace(item, value=str(backstop), source="safety", reason="a second bound, behind the guard's")
        if item.name == "--max-num-queued-reqs"
        else item
        for item in plan.flags
    ]
    if plan.task != "generate":
        flags.append(
            Item("--middleware", TASK_PROBE, "safety", f"readiness is proved by work of {plan.task}")
        )
    # vLLM puts each further one around those before it, so the guard is the first to see a request.
    flags.append(Item("--middleware", MIDDLEWARE, "safety", "limits, keys and audit in the engine's process"))
    environment = [Item(name, value, "safety", why) for name, value, why in _ENVIRONMENT]
    carried = Item(VARIABLE, settings.model_dump_json(), "safety", "the guard's settings, listed below")
    opened = () if settings.keys_file else ("no keys: everyone on this machine may use the server",)
    return replace(
        plan,
        flags=tuple(flags),
        environment=(*plan.environment, *environment, carried),
        guard=items,
        warnings=(*plan.warnings, *opened),
    )


def require_keys(host: str, keys_file: str | None, default_file: Path) -> None:
    """Refuse to listen to other machines without keys.

    Raises:
        UsageError: in one line with the way out.
    """
    mend = f"Make one with {KEY_RULES.command} create NAME --keys {default_file}, or use --host 127.0.0.1"
    require_keys_beyond_loopback(host, keys_file, danger="use the server", mend=mend)


def plan_guarded(plan: Plan, target: Target, options: ServeOptions, run: RunDirectory) -> Plan:
    """Add the guard to a plan, after checking that it could work.

    Raises:
        UsageError: the server would be open to strangers, or the settings are wrong.
        KeysError: the keys file cannot be used.
    """
    require_keys(host_of(plan), options.keys, run.keys)
    if options.keys is not None:
        read_keys(Path(options.keys), KEY_RULES)
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
            template=measure_template(read_chat_template(target.directory)),
            tokenizer=str(target.directory.resolve()) if guided_by_ours(plan.flags) else None,
        )
    )
    return with_guard(plan, settings, items)


def _audit_file(run: RunDirectory, port: int) -> Path:
    """One file for each port, since two servers must not rotate the same one."""
    return run.path / f"audit-{port}.jsonl"
