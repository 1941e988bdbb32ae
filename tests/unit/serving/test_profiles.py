from __future__ import annotations

from pathlib import Path

import pytest

from quantserve.serving.errors import ProfileError
from quantserve.serving.profiles import load_profile, profile_names


@pytest.fixture(autouse=True)
def nothing_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder of its own: what was tuned in the developer's is no part of the program."""
    monkeypatch.chdir(tmp_path)


def write(directory: Path, text: str) -> str:
    path = directory / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


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


def test_all_profiles_of_the_specification_are_there_and_valid() -> None:
    assert set(profile_names()) == {
        "cpu",
        "cpu-compiled",
        "cpu-latency",
        "cpu-speculative",
        "cpu-throughput",
        "gpu-latency",
        "gpu-throughput",
        "multi-gpu",
        "70b-awq",
        "embedding",
        "rerank",
        "transcription",
        "classification",
    }


def test_documentations_table_is_what_the_files_say() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/serving.md").read_text(encoding="utf-8")
    table = text.partition("<!-- profiles -->")[2].partition("<!-- /profiles -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{name}` | {p.task} | {p.device} | {p.tensor_parallel} | {p.max_sequences} "
        f"| {p.max_batched_tokens} | {p.max_requests} |"
        for name, p in ((name, load_profile(name)) for name in profile_names())
    ]


def test_documentations_example_is_a_valid_profile(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/serving.md").read_text(encoding="utf-8")
    profile = load_profile(write(tmp_path, text.partition("```yaml\n")[2].partition("```")[0]))
    assert profile.lora.adapters == {"legal": tmp_path / "adapters/legal"}
    assert profile.vllm == {"long-prefill-token-threshold": 1024}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lora: {adapter: {}}", r"unknown key 'lora\.adapter'\. Did you mean 'adapters'"),
        ("speculation: {method: ngram, token: 3}", r"'speculation\.token'\. Did you mean 'tokens'"),
        ("tensor_paralel: 2", "Did you mean 'tensor_parallel'"),
        ("tensor_parallel: 0", "tensor_parallel"),
        ("speculation: {method: medusa}", r"speculation\.method"),
        ("task: chat", "task"),
    ],
)
def test_wrong_keys_of_the_new_sections(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        load_profile(write(tmp_path, f"description: x\ndevice: cpu\n{text}\n"))


def test_a_profile_extends_another_entry_by_entry(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "ours.yaml").write_text(
        "extends: cpu\nkv: {max_gib: 2}\nenvironment: {A: '1'}\nlora: {adapters: {legal: adapters/legal}}\n",
        encoding="utf-8",
    )
    text = "extends: base/ours.yaml\ndescription: mine\nkv: {memory_fraction: 0.25}\nenvironment: {B: '2'}\n"
    mine, cpu = load_profile(write(tmp_path, text)), load_profile("cpu")
    assert (mine.description, mine.device, mine.max_requests) == ("mine", "cpu", cpu.max_requests)
    assert (mine.kv.max_gib, mine.kv.memory_fraction) == (2, 0.25)
    assert mine.kv.tokens_per_sequence == cpu.kv.tokens_per_sequence
    assert mine.environment == {"A": "1", "B": "2"}
    assert mine.lora.adapters == {"legal": tmp_path / "base/adapters/legal"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: gpu-latncy", "Did you mean 'gpu-latency'"),
        ("extends: absent.yaml", "no profile file"),
        ("extends: mine.yaml", "leads back to"),
        ("extends: [cpu]", "one name or path"),
        ("extend: cpu", "Did you mean 'extends'"),
        ("extends: cpu\nkv: {max_gb: 1}", r"unknown key 'kv\.max_gb'\. Did you mean 'max_gib'"),
    ],
)
def test_what_cannot_be_extended_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        load_profile(write(tmp_path, text))
