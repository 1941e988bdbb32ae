"""What reads what in a layer is found by running it, whatever its modules are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.quantize.home import PYTHON
from tests.programs import last_json

ATTENTION = {"attn.v_proj": ["attn.o_proj"]}
GATED = {"mlp.up": ["mlp.down"]}
QKV = ["attn.q_proj", "attn.k_proj", "attn.v_proj"]
SERIAL = {"first": QKV, "second": ["mlp.gate", "mlp.up"], **ATTENTION, **GATED}
# For each layer of probe_layers.py: the producers that may be divided, and all that read them.
FOLDS: dict[str, dict[str, list[str]]] = {
    "serial": SERIAL,
    "one key head": SERIAL,
    "gemma": SERIAL,
    # relu squared is not linear in what `up` gives
    "layer norm": {"first": QKV, "second": ["mlp.up"], **ATTENTION},
    "parallel": {"first": [*QKV, "mlp.gate", "mlp.up"], **ATTENTION, **GATED},
    # the residual stream reads the norms too
    "post norm": {**ATTENTION, **GATED},
    "router": GATED,
    "latent": {"first": ["a", "q"], "second": ["b"], "b": ["out"]},
    "elsewhere": {"first": ["down"]},
    "twice": {},
    "half": {},
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return last_json(PYTHON, Path(__file__).with_name("probe_layers.py"), timeout_s=300)


def test_every_layer_was_probed(found: dict[str, Any]) -> None:
    assert set(found) == set(FOLDS)


@pytest.mark.parametrize("name", FOLDS)
def test_scales_move_into_all_readers_or_not_at_all(found: dict[str, Any], name: str) -> None:
    assert found[name]["folds"] == FOLDS[name]


@pytest.mark.parametrize("name", FOLDS)
def test_moving_random_scales_changes_nothing(found: dict[str, Any], name: str) -> None:
    assert found[name]["moved"] < 1e-5


def test_parts_that_read_one_input_are_one_group(found: dict[str, Any]) -> None:
    assert found["parallel"]["groups"] == [[*QKV, "mlp.gate", "mlp.up"], ["attn.o_proj"], ["mlp.down"]]


def test_a_weight_that_is_read_outside_of_its_module_is_named(found: dict[str, Any]) -> None:
    assert [found[name]["elsewhere"] for name in ("elsewhere", "serial")] == [["lost"], []]
