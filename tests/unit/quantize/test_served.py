"""What of the engine's plan makes a measurement stale, and what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.quantize.models.served import digest_of, plan_digest

ARGV = [
    "/venv/bin/python",
    "-m",
    "engine",
    "--model",
    "/models/m",
    "--dtype",
    "bfloat16",
    "--max-num-seqs",
    "64",
]
GUARD = {"limits": {"max_tokens": 8192}, "internal_key_sha256": "a" * 64, "tokenizer": "/models/m"}
ENV = {"OMP": "0-1", "LD_PRELOAD": "/usr/lib/a.so:/venv/lib/b.so", "GUARD": json.dumps(GUARD)}
FOLDERS = st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


def plan(argv: list[str] = ARGV, **env: str) -> dict[str, Any]:
    return {"argv": argv, "env": {**ENV, **env}}


@given(folder=FOLDERS, secret=st.binary(min_size=32, max_size=32), size=st.integers(1, 1 << 40))
def test_places_secrets_and_the_memory_of_the_moment_do_not_count(
    folder: str, secret: bytes, size: int
) -> None:
    moved = [word.replace("/venv", folder).replace("/models", folder) for word in ARGV]
    guard = {**GUARD, "internal_key_sha256": secret.hex(), "tokenizer": f"{folder}/m"}
    preload = f"{folder}/a.so:{folder}/lib/b.so"
    sized = [*moved, "--kv-cache-memory-bytes", str(size)]
    assert digest_of(plan(sized, LD_PRELOAD=preload, GUARD=json.dumps(guard))) == digest_of(plan())


@pytest.mark.parametrize(
    "other",
    [
        plan([*ARGV[:-1], "8"]),
        plan([*ARGV[:6], "float16", *ARGV[7:]]),
        plan([*ARGV, "--enforce-eager"]),
        plan(ARGV[:-2]),
        plan(OMP="0-7"),
        plan(LD_PRELOAD="/usr/lib/a.so"),
        plan(VLLM_ATTENTION_BACKEND="FLASHINFER"),
        plan(GUARD=json.dumps({**GUARD, "limits": {"max_tokens": 16}})),
        plan([*ARGV[:4], "/models/other", *ARGV[5:]]),
    ],
)
def test_whatever_else_the_engine_is_told_counts(other: dict[str, Any]) -> None:
    assert digest_of(other) != digest_of(plan())


@pytest.mark.parametrize("printed", ["", "ready", "[1, 2]", '{"argv": ["x"]}', '{"argv": 3, "env": {}}'])
def test_a_program_that_prints_no_plan_leaves_it_unknown(tmp_path: Path, printed: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{printed}'\n", encoding="utf-8")
    python.chmod(0o755)
    assert plan_digest(python, tmp_path, tmp_path) is None
