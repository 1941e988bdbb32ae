from __future__ import annotations

import pytest

from quantserve.core.errors import UsageError
from quantserve.quantize.methods.formats.recipe import widths_of

NAMES = [
    f"model.layers.{layer}.{part}"
    for layer in (0, 1, 11)
    for part in (
        *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    )
]


@pytest.mark.parametrize(
    ("keeps", "expected"),
    [
        ((), {}),
        (("layers.1.mlp.down_proj",), {"model.layers.1.mlp.down_proj": 16}),
        (("layers.1.*.o_proj=8",), {"model.layers.1.self_attn.o_proj": 8}),
        (
            ("down_proj=8", "layers.11.mlp.down_proj=16"),
            {
                "model.layers.0.mlp.down_proj": 8,
                "model.layers.1.mlp.down_proj": 8,
                "model.layers.11.mlp.down_proj": 16,
            },
        ),
        (
            ("layers.0.mlp.[gu]*",),
            {"model.layers.0.mlp.gate_proj": 16, "model.layers.0.mlp.up_proj": 16},
        ),
    ],
)
def test_patterns_match_whole_parts_and_the_last_wins(
    keeps: tuple[str, ...], expected: dict[str, int]
) -> None:
    assert widths_of(NAMES, keeps) == expected


def test_a_whole_layer_is_named_by_its_number_alone() -> None:
    assert widths_of(NAMES, ("layers.1.*",)).keys() == {n for n in NAMES if ".1." in n}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("up_projection", "matches no module"),
        ("down_proj=4", "is not PATTERN, PATTERN=16 or PATTERN=8"),
        ("=8", "is not PATTERN"),
        ("q_proj=8", r"k_proj another width; the engine fuses them.*--precision-override k_proj=8"),
    ],
)
def test_what_cannot_be_meant_is_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        widths_of(NAMES, (override,))


def test_routers_of_experts_always_stay() -> None:
    assert widths_of(["model.layers.0.mlp.gate", "model.layers.0.mlp.experts.0.up_proj"], ()) == {
        "model.layers.0.mlp.gate": 16
    }
