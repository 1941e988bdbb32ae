from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import ProfileError
from serving.profiles import load_profile, profile_names


def write(directory: Path, text: str) -> str:
    path = directory / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_three_first_profiles_are_there_and_valid() -> None:
    assert {"cpu", "gpu-latency", "gpu-throughput"} <= set(profile_names())
    assert all(load_profile(name).description for name in profile_names())


def test_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(ProfileError, match="Did you mean 'gpu-latency'"):
        load_profile("gpu-latncy")


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "description: x\ndevice: cpu\nmax_sequenses: 3\n")
    with pytest.raises(ProfileError, match=r"unknown key 'max_sequenses'\. Did you mean 'max_sequences'"):
        load_profile(path)


def test_unknown_nested_key_names_the_nearest_of_its_level(tmp_path: Path) -> None:
    path = write(tmp_path, "description: x\ndevice: cpu\nkv:\n  max_gb: 3\n")
    with pytest.raises(ProfileError, match=r"unknown key 'kv\.max_gb'\. Did you mean 'max_gib'"):
        load_profile(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("description: x\ndevice: tpu\n", "device"),
        ("description: x\ndevice: cpu\nmax_sequences: none\n", "max_sequences"),
        ("description: x\ndevice: cpu\nkv:\n  memory_fraction: 2\n", "kv.memory_fraction"),
        ("device: cpu\n", "description"),
        ("- a\n", "the file"),
        ("a: [\n", "is not YAML"),
        ("", "the file"),
    ],
)
def test_wrong_values_name_their_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        load_profile(write(tmp_path, text))


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no profile file"):
        load_profile(str(tmp_path / "absent.yaml"))
