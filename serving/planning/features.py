"""Optional features: LoRA adapters, speculation, tool calls, quantized loading, passed options. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quantserve.serving.errors import HardwareError, TargetError
from quantserve.serving.planning.items import Item, PlanInputs
from quantserve.serving.planning.options import known_options
from quantserve.serving.planning.parallel import wanted_copies

_NO_FAMILY = "hermes"
"""Reads the JSON of a demanded call, as most of vLLM's parsers do; no call is read from other text."""
_DEMANDED_ONLY = "safety"
_BACKEND = "guidance"
_OWN_PARSERS = {"mistral": "quantserve_mistral"}
_PLUGIN = Path(__file__).resolve().parents[1] / "tool_parsers.py"
# The ranks vLLM 0.32 has buffers for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def lora(inputs: PlanInputs) -> tuple[list[Item], list[Item]]:
    """Return (flags, environment) for the adapters; none of both without adapters.

    Raises:
        TargetError: the model's task knows no adapters.
    """
    adapters, wishes = inputs.adapters, inputs.profile.lora
    if not adapters:
        return [], []
    if inputs.profile.task != "generate":
        raise TargetError(
            f"LoRA adapters are for models that generate, not for profile {inputs.profile_name!r}",
            mend="Leave out --lora, or merge the adapter: quantserve quantize run --adapter",
        )
    rank = max(adapter.rank for adapter in adapters)
    room = next(size for size in _RANKS if size >= rank)
    first, *others = (f"{adapter.name}={adapter.directory}" for adapter in adapters)
    kept = max(wishes.max_loaded, wishes.max_in_batch)
    at_once = min(wishes.max_in_batch, len(adapters))
    flags = [
        Item("--enable-lora", None, "user", f"{len(adapters)} adapters by name"),
        Item("--max-lora-rank", str(room), "model", f"the highest rank is {rank}"),
        Item("--max-loras", str(at_once), "profile", "different adapters in one step"),
        Item("--max-cpu-loras", str(kept), "profile", "kept in main memory"),
        Item("--lora-modules", first, "user", "loaded at start; checked directories", tuple(others)),
    ]
    environment = [
        Item("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1", "user", "the guard lets in names only, never paths"),
        Item("VLLM_LORA_RESOLVER_CACHE_DIR", "", "safety", "no directory is searched for further adapters"),
        Item("VLLM_LORA_RESOLVER_HF_REPO_LIST", "", "safety", "no hub is searched for further adapters"),
    ]
    return flags, environment


def speculation(inputs: PlanInputs) -> list[Item]:
    """Return the flag for tokens guessed ahead.

    Raises:
        TargetError: the draft model is missing or has another vocabulary, or several copies are to stop
            guessing at their own load.
    """
    wish = inputs.profile.speculation
    if wish is None:
        return []
    if inputs.profile.task != "generate":
        raise TargetError("speculation is for models that generate", mend="Leave speculation out")
    config: dict[str, Any] = {"method": wish.method, "num_speculative_tokens": wish.tokens}
    reason = f"{wish.tokens} tokens are guessed from the prompt's own words"
    if wish.method == "ngram":
        config["prompt_lookup_max"] = wish.lookup_tokens
    else:
        if wish.draft is None or inputs.draft is None:
            raise TargetError("speculation by draft_model needs a model", mend="Set speculation.draft")
        if inputs.draft.vocabulary != inputs.target.facts.vocabulary:
            raise TargetError(
                f"the draft model knows {inputs.draft.vocabulary} tokens, {inputs.target.name} "
                f"{inputs.target.facts.vocabulary}",
                mend="Take a draft model of the same family",
            )
        config["model"] = str(wish.draft)
        reason = f"{wish.tokens} tokens are guessed by {wish.draft.name}"
    if wish.up_to is not None:
        if wanted_copies(inputs) > 1:
            raise TargetError(
                "speculation.up_to is for one copy of the model: vLLM has all copies guess alike",
                mend="Leave speculation.up_to out, or set data_parallel to 1",
            )
        config["num_speculative_tokens_per_batch_size"] = [
            [1, wish.up_to, wish.tokens],
            [wish.up_to + 1, wish.up_to + 1, 0],  # and so on: the last count holds for every larger batch
        ]
        reason += f" while at most {wish.up_to} requests run,"
    return [Item("--speculative-config", json.dumps(config), "profile", f"{reason} and checked in one step")]


