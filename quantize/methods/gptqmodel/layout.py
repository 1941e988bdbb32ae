"""Turn what GPTQModel saved into the files that the engine and transformers load.

Scales and unquantized weights become float16, the type the engine serves in. Asymmetric GPTQ is packed
anew in AWQ's layout, since the engine reads zero points in that layout only; no value changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from quantserve.core.files import write_json
from quantserve.quantize.methods.assemble import BEYOND_FLOAT16
from quantserve.quantize.methods.checkpoint import INDEX, copy_companions, storable
from quantserve.quantize.worker.job import Job

# What GPTQModel saved is replaced by the base's own, byte for byte.
_REPLACED = ("tokenizer*", "special_tokens_map.json", "chat_template.jinja", "generation_config.json")
# Eight 4-bit values in an int32: GPTQ packs them in order, AWQ interleaved.
_SHIFTS = torch.arange(0, 32, 4, dtype=torch.int32)
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def unpack_rows(packed: torch.Tensor) -> torch.Tensor:
    """Unpack GPTQ's `qweight` (input / 8, output) to values (input, output)."""
    values = (packed[:, None, :] >> _SHIFTS[None, :, None]) & 15
    return values.reshape(-1, packed.shape[1])


def unpack_columns(packed: torch.Tensor) -> torch.Tensor:
    """Unpack GPTQ's `qzeros` (groups, output / 8) to values (groups, output)."""
    values = (packed[:, :, None] >> _SHIFTS) & 15
    return values.reshape(packed.shape[0], -1)


def pack_awq(values: torch.Tensor) -> torch.Tensor:
    """Pack values (rows, output) the way AWQ does: (rows, output / 8), interleaved within eight."""
    eights = values.to(torch.int32).reshape(values.shape[0], -1, 8)[:, :, list(_AWQ_ORDER)]
    packed = torch.zeros(eights.shape[:2], dtype=torch.int32)
    for place, shift in enumerate(_SHIFTS.tolist()):
        packed |= eights[:, :, place] << shift
    return packed


def gptq_to_awq(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Repack a GPTQ checkpoint of format version 2 (zero points as they are) in AWQ's layout.

    Raises:
        ValueError: the groups are not in order along the input, which AWQ cannot express.
    """
    result = {name: tensor for name, tensor in tensors.items() if not name.endswith(".g_idx")}
    for name in [name for name in tensors if name.endswith(".qweight")]:
        stem = name.removesuffix(".qweight")
        groups = tensors[f"{stem}.scales"].shape[0]
        weight = unpack_rows(tensors[name])
        order = tensors[f"{stem}.g_idx"].long()
        if not torch.equal(order, torch.arange(weight.shape[0]) // (weight.shape[0] // groups)):
            raise ValueError(f"{stem}: the groups are reordered on disk")
        result[name] = pack_awq(weight)
        result[f"{stem}.qzeros"] = pack_awq(unpack_columns(tensors[f"{stem}.qzeros"]))
    return result


def finish(job: Job, *, awq_layout: bool) -> None:
    """Rewrite the saved weights in float16 and the layout asked for, mend the config, add the tokenizer."""
    output = job.output_dir
    config: dict[str, Any] = json.loads((output / "config.json").read_text(encoding="utf-8"))
    quantization: dict[str, Any] = config["quantization_config"]
    wide = job.wide
    for path in sorted(output.glob("*.safetensors")):
        tensors = load_file(path)
        if awq_layout:
            tensors = gptq_to_awq(tensors)
        halved = {k: storable(k, v, torch.float16).contiguous() for k, v in tensors.items()}
        wide |= any(tensor.dtype == torch.bfloat16 for tensor in halved.values())
        save_file(halved, path, metadata={"format": "pt"})
    if (output / INDEX).is_file():
        _mend_index(output)
    if awq_layout:
        quantization.update(quant_method="awq", method="awq", format="gemm", checkpoint_format="gemm")
        quantization.update(version="gemm", zero_point=True)
    config["dtype"] = "bfloat16" if wide else "float16"
    if wide:
        config[BEYOND_FLOAT16] = True
    for name in ("quantize_config.json", "quant_log.csv"):
        (output / name).unlink(missing_ok=True)
    write_json(output / "config.json", config, allow_nan=True)
    for pattern in _REPLACED:
        for stale in output.glob(pattern):
            stale.unlink()
    copy_companions(job.model_dir, output)


def _mend_index(output: Path) -> None:
    """Rewrite the shard index for the tensors that are there now."""
    weight_map = {
        name: path.name for path in sorted(output.glob("*.safetensors")) for name in load_file(path)
    }
    total = sum(path.stat().st_size for path in output.glob("*.safetensors"))
    write_json(output / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
