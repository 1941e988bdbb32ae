"""Run an artifact beside its base in float32 and hold it to two bounds. Needs torch.

1. Before rounding: the base with the moved scales in its weights equals the base, to 1e-4 in every layer.
2. After rounding: the logits' error is at most 1.1 times that of plain rounding on the same grid. In a
   mixture of experts a rounding error may send a token to another expert, which is a leap and not an error of
   the weights: there the tenth of the tokens that are farthest off is left out, on both sides.

No absolute bound separates right from wrong: a healthy 4-bit model with outliers reaches the error at which
broken ones begin. The error is relative and of logits less their mean, which no softmax sees.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from quantserve.core.errors import QuantserveError
from quantserve.quantize.artifact import Proof
from quantserve.quantize.calibration.overlap import pydoc_evaluation_text
from quantserve.quantize.methods.formats.layouts import Layout
from quantserve.quantize.methods.formats.recipe import UNQUANTIZED
from quantserve.quantize.methods.layers.layer import MovedScale
from quantserve.quantize.methods.proof import TOKENS
from quantserve.quantize.methods.proof.float_run import FloatResult, FloatRunner, Weights
from quantserve.quantize.methods.proof.stored import StoredWeights
from quantserve.quantize.models.structure import Structure
from quantserve.quantize.models.tokenizer import load_tokenizer

FOLDED_BOUND = 1e-4
PLAIN_FACTOR = 1.1
LEAPS = 0.1


class ProofFailed(QuantserveError):
    """What was written is not the model it was made from."""


def prove(
    base: Path,
    artifact: Path,
    layout: Layout,
    structure: Structure,
    moved: Iterable[MovedScale],
    storage: torch.dtype,
) -> Proof:
    """Run base, folded base, plain rounding and artifact.

    storage: the type of what is not quantized.

    Raises:
        ProofFailed: a bound is broken, with the figures and the layer.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    ids = _token_ids(base, model.config.get_text_config())
    original, written = StoredWeights(base), StoredWeights(artifact)
    missing = sorted(original.names() ^ written.names())
    if missing:
        raise ProofFailed(
            f"The artifact and its base differ in the tensor {missing[0]}", mend="Report this: it is a bug"
        )
    runner = FloatRunner(model, structure.stored, structure.merged, original.get)
    eight = frozenset(name for name in written.quantized if layout.format_of(name) == "int8")
    share = 1.0 - LEAPS if is_mixture(structure) else 1.0
    wanted = runner.run(ids, runner.base, frozenset())

    def errors_of(weights: Weights, rounded_inputs: frozenset[str]) -> tuple[list[float], float]:
        found = runner.run(ids, weights, rounded_inputs)
        return _by_layer(wanted, found), logit_error(wanted.logits, found.logits, share)

    scales = list(moved)
    folded = _largest(errors_of(_folded(runner.base, scales), frozenset())[0]) if scales else None
    plain = _plain(runner.base, written.quantized, layout, storage)
    plain_errors, plain_logit_error = errors_of(plain, eight)
    errors, found_logit_error = errors_of(written.get, eight)
    worst = max(range(len(errors)), key=lambda layer: errors[layer] / max(plain_errors[layer], 1e-9))
    proof = Proof(
        tokens=ids.shape[1],
        folded_error=None if folded is None else folded[1],
        folded_layer=None if folded is None else folded[0],
        logit_error=found_logit_error,
        plain_logit_error=plain_logit_error,
        worst_layer=worst,
        worst_layer_error=errors[worst],
        worst_layer_plain_error=plain_errors[worst],
    )
    check_proof(proof)
    return proof


def check_proof(proof: Proof) -> None:
    """Hold the figures to the bounds; a figure that is no number breaks them.

    Raises:
        ProofFailed: with the figures and the layer.
    """
    if proof.folded_error is not None and not proof.folded_error <= FOLDED_BOUND:
        raise ProofFailed(
            f"Moving scales changed the model in layer {proof.folded_layer}: relative error "
            f"{proof.folded_error:.2g}, at most {FOLDED_BOUND:g} is right",
            mend="Leave scaling out: --smoothing 0 (int8), --no-scale-channels (gptq), or --method rtn",
        )
    if not proof.logit_error <= PLAIN_FACTOR * proof.plain_logit_error:
        raise ProofFailed(
            f"The result is worse than plain rounding: relative logit error {proof.logit_error:.4f} against "
            f"{proof.plain_logit_error:.4f}, at most {PLAIN_FACTOR} times that is right; worst in layer "
            f"{proof.worst_layer} ({proof.worst_layer_error:.4f} against "
            f"{proof.worst_layer_plain_error:.4f})",
            mend="Use --method rtn or int8 --smoothing 0, or other calibration text",
        )


