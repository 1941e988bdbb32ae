"""Does vLLM take these flags? `python check_configs.py FILE`, in the serving environment.

The file holds {name: flags of vLLM's server}; the last line of output is {name: what is wrong, or null}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def problem(flags: list[str]) -> str | None:
    """Make the engine's configuration as its server would."""
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(flags)
    try:
        AsyncEngineArgs.from_cli_args(args).create_engine_config()
    except ValueError as error:
        return str(error)
    return None


if __name__ == "__main__":
    print(
        json.dumps(
            {name: problem(flags) for name, flags in json.loads(Path(sys.argv[1]).read_text()).items()}
        )
    )
