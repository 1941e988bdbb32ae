"""Loads checkpoints with the engine, one after another in this process, for as long as it is asked.

    python engine.py FLAGS.json

FLAGS.json is the argv that `serving plan --json` prints, without the program. Reads a line of JSON for each
task, {"directory": …, "prompt": [5, 77, …]}, and answers with a line of it: the prompt's log-probabilities,
a greedy answer's tokens and what multiplies; or the reason why it does not load. Runs in the serving
environment.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from quantserve.serving.amx import request_tiles

request_tiles()

from vllm import LLM, SamplingParams  # noqa: E402
from vllm.distributed import cleanup_dist_env_and_memory  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: E402
from vllm.model_executor.models import registry  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402

from tests.integration.quantize.load_with_vllm import kernels  # noqa: E402

ANSWER_TOKENS = 8


_inspections: list[str] = []
"""Why classes could not be inspected: the engine says so in its log alone."""


def inspect_here_if_possible() -> None:
    """Spare the process of its own in which the engine inspects each class, for CUDA's sake: ten seconds."""
    elsewhere = registry._run_in_subprocess

    def here(inspect: Callable[[], Any]) -> Any:
        try:
            return inspect()
        except (AttributeError, ImportError):  # some modules cannot be imported beside a running engine
            try:
                return elsewhere(inspect)
            except RuntimeError as error:
                _inspections.append(str(error).strip().splitlines()[-1])
                raise

    registry._run_in_subprocess = here


def ask(args: EngineArgs, prompt: list[int]) -> dict[str, Any]:
    """Load one checkpoint and ask it."""
    model = LLM.from_engine_args(args)
    wanted = SamplingParams(temperature=0, max_tokens=ANSWER_TOKENS, prompt_logprobs=0, ignore_eos=True)
    (reply,) = model.generate({"prompt_token_ids": prompt}, wanted, use_tqdm=False)
    entries = (reply.prompt_logprobs or [])[1:]
    found = [entry[token].logprob for entry, token in zip(entries, prompt[1:], strict=True) if entry]
    (used,) = model.apply_model(kernels)
    return {"loads": True, "logprobs": found, "answer": list(reply.outputs[0].token_ids), "kernels": used}


def reason_of(error: Exception) -> str:
    """Return one line that says why a checkpoint does not load."""
    text = str(error)
    if "failed to be inspected" in text and _inspections:
        return _inspections[-1]
    if "Value error, " in text:  # pydantic's frame round what the engine says
        text = text.split("Value error, ")[1].split(" [type=")[0]
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}"


def main() -> None:
    """Answer tasks until the end of standard input."""
    inspect_here_if_possible()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the engine prints is no answer
    flags = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    common = EngineArgs.from_cli_args(make_arg_parser(FlexibleArgumentParser()).parse_args(flags))
    for line in sys.stdin:
        task = json.loads(line)
        _inspections.clear()
        started = perf_counter()
        try:
            found = ask(dataclasses.replace(common, model=task["directory"]), task["prompt"])
        except Exception as error:  # noqa: BLE001  why a checkpoint does not load is the answer
            found = {"loads": False, "reason": reason_of(error)}
        cleanup_dist_env_and_memory()
        gc.collect()
        answers.write(json.dumps({**found, "seconds": round(perf_counter() - started, 2)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
