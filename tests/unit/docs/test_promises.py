"""What the documents promise, where a test can hold it: what is there, and the numbers of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quantserve import deploy
from quantserve.benchmarks.errors import NotKnown, NotValid
from quantserve.benchmarks.measure.validity import ValidityLimits
from quantserve.benchmarks.scenarios import guard, serving
from quantserve.benchmarks.scenarios.rag.retrieval import TARGETS
from quantserve.core.stats import QUANTILES, effective_count, needed
from quantserve.rag.config import AnswerConfig, CacheConfig, RetryConfig
from tests.programs import ROOT
from tests.unit.docs.texts import DOCUMENTS, SAMPLES, name

NOT_THERE = re.compile(
    r"kubernetes|쿠버네티스|helm|compose\b|systemd|docker|dockerfile|kustomize|on a cluster", re.I
)
DENIAL = re.compile(r"\b(?:no|not|own|without)\b", re.I)
DEPLOYMENT = ROOT / "samples/documents/deployment.md"


def test_only_one_machine_is_deployed_to() -> None:
    """When this fails because there is more, the sentences that deny it have become false."""
    assert {path.name for path in (ROOT / "deploy").iterdir() if path.is_dir()} - {"__pycache__"} == {"local"}
    assert "one machine" in str(deploy.__doc__)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_what_is_not_there_is_named_only_to_say_so(path: Path) -> None:
    for sentence in re.split(r"(?<=[.;|])\s|\n", path.read_text(encoding="utf-8")):
        if NOT_THERE.search(sentence):
            assert DENIAL.search(sentence), sentence


@pytest.mark.parametrize("path", [path for path in SAMPLES if path != DEPLOYMENT], ids=name)
def test_the_sample_documents_do_not_describe_what_is_not_there(path: Path) -> None:
    assert NOT_THERE.findall(path.read_text(encoding="utf-8")) in ([], ["Docker"])


def test_the_sample_deployment_guide_begins_with_what_is_there() -> None:
    first = DEPLOYMENT.read_text(encoding="utf-8").split("\n\n")[1]
    assert (
        "systemd 유닛, 컨테이너 이미지, Compose 파일, Helm 차트는 아직 quantserve에 들어 있지 않다." in first
    )


@pytest.mark.parametrize("folder", ["core", "quantize", "serving", "rag", "benchmarks", "deploy"])
def test_the_code_promises_nothing_that_is_not_there(folder: str) -> None:
    word = re.compile(r"kubernetes|helm chart|systemd|docker\b", re.I)
    found = [path for path in (ROOT / folder).rglob("*.py") if word.search(path.read_text(encoding="utf-8"))]
    assert found == []


def page(file: str) -> str:
    return (ROOT / "docs" / file).read_text(encoding="utf-8")


def test_the_counts_that_percentiles_take_are_the_codes() -> None:
    p50, p90, p95, p99 = (needed(q) for q in QUANTILES.values())
    assert f"p50 takes {p50} requests, p90 {p90}, p95 {p95} and p99 {p99}" in page("benchmarks.md")
    metrics = (ROOT / "samples/documents/metrics.md").read_text(encoding="utf-8")
    assert f"p50은 {p50}개, p90은 {p90}개, p95는 {p95}개, p99는 {p99}개부터" in metrics
    assert effective_count([], 0.5) == 0


def test_the_verdicts_exit_codes_are_the_codes() -> None:
    for text, code in (("NOT VALID", NotValid.exit_code), ("NOT KNOWN", NotKnown.exit_code)):
        assert f"| {text} | {code} |" in page("benchmarks.md")
    assert f"| {NotValid.exit_code}, {NotKnown.exit_code} | a benchmark's figures" in page("architecture.md")


def test_every_code_of_the_verdict_is_explained() -> None:
    source = "".join(
        (ROOT / "benchmarks" / file).read_text() for file in ("measure/validity.py", "measure/analysis.py")
    )
    codes = re.findall(r"(?:Reason|unknown)\(\s*\"([a-z_]+)\"", source)
    assert len(set(codes)) > 12
    assert [code for code in codes if f"`{code}`" not in page("benchmarks.md")] == []


@pytest.mark.parametrize(
    "sentence",
    [
        f"changed by more than {ValidityLimits.throughput_change * 100:.0f} % from the first half",
        f"other programs took more than {ValidityLimits.other_cpu_share * 100:.0f} % of the machine's cores, "
        f"or the host more than {ValidityLimits.steal_share * 100:.0f} %",
        f"ran late more than {ValidityLimits.late_share * 100:.0f} % of the time",
        f"exit code 1 below {serving.ServingOptions.heavy_ratio:g} × at 32 users",
    ],
)
def test_the_benchmarks_limits_are_the_codes(sentence: str) -> None:
    assert sentence in page("benchmarks.md")


def test_the_targets_are_the_codes() -> None:
    cost = guard.GuardOptions()
    assert f"above {cost.median_s * 1e3:g} ms at the median or {cost.p99_s * 1e3:g} ms at p99" in page(
        "guard.md"
    )
    below = f"below {TARGETS.passages_per_s:.0f} passages a second, above {TARGETS.query_ms:.0f} ms a query"
    assert below in page("retrieval.md")


@pytest.mark.parametrize(
    "sentence",
    [
        f"{RetryConfig.attempts} requests at most",
        f"A `Retry-After` above {RetryConfig.max_wait_s:g} s is an error at once",
        f"Connecting may take {AnswerConfig.connect_timeout_s:g} s, silence "
        f"{AnswerConfig.read_timeout_s:g} s, a whole answer {AnswerConfig.total_timeout_s:g} s",
        f"After {RetryConfig.breaker_failures} failures in a row the server is left alone for "
        f"{RetryConfig.breaker_reset_s:g} s",
        f"At most {CacheConfig.max_entries:,} answers, {CacheConfig.max_bytes >> 20} MiB, "
        f"{CacheConfig.max_age_s / 86400:g} days",
        f"(cosine ≥ {CacheConfig.min_similarity:g})",
    ],
)
def test_the_defaults_of_answers_are_the_codes(sentence: str) -> None:
    assert sentence in page("rag-answers.md")


def test_no_percentile_of_too_few_requests_stands_in_the_results() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| (?:closed|poisson):\S+ \| (\d+) \|.*\| (\S+) \|$", page("results.md"), re.M
    )
    assert len(rows) > 80
    assert [row for row in rows if int(row[0]) < needed(0.95) and row[1] != "–"] == []


def test_runs_attached_to_a_running_server_are_not_called_valid() -> None:
    """Their records hold nothing of the server's processor time."""
    for chapter in re.split(r"(?m)^## ", page("results.md"))[1:]:
        if re.search(r"benchmarks (?:latency|crosscheck)", chapter):
            assert "Verdict: **not known** (how busy other programs kept the machine" in chapter
