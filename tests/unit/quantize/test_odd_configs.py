"""Whatever a config.json holds, checking, estimating and recognising it ends in a description or one line."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.errors import QuantserveError
from quantserve.quantize.config import CalibrationOptions, GptqOptions, Int8Options
from quantserve.quantize.lifecycle.recognise import recognise, refuse_imported
from quantserve.quantize.methods.preflight import check_shapes, estimate
from quantserve.quantize.models.checks import check_checkpoint
from tests.unit.quantize.checkpoints import llama_structure, make_checkpoint

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
SETTINGS = st.dictionaries(
    st.sampled_from(
        [
            "quant_method",
            "bits",
            "w_bit",
            "group_size",
            "sym",
            "desc_act",
            "version",
            "config_groups",
            "zero_point",
        ]
    ),
    ANYTHING
    | st.sampled_from(["gptq", "awq", "compressed-tensors", 4, 128])
    | st.just({"a": {"weights": {"num_bits": 4}}}),
)
CONFIGS = st.dictionaries(
    st.sampled_from(
        [
            "model_type",
            "hidden_size",
            "num_hidden_layers",
            "quantization_config",
            "compression_config",
            "text_config",
            "transformers_weights",
            "dtype",
            "torch_dtype",
        ]
    ),
    ANYTHING | SETTINGS | st.sampled_from([64, "model.safetensors", "float16"]),
)


@given(CONFIGS)
def test_no_config_ends_in_a_traceback(config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(QuantserveError):
        directory = make_checkpoint(Path(folder) / "m")
        (directory / "config.json").write_text(json.dumps(config))
        found = check_checkpoint(directory)
        structure = llama_structure(found)
        for options in (GptqOptions(), Int8Options()):
            estimate(found, structure, options, CalibrationOptions())
        check_shapes(structure, GptqOptions())


@given(SETTINGS, st.sampled_from(["cpu", "cuda"]))
def test_no_settings_end_in_a_traceback(settings: dict[str, Any], target: str) -> None:
    with contextlib.suppress(QuantserveError):
        refuse_imported(recognise(settings, "x"), target, "x")
