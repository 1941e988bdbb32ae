"""The options several commands share, with defaults from the dataclasses in serving.config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.errors import UsageError
from quantserve.serving.adapters import parse_adapters
from quantserve.serving.config import LauncherOptions, RunDirectory, ServeOptions
from quantserve.serving.replicas.config import POLICIES
from quantserve.serving.state import ServerState, read_state
from quantserve.serving.tls import with_absolute_files

SERVE = ServeOptions()
LAUNCHER = LauncherOptions()
RUN = RunDirectory()

_ADDRESS = ("--host", "--port", "--uds")

TargetArgument = Annotated[
    Path, typer.Argument(help="Artifact directory (or its `current` link) or checkpoint directory.")
]
VllmArgument = Annotated[
    list[str] | None, typer.Argument(help="After --: any vLLM flags; they win.", show_default=False)
]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a spare one.")]
ProfileOption = Annotated[
    str | None, typer.Option(help="Profile name or YAML file. By default the hardware decides.")
]
NameOption = Annotated[str | None, typer.Option(help="Name clients use. By default the artifact's name.")]
LoraOption = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="NAME=DIRECTORY", help="LoRA adapter to offer as a model; repeatable."),
]
FullCheckOption = Annotated[
    bool,
    typer.Option(
        "--full-check", help="Hash every file of the artifact, also those unchanged since the last time."
    ),
]
KeysOption = Annotated[
    str | None, typer.Option(help="File of API keys. By default keys.json in the run directory, if there.")
]
GuardOption = Annotated[str | None, typer.Option(help="YAML file with limits, audit log and more.")]
PrivateOption = Annotated[
    bool, typer.Option("--private", help="For the program that starts it: no keys, no audit log; loopback.")
]
ReplicasOption = Annotated[
    int | None, typer.Option(min=1, help="Servers behind one port. By default as it runs now, else 1.")
]
PolicyOption = Annotated[str | None, typer.Option(help=f"With replicas: {', '.join(POLICIES)}.")]
RestartLimitOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Restarts of a dying engine within "
        f"{LAUNCHER.restart.window_s:g} s; by default {LAUNCHER.restart.limit}, with --private 0.",
    ),
]
ProbeIntervalOption = Annotated[
    float, typer.Option(min=0.1, help="A token is decoded this often, to find an engine that hangs.")
]
RunDirOption = Annotated[Path, typer.Option(help="Folder of state, log and hardware probe.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def running_url(run: Path) -> str:
    """Return the address (with /v1) of the server `up` started, else of the default port."""
    state = read_state(RunDirectory(run).state)
    return state.base_url if state is not None else f"http://{SERVE.host}:{SERVE.port}/v1"


def certificate_of(run: Path, base_url: str) -> str | None:
    """Return the certificate of the server `up` started, where that is the one at `base_url`."""
    state = read_state(RunDirectory(run).state)
    same = state is not None and state.base_url.rstrip("/") == base_url.rstrip("/")
    return state.tls_certificate if state is not None and same else None


def with_lora(options: ServeOptions, lora: list[str] | None) -> ServeOptions:
    """Add the adapters, their directories made absolute."""
    wanted = parse_adapters(tuple(lora or ()))
    return replace(options, lora=tuple(f"{name}={path.resolve()}" for name, path in wanted.items()))


def guarded(
    options: ServeOptions, keys: str | None, guard: str | None, private: bool, run: Path
) -> ServeOptions:
    """Add what the guard is told; the keys file of the run directory is used where it exists.

    Raises:
        UsageError: a private server with keys.
    """
    if private and keys is not None:
        raise UsageError("--private serves without keys", mend="Leave out --private or --keys")
    default = RunDirectory(run).keys
    if keys is None and not private and default.is_file():
        keys = str(default)
    absolute = [str(Path(file).resolve()) if file is not None else None for file in (keys, guard)]
    return replace(options, keys=absolute[0], guard=absolute[1], private=private)


def watched(options: ServeOptions, restart_limit: int | None, probe_interval_s: float) -> ServeOptions:
    """Add how the engine, or the one of each replica, is looked after."""
    return replace(options, restart_limit=restart_limit, probe_interval_s=probe_interval_s)


def serve_options(
    host: str,
    port: int,
    profile: str | None,
    served_model_name: str | None,
    full_check: bool,
    vllm_args: list[str] | None,
) -> ServeOptions:
    """Gather the parameters of one server.

    Raises:
        UsageError: an address among vLLM's own flags; the launcher listens, the engine inherits its socket.
    """
    for word in vllm_args or ():
        if word.partition("=")[0] in _ADDRESS:
            raise UsageError(
                f"{word} cannot be given to vLLM",
                mend="Give --host and --port before the --, to serving itself",
            )
    return ServeOptions(
        host=host,
        port=port,
        profile=profile,
        served_model_name=served_model_name,
        full_check=full_check,
        vllm_args=with_absolute_files(vllm_args or ()),
    )


def replicated(
    options: ServeOptions, replicas: int | None, policy: str | None, running: ServerState | None = None
) -> ServeOptions:
    """Add the number of replicas; what runs on the same port keeps its number unless another is asked for."""
    ours = running is not None and options.port in (running.port, running.request.get("port"))
    known = running.request if running is not None and ours else {}
    return replace(
        options,
        replicas=replicas or int(known.get("replicas", SERVE.replicas)),
        policy=policy or str(known.get("policy", SERVE.policy)),
    )
