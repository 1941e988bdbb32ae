"""Pickles become safetensors only when they hold tensors by name; whatever else they hold is one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantserve.core.errors import InputError
from quantserve.quantize.lifecycle.conversion import convert
from quantserve.quantize.models.checks import check_checkpoint
from tests.unit.quantize.checkpoints import make_checkpoint


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


WEIGHTS = {"model.norm.weight": torch.arange(4.0)}
BROKEN = {
    "empty": b"",
    "text": b"version https://git-lfs.github.com/spec/v1\n",
    "cut short": saved(WEIGHTS)[:-40],
    "no pickle of torch": pickle.dumps([1, 2]),
    "code": saved({"a": Evil()}),
    "plain code": pickle.dumps(Evil()),
    "a list": saved([torch.ones(2)]),
    "nothing": saved({}),
    "a number among tensors": saved({**WEIGHTS, "step": 3}),
}


def source(tmp_path: Path, **pickles: bytes) -> Path:
    directory = make_checkpoint(tmp_path / "old")
    (directory / "model.safetensors").unlink()
    for name, data in pickles.items():
        (directory / f"{name}.bin").write_bytes(data)
    return directory


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_not_tensors_by_name_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"^\S*old/weights.bin cannot be converted: .*stay refused$"
    ) as refused:
        convert(source(tmp_path, weights=data), tmp_path / "new", ["weights.bin"])
    assert "\n" not in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} - {".new.lock"} == {"old"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(0, 900))
def test_no_bytes_are_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int) -> None:
    tmp_path = tmp_path_factory.mktemp("pickle")
    whole = saved(WEIGHTS)
    for content in (data, whole[:cut] + data + whole[cut + len(data) :]):
        directory = source(tmp_path / str(len(list(tmp_path.iterdir()))), weights=content)
        # bytes that were changed may mean nothing
        with contextlib.suppress(InputError):
            convert(directory, tmp_path / "new" / directory.parent.name, ["weights.bin"])


def test_several_pickles_and_a_nested_one_become_one_checkpoint(tmp_path: Path) -> None:
    shared = torch.ones(2, 3)
    directory = source(
        tmp_path,
        first=saved({"state_dict": {"model.layers.0.a.weight": shared, "lm_head.weight": shared}}),
        second=saved(WEIGHTS),
    )
    made = convert(directory, tmp_path / "new", ["first.bin", "second.bin"])
    assert {name: info.shape for name, info in check_checkpoint(made.directory).tensors.items()} == {
        "lm_head.weight": (2, 3),
        "model.layers.0.a.weight": (2, 3),
        "model.norm.weight": (4,),
    }
    assert json.loads((made.directory / "source.json").read_text())["converted"] == [
        "first.bin",
        "second.bin",
    ]
