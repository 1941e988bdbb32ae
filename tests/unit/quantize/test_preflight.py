from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.core.errors import ResourceError
from quantserve.quantize.config import (
    AwqOptions,
    BitsAndBytesOptions,
    CalibrationOptions,
    GptqOptions,
    Int8Options,
    RtnOptions,
)
from quantserve.quantize.methods import preflight as module
from quantserve.quantize.methods.preflight import ResourceNeeds, check_resources, estimate, preflight
from quantserve.quantize.methods.registry import Options
from quantserve.quantize.models.checks import Checkpoint, TensorInfo, check_checkpoint
from tests.unit.quantize.checkpoints import llama_structure, make_checkpoint

SMALL = CalibrationOptions(sequences=1, sequence_tokens=1000)
LARGE = CalibrationOptions(sequences=11, sequence_tokens=1000)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return check_checkpoint(make_checkpoint(tmp_path / "model"))


def llama(hidden: int, inner: int, layers: int, vocabulary: int, keys: int) -> Checkpoint:
    """Describe a Llama without its weights; the embedding serves as the head too."""
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    for index in range(layers):
        for name, shape in {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }.items():
            shapes[f"model.layers.{index}.{name}.weight"] = shape
    config = {"hidden_size": hidden, "num_hidden_layers": layers}
    return Checkpoint(Path("m"), config, {n: TensorInfo("F16", s) for n, s in shapes.items()}, ())


def test_more_text_needs_more_memory_and_time_where_it_is_read(checkpoint: Checkpoint) -> None:
    few, many = (
        estimate(checkpoint, llama_structure(checkpoint), GptqOptions(), text) for text in (SMALL, LARGE)
    )
    # 10,000 tokens more, 128 inner and 64 hidden values each, three copies of 4 bytes; of a small text the
    # proof takes more than the pass.
    assert 0 < many.memory_bytes - few.memory_bytes <= 23_040_000
    assert many.operations > few.operations
    assert estimate(checkpoint, llama_structure(checkpoint), RtnOptions(), SMALL) == estimate(
        checkpoint, llama_structure(checkpoint), RtnOptions(), LARGE
    )


def test_disk_is_what_the_widths_come_to(checkpoint: Checkpoint) -> None:
    # 64 × 64 + 64 × 128 quantized weights; 96 × 64 + 64 others in 16 bits.
    others = 2 * (96 * 64 + 64) + 4_000_000  # and the tokenizer
    assert (
        estimate(checkpoint, llama_structure(checkpoint), RtnOptions(group_size=32), SMALL).disk_bytes
        == 12_288 * 37 // 64 + others
    )
    assert (
        estimate(checkpoint, llama_structure(checkpoint), Int8Options(), SMALL).disk_bytes == 12_288 + others
    )
    assert (
        estimate(checkpoint, llama_structure(checkpoint), BitsAndBytesOptions(), SMALL).disk_bytes
        == 2 * 12_288 + others
    )


@pytest.mark.parametrize(
    ("options", "by_library"),
    [(GptqOptions(), GptqOptions(driver="gptqmodel")), (AwqOptions(), AwqOptions(driver="gptqmodel"))],
)
def test_the_library_s_driver_needs_more_memory(
    checkpoint: Checkpoint, options: Options, by_library: Options
) -> None:
    ours = estimate(checkpoint, llama_structure(checkpoint), options, SMALL)
    theirs = estimate(checkpoint, llama_structure(checkpoint), by_library, SMALL)
    assert theirs.memory_bytes > ours.memory_bytes + 400_000_000


def test_time_follows_the_machine_s_speed() -> None:
    needs = ResourceNeeds(memory_bytes=1, disk_bytes=1, operations=1e12)
    slow, fast = needs.seconds(1e10), needs.seconds(1e11)
    assert slow > fast > 0
    # What does not depend on the speed is the start alone.
    assert slow - fast == pytest.approx(9 * (fast - ResourceNeeds(1, 1).seconds(1e11)))


def test_the_figures_are_said_beside_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory_bytes", lambda: 16 * 10**9)
    monkeypatch.setattr(module, "gemm_flops", lambda: 1e11)
    said: list[str] = []
    monkeypatch.setattr(
        "quantserve.quantize.methods.preflight.console.print", lambda text, **_: said.append(text)
    )
    needs = ResourceNeeds(memory_bytes=1_440_000_000, disk_bytes=120_000_000, operations=0.0)
    preflight(needs, tmp_path / "not" / "yet", device="cpu", force=False)
    preflight(needs, tmp_path, device="cuda", force=False)
    on_cpu, on_cuda = said
    assert on_cpu.startswith("Needs about 1.4 GB of memory (16.0 GB available), 120.0 MB on disk (")
    assert on_cpu.endswith(" s")
    assert on_cuda.endswith("GB free)"), "no time is promised where none was measured"


@pytest.mark.parametrize(
    ("seconds", "said"), [(8.4, "8 s"), (99, "99 s"), (150, "2 min"), (5000, "83 min"), (7200, "2.0 h")]
)
def test_a_time_is_said_in_people_s_units(seconds: float, said: str) -> None:
    assert module._duration(seconds) == said


def test_too_little_memory_is_refused_with_figures_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "gemm_flops", lambda: 1e11)
    needs = ResourceNeeds(memory_bytes=9 * 10**15, disk_bytes=1)
    with pytest.raises(ResourceError, match=r"needs about 9\.0 PB of memory.*--force"):
        preflight(needs, tmp_path, device="cpu", force=False)
    preflight(needs, tmp_path, device="cpu", force=True)


def test_too_little_disk_is_said_with_figures(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"needs 10\.0 PB on"):
        check_resources(ResourceNeeds(1, 9 * 10**15, scratch_bytes=10**15), tmp_path / "not" / "yet")


DEFAULT_TEXT = CalibrationOptions(sequences=32, sequence_tokens=256)
TINY_TEXT = CalibrationOptions(sequences=4, sequence_tokens=64)
TINY = llama(128, 256, 2, 257, 64)
SMOLLM2 = llama(576, 1536, 30, 49152, 192)
NARROW = llama(256, 1024, 4, 49152, 128)


@pytest.mark.parametrize(
    ("shapes", "options", "text", "measured_bytes"),
    [
        (SMOLLM2, Int8Options(), DEFAULT_TEXT, 1_237_983_232),
        (SMOLLM2, RtnOptions(), DEFAULT_TEXT, 1_190_096_896),
        (NARROW, GptqOptions(), DEFAULT_TEXT, 916_054_016),
        (NARROW, Int8Options(), DEFAULT_TEXT, 876_367_872),
        (TINY, GptqOptions(), TINY_TEXT, 417_869_824),
        (TINY, AwqOptions(), TINY_TEXT, 413_364_224),
        (TINY, RtnOptions(), TINY_TEXT, 408_985_600),
        (TINY, Int8Options(), TINY_TEXT, 417_116_160),
    ],
)
def test_the_estimate_is_within_a_quarter_of_measured_peaks(
    shapes: Checkpoint, options: Options, text: CalibrationOptions, measured_bytes: int
) -> None:
    assert (
        0.75 < estimate(shapes, llama_structure(shapes), options, text).memory_bytes / measured_bytes < 1.25
    )


def test_the_default_artifact_s_size_is_estimated_within_a_tenth() -> None:
    # Measured: 121,672,133 bytes.
    assert (
        0.9
        < estimate(SMOLLM2, llama_structure(SMOLLM2), GptqOptions(), DEFAULT_TEXT).disk_bytes / 121_672_133
        < 1.1
    )
