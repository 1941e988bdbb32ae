"""Which of a directory's files are the model, however they are named and whatever lies beside them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantserve.core.checkpoints import (
    artifact_name,
    find_weights,
    hub_id,
    model_id,
    model_name,
    tensor_infos,
)
from quantserve.core.errors import InputError, UsageError
from tests.unit.quantize.checkpoints import safetensors_bytes

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def write(directory: Path, files: dict[str, list[str]], index: dict[str, str] | None = None) -> Path:
    """Write safetensors files with these tensors, and an index of the standard name."""
    for name, tensors in files.items():
        (directory / name).write_bytes(safetensors_bytes(dict.fromkeys(tensors, (2,))))
    if index is not None:
        (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return directory


def names(directory: Path, config: dict[str, Any] | None = None) -> tuple[list[str], list[str], list[str]]:
    """The model's files, its tensors, and the foreign files."""
    weights = find_weights(directory, config or {})
    tensors = sorted(tensor_infos(weights))
    return [p.name for p in weights.files], tensors, [p.name for p in weights.foreign]


def test_an_index_decides_what_belongs(tmp_path: Path) -> None:
    write(tmp_path, {ONE: ["a"], TWO: ["b"], "consolidated.safetensors": ["a", "x"]}, {"a": ONE, "b": TWO})
    assert names(tmp_path) == ([ONE, TWO], ["a", "b"], ["consolidated.safetensors"])


@pytest.mark.parametrize("stray", ["consolidated.safetensors", "adapter_model.safetensors", "a.safetensors"])
def test_the_standard_name_needs_no_index(tmp_path: Path, stray: str) -> None:
    write(tmp_path, {"model.safetensors": ["a"], stray: ["a", "x"]})
    assert names(tmp_path) == (["model.safetensors"], ["a"], [stray])


def test_the_config_may_name_a_file(tmp_path: Path) -> None:
    write(tmp_path, {"weights.safetensors": ["a"], "model.safetensors": ["x"]})
    found = names(tmp_path, {"transformers_weights": "weights.safetensors"})
    assert found == (["weights.safetensors"], ["a"], ["model.safetensors"])


def test_the_config_may_name_an_index(tmp_path: Path) -> None:
    write(tmp_path, {ONE: ["a"], TWO: ["b"]}, {"a": ONE, "b": TWO})
    (tmp_path / INDEX).rename(tmp_path / "own.safetensors.index.json")
    found = names(tmp_path, {"transformers_weights": "own.safetensors.index.json"})
    assert found == ([ONE, TWO], ["a", "b"], [])


def test_a_file_alone_may_have_any_name(tmp_path: Path) -> None:
    write(tmp_path, {"gptq_model-4bit-128g.safetensors": ["a"]})
    assert names(tmp_path)[0] == ["gptq_model-4bit-128g.safetensors"]


def test_an_index_alone_may_have_any_name(tmp_path: Path) -> None:
    one, two = "gptq_model-4bit-00001-of-00002.safetensors", "gptq_model-4bit-00002-of-00002.safetensors"
    write(tmp_path, {one: ["a"], two: ["b"], "other.safetensors": ["x"]}, {"a": one, "b": two})
    (tmp_path / INDEX).rename(tmp_path / "gptq_model-4bit.safetensors.index.json")
    assert names(tmp_path) == ([one, two], ["a", "b"], ["other.safetensors"])


def test_a_whole_numbered_set_needs_no_index(tmp_path: Path) -> None:
    write(tmp_path, {ONE: ["a"], TWO: ["b"]})
    assert names(tmp_path) == ([ONE, TWO], ["a", "b"], [])


@pytest.mark.parametrize(
    ("files", "index", "config", "found"),
    [
        ({"model.safetensors": ["a"]}, None, {}, True),
        ({ONE: ["a"], TWO: ["b"]}, {"a": ONE, "b": TWO}, {}, True),
        ({"x.safetensors": ["a"]}, None, {"transformers_weights": "x.safetensors"}, True),
        ({"x.safetensors": ["a"]}, None, {}, False),
        ({ONE: ["a"], TWO: ["b"]}, None, {}, False),
    ],
)
def test_transformers_finds_the_standard_names_alone(
    tmp_path: Path, files: dict[str, list[str]], index: Any, config: dict[str, Any], found: bool
) -> None:
    assert find_weights(write(tmp_path, files, index), config).found_by_transformers is found


def test_a_tensor_in_two_shards_is_read_from_the_one_that_the_index_names(tmp_path: Path) -> None:
    write(tmp_path, {ONE: ["a", "tied"], TWO: ["b", "tied"]}, {"a": ONE, "b": TWO, "tied": TWO})
    weights = find_weights(tmp_path, {})
    assert (weights.holds(tmp_path / ONE, "tied"), weights.holds(tmp_path / TWO, "tied")) == (False, True)
    assert sorted(tensor_infos(weights)) == ["a", "b", "tied"]


