"""Every option of this package, what it means and its default; the command line reads them from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODELS_DIR = Path("models")
ARTIFACTS_DIR = Path("artifacts")
RUN_DIR = Path("run")
DEFAULT_MODEL = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class CalibrationOptions:
    """How much text a method calibrates on.

    path: a text or JSONL file, or a folder of them; None takes the built-in English text.
    sequences, sequence_tokens: the text is packed into this many sequences of this length.
    seed: draws which sequences of a longer text are taken.
    """

    path: Path | None = None
    sequences: int = 32
    sequence_tokens: int = 256
    seed: int = 0


@dataclass(frozen=True)
class GptqOptions:
    """GPTQ (Frantar et al. 2022): round column by column, and let later columns absorb the error.

    bits: width of a weight; the engine's CPU kernel takes 4 only.
    group_size: weights along the input that share one scale; must divide every layer's input size.
    symmetric: without zero points; otherwise the checkpoint is written in AWQ's layout, the one in which
        the engine reads zero points.
    damping: share of the Hessian's mean diagonal added to its diagonal.
    mse: exponent of the search for the scale that loses least; 0 takes the range as it is.
    act_group_aware: visit important columns first without reordering the groups on disk.
    desc_act: reorder columns on disk; the engine refuses it, so it is refused here.
    true_sequential: quantize a layer's parts in order, each seeing the error of those before it.
    """

    bits: int = 4
    group_size: int = 32
    symmetric: bool = False
    damping: float = 0.05
    mse: float = 2.0
    act_group_aware: bool = True
    desc_act: bool = False
    true_sequential: bool = True


@dataclass(frozen=True)
class AwqOptions:
    """AWQ (Lin et al. 2023): scale up the channels that see large activations before rounding.

    bits: width of a weight; the engine takes 4 only.
    group_size: weights along the input that share one scale; must divide every layer's input size.
    symmetric: without zero points.
    """

    bits: int = 4
    group_size: int = 32
    symmetric: bool = False


@dataclass(frozen=True)
class RunOptions:
    """Where `quantize run` reads and writes; `force` goes on where memory or disk look too small."""

    model: Path = MODELS_DIR / DEFAULT_MODEL
    artifacts_dir: Path = ARTIFACTS_DIR
    run_dir: Path = RUN_DIR
    name: str | None = None
    force: bool = False
