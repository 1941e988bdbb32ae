"""Every option of this package, what it means and its default; the command line reads them from here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantserve.core.home import generated

MODELS_DIR = generated("models")
ARTIFACTS_DIR = generated("artifacts")
RUN_DIR = generated("run")
DEFAULT_MODEL = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class CalibrationOptions:
    """What text a method calibrates on, and how much of it.

    sources: SOURCE[:WEIGHT] each, mixed by weight; SOURCE is corpus, corpus/en, corpus/ko, pydoc, a text,
        Markdown, JSONL or Parquet file or a folder of them, c4, wikitext, klue, or a hub data set
        OWNER/NAME[@REVISION]; ?column=, ?split= and ?config= say which part of a table or data set.
    languages: shares such as ko=0.5,en=0.5 for the bundled text, and to check other text against;
        by default equal shares of the languages that the model's tokenizer was made for.
    sequences: how many sequences the text is packed into.
    sequence_tokens: length of each.
    seed: draws the documents of a longer text, and the sequences.
    """

    sources: tuple[str, ...] = ("corpus",)
    languages: str | None = None
    sequences: int = 32
    sequence_tokens: int = 256
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in all sequences together."""
        return self.sequences * self.sequence_tokens


@dataclass(frozen=True)
class RtnOptions:
    """Round each weight to the nearest: no calibration, the baseline every figure is set against.

    bits: width of a weight: 4 everywhere, 2 and 8 on CUDA.
    group_size: weights along the input that share one scale; must divide every layer's input size.
    symmetric: without zero points. An AMD processor then computes a batch twice as fast, with activations
        rounded to 8 bits, and loses more; with zero points 4 bits are written in AWQ's layout.
    layout: gptq (AutoGPTQ's, symmetric), awq (AutoAWQ's, 4 bits with zero points) or packed
        (compressed-tensors' pack-quantized); auto takes packed for symmetric 4 bits on a CPU, where AMD's
        kernels read no other, and else the method's own where it fits.
    precision_override: PATTERN of modules that stay in 16 bits, PATTERN=8 of those that get 8 by row; repeat
        for more.
    """

    bits: int = 4
    group_size: int = 32
    symmetric: bool = False
    layout: str = "auto"
    precision_override: tuple[str, ...] = ()


@dataclass(frozen=True)
class AwqOptions(RtnOptions):
    """AWQ (Lin et al. 2023): scale up the channels that see large activations before rounding.

    mse: exponent of the search for the scale that loses least (AWQ's clipping); 0 takes the range as it is.
    driver: layers, our own pass, or gptqmodel, the library's, for architectures the pass does not cover.
    """

    mse: float = 2.0
    driver: str = "layers"


@dataclass(frozen=True)
class GptqOptions(RtnOptions):
    """GPTQ (Frantar et al. 2022): round column by column, and let later columns absorb the error.

    damping: share of the Hessian's mean diagonal added to its diagonal.
    mse: exponent of the search for the scale that loses least; 0 takes the range as it is.
    act_group_aware: visit important columns first without reordering the groups on disk.
    scale_channels: scale input channels by AWQ's search first: takes half as long again, and the engine's
        CPU kernel, which rounds activations to 8 bits, then loses half as much.
    desc_act: reorder columns on disk; the engine refuses it, so it is refused here.
    driver: layers, our own pass, or gptqmodel, the library's, for architectures the pass does not cover.
    """

    damping: float = 0.05
    mse: float = 2.0
    act_group_aware: bool = True
    scale_channels: bool = True
    desc_act: bool = False
    driver: str = "layers"


@dataclass(frozen=True)
class Int8Options:
    """INT8 W8A8: one scale for each row of weights and each token of activations.

    smoothing: SmoothQuant's strength, 0 to 1: how much of the activations' range moves into the weights;
        measured on the calibration text, of which little is needed. 0 is off; left out, it is
        searched for each input.
    feedback: round with GPTQ's error feedback. Without it and with smoothing 0 nothing is calibrated.
    damping: share of the Hessian's mean diagonal added to its diagonal (feedback).
    mse: exponent of the search for the scale that loses least; 0 takes the range as it is.
    precision_override: PATTERN of modules that stay in 16 bits; repeat for more.
    """

    smoothing: float | None = None
    feedback: bool = True
    damping: float = 0.05
    mse: float = 0.0
    precision_override: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fp8Options:
    """FP8 (E4M3) W8A8: one scale for each row of weights and each token of activations; for CUDA.

    precision_override: PATTERN of modules that stay in 16 bits; repeat for more.
    """

    precision_override: tuple[str, ...] = ()


@dataclass(frozen=True)
class BitsAndBytesOptions:
    """Files in 16 bits that the engine is told to quantize while loading, or LLM.int8 files; for CUDA.

    bits: 4 (NF4) or 8 (LLM.int8).
    double_quant: quantize the scales too (4 bits).
    """

    bits: int = 4
    double_quant: bool = True


@dataclass(frozen=True)
class QuantizeOptions:
    """Where `quantize run` reads and writes, and for what.

    model: the base checkpoint's directory.
    artifacts_dir: where artifacts are kept, as NAME/VERSION.
    run_dir: where logs, hashes and drawn data sets are kept.
    name: the artifact's name; by default the model's.
    adapter: a LoRA adapter's directory, merged into the model first.
    target: where the result is to be served, cpu or cuda; by default what this machine has.
    force: go on where memory or disk look too small, or the engine says that it does not serve the model.
    """

    model: Path = MODELS_DIR / DEFAULT_MODEL
    artifacts_dir: Path = ARTIFACTS_DIR
    run_dir: Path = RUN_DIR
    name: str | None = None
    force: bool = False
    adapter: Path | None = None
    target: str | None = None


def take_options(options: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Take a dataclass's fields out of options."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: options.pop(name) for name in list(options) if name in names}


def as_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the strings given for folders into paths."""
    folders = ("_dir", "adapter", "serving_python")
    return {
        name: Path(value) if isinstance(value, str) and name.endswith(folders) else value
        for name, value in values.items()
    }