def tools(inputs: PlanInputs) -> list[Item]:
    """Return the flags for tool calls.

    Calls that a client demands are written under a schema made of its tools, which every model can be held
    to, and read as JSON. Calls that the model decides on are written in a form of its family's, if it has
    one; the guard refuses them for a model without (`decides_on_tools`), since vLLM has both or none.
    """
    wish = inputs.profile.tool_parser
    parser = inputs.target.facts.tool_parser if wish is None else wish
    if inputs.profile.task != "generate":
        return []
    source, reason = ("model", "its chat template writes calls so") if wish is None else ("profile", "wanted")
    if parser in (None, "none"):
        parser, source, reason = (
            _NO_FAMILY,
            _DEMANDED_ONLY,
            "calls that are demanded; the model decides on none",
        )
    own = _OWN_PARSERS.get(str(parser))
    plugin = "demanded calls for a family whose own parser knows none"
    return [
        Item("--enable-auto-tool-choice", None, source, "the model may call the tools it is given"),
        Item("--tool-call-parser", own or parser, source, reason),
        *([Item("--tool-parser-plugin", str(_PLUGIN), "safety", plugin)] if own else []),
    ]


def own_files(inputs: PlanInputs) -> list[Item]:
    """Keep the engine from Mistral's own format where that lies beside the model in Hugging Face's.

    Seeing a consolidated*.safetensors, vLLM 0.32 takes weights, config and tokenizer from there.
    """
    others = [name for name in inputs.target.facts.foreign_weights if name.startswith("consolidated")]
    why = f"the engine would take {others[0]} instead of what the index names" if others else ""
    flags = {"--load-format": "safetensors", "--config-format": "hf", "--tokenizer-mode": "hf"}
    return [Item(name, value, "model", why) for name, value in flags.items()] if others else []


def decides_on_tools(flags: Iterable[Item]) -> bool:
    """Whether the model decides on tool calls itself, by the flags that `tools` and the user gave."""
    return any(item.name == "--tool-call-parser" and item.source != _DEMANDED_ONLY for item in flags)


def guided(inputs: PlanInputs) -> list[Item]:
    """Return the flag for answers that follow a schema: one backend, whatever comes first.

    vLLM's own choice depends on the first such request, and what fits the one it chose fails in another.
    llguidance compiles in milliseconds and says what it cannot do. Between the parts of JSON nothing is
    written, nor properties that a schema does not name, unless it says that it wants them: a small model
    could go on with either until its tokens end.
    """
    if inputs.profile.task != "generate":
        return []
    config = json.dumps(
        {"backend": _BACKEND, "disable_any_whitespace": True, "disable_additional_properties": True}
    )
    reason = "answers under a schema are guided by llguidance, from the first request to the last"
    return [Item("--structured-outputs-config", config, "safety", reason)]


def guided_by_ours(flags: Iterable[Item]) -> bool:
    """Whether the backend is the one that the guard compiles with first."""
    found = [item.value for item in flags if item.name == "--structured-outputs-config"]
    try:
        return bool(found) and json.loads(found[-1] or "{}").get("backend") == _BACKEND
    except ValueError:  # vLLM will say what is wrong with it
        return False


def quantization(inputs: PlanInputs) -> list[Item]:
    """bitsandbytes in 4 bits is an artifact in 16 bits that the engine quantizes while it loads.

    Raises:
        HardwareError: on a processor.
    """
    if inputs.target.method != "bitsandbytes":
        return []
    if not inputs.on_gpu:
        raise HardwareError(
            f"{inputs.target.name} is quantized by bitsandbytes, which the engine reads on a GPU only",
            mend="Serve it with a GPU profile, or quantize by --method int8 for this machine",
        )
    if inputs.target.facts.quantization is not None:
        return []
    return [
        Item("--quantization", "bitsandbytes", "manifest", "quantized while loading, to NF4"),
        Item("--load-format", "bitsandbytes", "manifest", "quantized while loading, to NF4"),
    ]


def passed_through(inputs: PlanInputs) -> list[Item]:
    """Return the options under `vllm:`: true is a flag alone, a mapping JSON, a list several words.

    false is --no-flag where vLLM has that, and nothing where it has not.
    """
    items = [
        _passed_through(key.lstrip("-").replace("_", "-"), value, inputs.profile_name)
        for key, value in inputs.profile.vllm.items()
    ]
    return [item for item in items if not item.name.startswith("--no-") or item.name in known_options()]


def _passed_through(name: str, value: Any, profile: str) -> Item:
    why = f"profile {profile} passes it on"
    if isinstance(value, bool):
        return Item(f"--{name}" if value else f"--no-{name}", None, "profile", why)
    if isinstance(value, dict):
        return Item(f"--{name}", json.dumps(value), "profile", why)
    if isinstance(value, list):
        words = [word if isinstance(word, str) else json.dumps(word) for word in value]
        return Item(f"--{name}", words[0] if words else None, "profile", why, tuple(words[1:]))
    return Item(f"--{name}", str(value), "profile", why)