REFUSED: dict[str, tuple[dict[str, list[str]], Any, dict[str, Any], str]] = {
    "nothing": ({}, None, {}, r"holds no \*\.safetensors"),
    "a named shard is missing": ({ONE: ["a"]}, {"a": ONE, "b": TWO}, {}, rf"incomplete: {TWO}.*is missing"),
    "a numbered shard is missing": ({TWO: ["b"]}, None, {}, rf"incomplete: {ONE} is missing"),
    "several files and no index": (
        {"a.safetensors": ["a"], "b.safetensors": ["b"]},
        None,
        {},
        "no model.safetensors.index",
    ),
    "two sets and no index": (
        {ONE: ["a"], TWO: ["b"], "x-00001-of-00001.safetensors": ["x"]},
        None,
        {},
        "which are the model",
    ),
    "a tensor twice and no index": ({ONE: ["a"], TWO: ["a"]}, None, {}, "'a' in two files"),
    "the standard name and an index of others": (
        {"model.safetensors": ["a"], ONE: ["a"]},
        {"a": ONE},
        {},
        "would read the one, the engine the others",
    ),
    "a tensor the index does not name": (
        {ONE: ["a", "x"]},
        {"a": ONE},
        {},
        "holds 'x', which the index does not name",
    ),
    "a tensor that is not there": ({ONE: ["a"]}, {"a": ONE, "b": ONE}, {}, "lacks 'b', which the index says"),
    "an index of nothing": ({ONE: ["a"]}, {}, {}, "has no weight_map"),
    "an index of numbers": ({ONE: ["a"]}, {"a": 1}, {}, "names '1' for 'a'"),
    "an index that leaves the folder": (
        {ONE: ["a"]},
        {"a": "../x.safetensors"},
        {},
        "no safetensors file beside it",
    ),
    "an index of pickles": ({ONE: ["a"]}, {"a": "model.bin"}, {}, "no safetensors file beside it"),
    "a config that names nothing there": (
        {ONE: ["a"]},
        None,
        {"transformers_weights": "x.safetensors"},
        "which is missing",
    ),
    "a config that leaves the folder": (
        {ONE: ["a"]},
        None,
        {"transformers_weights": "../x.safetensors"},
        "no safetensors file",
    ),
    "a config that names no file": (
        {ONE: ["a"]},
        None,
        {"transformers_weights": 5},
        "names '5' as its weights",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    files, index, config, message = REFUSED[case]
    write(tmp_path, files, index)
    with pytest.raises(InputError, match=message) as caught:
        names(tmp_path, config)
    assert caught.value.mend
    assert "\n" not in str(caught.value)


STRAYS = st.dictionaries(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}\.safetensors", fullmatch=True).filter(
        lambda n: n not in (ONE, TWO, "model.safetensors")
    ),
    st.one_of(st.binary(max_size=20), st.just(safetensors_bytes({"a": (2,), "stray": (2,)}))),
    max_size=3,
)


@given(STRAYS)
def test_no_stray_file_of_any_name_or_content_enters_an_indexed_checkpoint(strays: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = write(Path(folder), {ONE: ["a"], TWO: ["b"]}, {"a": ONE, "b": TWO})
        for name, data in strays.items():
            (directory / name).write_bytes(data)
        assert names(directory) == ([ONE, TWO], ["a", "b"], sorted(strays))


@pytest.mark.parametrize(
    ("path", "name", "identity"),
    [
        (
            "models--HuggingFaceTB--SmolLM2-135M/snapshots/12fd25f77366fa6b3b4b768ec3050bf629380bac",
            "SmolLM2-135M",
            "HuggingFaceTB/SmolLM2-135M",
        ),
        ("models--gpt2/snapshots/607a30d783dfa663caf39e06633721c8d4cfcd7e", "gpt2", "gpt2"),
        ("models--owner--a-b_c.d", "a-b_c.d", "owner/a-b_c.d"),
        ("my-model", "my-model", "my-model"),
        ("snapshots/abc", "abc", "abc"),
    ],
)
def test_a_model_is_called_after_its_repository_or_folder(
    tmp_path: Path, path: str, name: str, identity: str
) -> None:
    (tmp_path / path).mkdir(parents=True)
    assert (model_name(tmp_path / path), model_id(tmp_path / path)) == (name, identity)


def test_a_link_to_a_snapshot_is_still_the_repositorys(tmp_path: Path) -> None:
    (tmp_path / "models--o--m/snapshots/abc").mkdir(parents=True)
    (tmp_path / "here").symlink_to("models--o--m/snapshots/abc")
    assert hub_id(tmp_path / "here") == "o/m"


@pytest.mark.parametrize(
    "given_name", ["", ".", "..", ".hidden", "a/b", "../x", "a\\b", "current", "previous", "-x", "a\nb"]
)
def test_a_name_that_is_no_folder_below_artifacts_is_refused(tmp_path: Path, given_name: str) -> None:
    with pytest.raises(UsageError, match="cannot be an artifact's name"):
        artifact_name(given_name, tmp_path)


def test_a_name_may_be_given_in_any_script(tmp_path: Path) -> None:
    assert artifact_name("모델-1", tmp_path) == "모델-1"