def is_mixture(structure: Structure) -> bool:
    """Whether the model routes tokens to experts."""
    return bool(structure.experts) or "fused experts" in structure.unquantized.values()


def logit_error(wanted: torch.Tensor, found: torch.Tensor, share: float = 1.0) -> float:
    """Return the relative error of logits (tokens, vocabulary), each token's mean taken off.

    share: of the tokens, those nearest to what is wanted.
    """
    centred = wanted - wanted.mean(-1, keepdim=True)
    error = found - wanted
    lost = (error - error.mean(-1, keepdim=True)).square().sum(-1)
    whole = centred.square().sum(-1)
    nearest = torch.argsort(lost / whole)[: round(share * len(lost))]
    return float((lost[nearest].sum() / whole[nearest].sum().clamp(min=1e-30)).sqrt())


def _by_layer(wanted: FloatResult, found: FloatResult) -> list[float]:
    return [
        float((mine - base).norm() / base.norm().clamp(min=1e-30))
        for base, mine in zip(wanted.layers, found.layers, strict=True)
    ]


def _largest(errors: list[float]) -> tuple[int, float]:
    """Return the layer with the largest error, and it; one that is no number is the largest."""
    layer = max(range(len(errors)), key=lambda at: (errors[at] != errors[at], errors[at]))
    return layer, errors[layer]


def _token_ids(directory: Path, config: Any) -> torch.Tensor:
    """Return (1, tokens) of the text that is reserved for evaluation."""
    tokens = min(TOKENS, int(getattr(config, "max_position_embeddings", TOKENS) or TOKENS))
    tokenizer = load_tokenizer(directory)
    ids = tokenizer(pydoc_evaluation_text()[: 40 * TOKENS], add_special_tokens=False)["input_ids"]
    return torch.tensor([ids[:tokens]])


def _folded(base: Weights, moved: list[MovedScale]) -> Weights:
    """Return the base's weights with the scales moved, in float32."""
    into = {name: one for one in moved for name in one.readers}
    out_of = {one.producer: one for one in moved}

    def weights(name: str) -> torch.Tensor:
        tensor = base(name)
        module, _, last = name.rpartition(".")
        if last == "weight" and module in into:
            tensor = tensor * into[module].scale
        if module in out_of:
            own, offset = out_of[module].own, out_of[module].offset
            if last == "bias":
                tensor = tensor / own
            elif offset is not None:
                tensor = (tensor + offset) / own - offset
            else:
                tensor = tensor / own[:, None]
        return tensor

    return weights


def _plain(base: Weights, quantized: frozenset[str], layout: Layout, storage: torch.dtype) -> Weights:
    """Return the base's weights, those that the artifact has quantized rounded to the nearest."""

    def weights(name: str) -> torch.Tensor:
        tensor = base(name)
        module = name.removesuffix(".weight")
        if module not in quantized or layout.widths.get(module) == UNQUANTIZED:
            return _stored(tensor, storage)
        form = layout.format_of(module)
        if form == "fp8":
            scale = tensor.abs().amax(1, keepdim=True).clamp(min=1e-12) / 448.0
            rounded: torch.Tensor = (tensor / scale).to(torch.float8_e4m3fn).float() * scale
            return rounded
        if form == "int8":
            return round_plainly(tensor, 8, -1, symmetric=True)
        return round_plainly(tensor, layout.bits, layout.group_size, symmetric=layout.symmetric)

    return weights


def _stored(tensor: torch.Tensor, storage: torch.dtype) -> torch.Tensor:
    """Return what is left of values that are not quantized: bfloat16 holds what float16 cannot."""
    if not tensor.is_floating_point():
        return tensor
    cast = tensor.to(storage)
    return (cast if bool(torch.isfinite(cast).all()) else tensor.to(torch.bfloat16)).float()


def round_plainly(weights: torch.Tensor, bits: int, group_size: int, *, symmetric: bool) -> torch.Tensor:
    """Round each weight (output, input) to the nearest value of a grid over its group's whole range."""
    rows, columns = weights.shape
    rounded: torch.Tensor
    x = weights.reshape(rows, -1, columns if group_size == -1 else group_size)
    if symmetric:
        top = 2 ** (bits - 1) - 1
        scale = x.abs().amax(2, keepdim=True).clamp(min=1e-12) / top
        rounded = (x / scale).round().clamp(-top - 1, top) * scale
    else:
        low, high = x.amin(2, keepdim=True).clamp(max=0), x.amax(2, keepdim=True).clamp(min=0)
        scale = (high - low).clamp(min=1e-12) / (2**bits - 1)
        zero = (-low / scale).round()
        rounded = (((x / scale).round() + zero).clamp(0, 2**bits - 1) - zero) * scale
    return rounded.reshape(rows, columns)
