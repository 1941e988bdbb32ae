"""The KV cache's arithmetic, in figures worked out by hand; the engine's own are in the integration test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantserve.serving.kv import KvLayout, kv_bytes_for, kv_estimate
from quantserve.serving.model import ModelFacts
from tests.unit.serving.machines import LLAMA_70B, SMOLLM2

LAYOUT = KvLayout("bfloat16", block=16, length=1024, in_flight=512)
# 8 layers of 2 heads of 32: a block of 16 tokens in one layer is 16 x 2 x 2 x 32 x 2 = 4,096 bytes.
SMALL = replace(SMOLLM2, layers=8, attention_heads=4, kv_heads=2, head_dim=32)
WINDOWS = replace(SMALL, sliding_window=128, sliding_layers=8)
MIXED = replace(SMALL, sliding_window=128, sliding_layers=6)
MLA = replace(SMALL, latent_width=576)
WHISPER = replace(SMALL, encoder_tokens=1500)


@pytest.mark.parametrize(
    ("facts", "bytes_of_a_request"),
    [
        (SMALL, 64 * 8 * 4096),  # 64 blocks in 8 layers
        # 128 - 1 + 512 tokens are kept: 40 blocks, and one more since a window starts anywhere
        (WINDOWS, 41 * 8 * 4096),
        # groups of 2 layers: one sees everything (64 blocks), three have windows (41 each)
        (MIXED, (64 + 3 * 41) * 2 * 4096),
        (MLA, 64 * 8 * 16 * 576 * 2),
        # the decoder's own blocks and 94 for 1,500 positions of sound
        (WHISPER, (64 + 94) * 8 * 4096),
    ],
)
def test_bytes_of_one_full_request(facts: ModelFacts, bytes_of_a_request: int) -> None:
    assert kv_bytes_for(facts, LAYOUT, 1, 1024) == bytes_of_a_request


def test_tokens_are_full_requests_times_their_length() -> None:
    estimate = kv_estimate(MIXED, LAYOUT, 10 * 187 * 2 * 4096)
    assert (estimate.tokens, estimate.sequences) == (10_240, 10.0)


def test_part_of_a_block_holds_nothing() -> None:
    assert kv_estimate(SMALL, LAYOUT, 8 * 4096 - 1).tokens == 0


def test_unequal_groups_below_half_as_many_again_are_padded() -> None:
    # 5 with windows and 4 without: two groups of 5 layers, not three of 4
    facts = replace(SMALL, layers=9, sliding_window=128, sliding_layers=5)
    assert kv_bytes_for(facts, LAYOUT, 1, 1024) == (64 + 41) * 5 * 4096


def test_heads_are_shared_out_and_then_copied() -> None:
    # 8 KV heads: two devices keep 4 each, sixteen keep one each
    whole = kv_bytes_for(LLAMA_70B, LAYOUT, 1, 1024)
    assert whole == 1024 * 327_680
    assert kv_bytes_for(LLAMA_70B, replace(LAYOUT, tensor_parallel=2), 1, 1024) * 2 == whole
    assert kv_bytes_for(LLAMA_70B, replace(LAYOUT, tensor_parallel=16), 1, 1024) * 8 == whole


def test_stages_keep_their_own_layers() -> None:
    whole = kv_bytes_for(LLAMA_70B, LAYOUT, 1, 1024)
    assert kv_bytes_for(LLAMA_70B, replace(LAYOUT, pipeline_parallel=4), 1, 1024) * 4 == whole


def test_eight_bits_hold_twice_the_tokens() -> None:
    size = 1 << 24
    assert (
        kv_estimate(SMALL, replace(LAYOUT, dtype="fp8"), size).tokens
        == 2 * kv_estimate(SMALL, LAYOUT, size).tokens
    )
