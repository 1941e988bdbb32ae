"""Load checkpoints with vLLM one after another, in one process; ask each the same. Runs in its environment.

    python load_with_vllm.py FLAGS.json '[5, 77, …]' CHECKPOINT…

FLAGS.json is the argv that `serving plan --json` prints, without the program. The last line of stdout is
JSON by checkpoint: log-probabilities of the prompt, a greedy answer, and the classes that multiply.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from quantserve.serving.amx import request_tiles

request_tiles()

from vllm import LLM, SamplingParams  # noqa: E402
from vllm.distributed import cleanup_dist_env_and_memory  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402


def kernels(model: Any) -> list[str]:
    """Return the kernels of a model's quantized layers, or what multiplies where there is no kernel class."""
    found = set()
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        owners = [owner for owner in (method, getattr(module, "scheme", None)) if owner is not None]
        chosen = [getattr(owner, name, None) for owner in owners for name in ("kernel", "fp8_linear")]
        found |= {type(kernel).__name__ for kernel in chosen if kernel is not None}
        if "BitsAndBytes" in type(method).__name__:
            found.add(type(method).__name__)
    return sorted(found)


def ask(args: EngineArgs, prompt: list[int]) -> dict[str, Any]:
    """Load one checkpoint, ask it, and forget it."""
    model = LLM.from_engine_args(args)
    wanted = SamplingParams(temperature=0, max_tokens=8, prompt_logprobs=0, ignore_eos=True)
    (reply,) = model.generate({"prompt_token_ids": prompt}, wanted, use_tqdm=False)
    entries = (reply.prompt_logprobs or [])[1:]
    found = [entry[token].logprob for entry, token in zip(entries, prompt[1:], strict=True) if entry]
    (used,) = model.apply_model(kernels)
    return {"logprobs": found, "text": reply.outputs[0].text, "kernels": used}


def main() -> None:
    """Ask each checkpoint on the command line."""
    flags = json.loads(Path(sys.argv[1]).read_text())
    prompt = json.loads(sys.argv[2])
    common = EngineArgs.from_cli_args(make_arg_parser(FlexibleArgumentParser()).parse_args(flags))
    told = {}
    for directory in sys.argv[3:]:
        told[directory] = ask(dataclasses.replace(common, model=directory), prompt)
        cleanup_dist_env_and_memory()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
