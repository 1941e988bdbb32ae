from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantserve.benchmarks.errors import BadOption, BadRun
from quantserve.benchmarks.measure.metrics import parse_slo
from quantserve.benchmarks.measure.store import MeasuredCell
from quantserve.benchmarks.peers import build_llama, commands
from quantserve.benchmarks.records import LoadCell
from quantserve.benchmarks.scenarios.batching import SlotStay, slots_of, usefulness
from quantserve.benchmarks.scenarios.quant import artifact_facts, cost_per_million, faster_where, known_pairs
from quantserve.benchmarks.servers import public
from quantserve.core.report.table import Table
from quantserve.core.speed import SpeedPair, crossover
from tests.unit.benchmarks.build import record

CELL = LoadCell("c", "s", "w", "closed:2", 0, 2, None, 0.0, 9.0, 0.1, 1, 0)


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ((1.1, 1.2), "at every concurrency"),
        ((0.9, 0.8), "nowhere"),
        ((1.01, 0.99), "nowhere"),
        ((0.5, 2.0), "from about 2 on"),
        ((3.0, 0.5), "up to about 2"),
        ((1.01, 1.3), "at 4"),
        ((), "–"),
    ],
)
def test_where_the_other_is_faster_in_words(ratios: tuple[float, ...], words: str) -> None:
    pairs = [SpeedPair(users, 10.0, 10.0 * ratio) for users, ratio in zip((1, 4), ratios, strict=False)]
    assert faster_where(pairs) == words


def test_what_is_unknown_of_one_is_left_out() -> None:
    pairs = known_pairs([1, 2, 4], [10.0, None, 10.0], [20.0, 5.0, 5.0])
    assert [pair.concurrency for pair in pairs] == [1, 4]
    assert crossover(pairs) == pytest.approx(2.0)
    assert faster_where(known_pairs([1, 4], [None, None], [10.0, 20.0])) == "–"


def test_cost_of_a_million_tokens() -> None:
    # 1,000 tokens a second are 3.6 million an hour.
    assert cost_per_million(3.6, 1000.0) == pytest.approx(1.0)
    assert cost_per_million(3.6, None) is None


def test_slots_held_for_others_are_not_at_work() -> None:
    stays = [SlotStay(0, 0.0, 10.0, 10.0), SlotStay(1, 0.0, 2.0, 10.0)]
    assert usefulness(stays, 2) == pytest.approx(0.6)


def test_continuous_requests_take_the_first_free_lane() -> None:
    records = [
        record(0.0, (1.0, 4.0), task=0),
        record(0.0, (1.0, 2.0), task=1),
        record(2.0, (3.0, 5.0), task=2),
    ]
    found = slots_of(MeasuredCell(CELL, records, [], []), 0.0)
    assert [(stay.slot, stay.began_s, stay.left_s) for stay in found] == [
        (0, 0.0, 4.0),
        (1, 0.0, 2.0),
        (1, 2.0, 5.0),
    ]


def test_slots_the_server_reports_are_taken_as_they_are() -> None:
    extra = {"slot": 3, "began_s": 101.0, "own_end_s": 102.0, "ended_s": 104.0}
    found = slots_of(MeasuredCell(CELL, [record(0.5, (4.0,), extra=extra)], [], []), 100.0)
    assert found == [SlotStay(3, 0.5, 1.5, 3.5)]


def test_an_artifact_speaks_for_itself(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "manifest.json").write_text(json.dumps({"version": "gptq-1", "bits": 4, "method": "gptq"}))
    figures = {"perplexity_ratio": {"value": 1.1, "low": 1.0, "high": 1.2}}
    (tmp_path / "report.json").write_text(json.dumps({"verdict": "ACCEPT", "figures": figures}))
    name, about = artifact_facts(tmp_path)
    assert name == "gptq-1"
    assert (about["bits"], about["weight_bytes"], about["perplexity_ratio"]) == (4, 100, 1.1)
    assert about["mean_kl"] is None


def test_a_checkpoint_has_no_quality_figures(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert artifact_facts(tmp_path) == (tmp_path.name, {"bits": 16, "weight_bytes": 0})


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRun):
        artifact_facts(tmp_path)


def test_flags_are_read_in_both_forms() -> None:
    argv = ["x", "--dtype", "float16", "--port=8000"]
    assert commands.flag(argv, "--dtype") == "float16"
    assert commands.flag(argv, "--port") == "8000"
    assert commands.flag(argv, "--seed") is None


def test_llama_is_built_without_amx() -> None:
    found = build_llama.options({"avx2", "avx512f", "amx_bf16", "amx_int8", "amx_tile"})
    assert "-DGGML_AVX512=ON" in found
    assert "-DGGML_NATIVE=OFF" in found
    assert not any("AMX" in option for option in found)


def test_slo_units() -> None:
    slo = parse_slo("ttft=500ms, tpot=0.05,e2e=10s")
    assert (slo.ttft_s, slo.tpot_s, slo.e2e_s) == (0.5, 0.05, 10.0)


@pytest.mark.parametrize("text", ["ttft", "speed=1", "ttft=fast"])
def test_a_bad_slo_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        parse_slo(text)


def test_markdown_tables_escape_bars() -> None:
    assert "a\\|b" in Table("t", ["x"], [["a|b"]]).markdown()


def test_llama_cpp_decodes_speculatively_only_when_told_to() -> None:
    plain = commands.llama_cpp("m.gguf", "m", 1, 4)
    assert "--spec-type" not in plain
    assert commands.llama_cpp("m.gguf", "m", 1, 4, "ngram-mod") == [
        *plain[:-1],
        "--spec-type",
        "ngram-mod",
        "--no-webui",
    ]


def test_what_is_shown_of_a_command_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.touch()
    words = [
        f"{Path.cwd()}/models/m",
        f"--tool={tool}",
        "http://127.0.0.1:1/v1",
        "--endpoint",
        "/v1/completions",
    ]
    assert public(words) == ["models/m", "--tool=tool", *words[2:]]
    assert public([f"python x --tool {tool} --n 3"]) == ["python x --tool tool --n 3"]
