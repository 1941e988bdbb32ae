"""The retrieval benchmark's arithmetic."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quantserve.benchmarks.measure.store import Run
from quantserve.benchmarks.report.documents import chapter, write_documents
from quantserve.benchmarks.scenarios.rag.corpus import exact_neighbours, made_vectors, measure_corpus
from quantserve.benchmarks.scenarios.rag.retrieval import search_table, sections, target_rows, targets_met
from tests.programs import ROOT

EMBEDDING = {"chosen": "onnx-int8", "backends": {"onnx-int8": {"passages_per_s": 21.0, "query_ms_p50": 11.0}}}
SEARCH = {
    "vectors": 1000,
    "kind": "IndexIVFFlat",
    "build_s": 1.0,
    "seconds": [0.001, 0.001, 0.001, 0.002, 0.009, 0.009, 0.009],
    "recall_at_10": 0.94,
    "peak_bytes": 1 << 30,
}


def test_targets_are_judged_by_the_backend_used_and_the_largest_corpus() -> None:
    found = {"embedding": EMBEDDING, "search": [{**SEARCH, "recall_at_10": 1.0}, SEARCH]}
    assert targets_met(found) == {
        "passages_per_s": True,
        "query_ms": False,
        "search_ms": True,
        "recall_at_10": False,
        "memory_bytes": True,
    }
    assert [yes for _, _, yes in target_rows(found)] == ["yes", "NO", "yes", "NO", "yes"]
    assert search_table([SEARCH]).rows[0][:2] == ["1,000", "IVFFlat"]
    assert targets_met({}) == {}


def test_a_median_of_too_few_searches_meets_no_target() -> None:
    assert targets_met({"search": [{**SEARCH, "seconds": [0.001] * 5}]})["search_ms"] is False


def test_exact_neighbours_across_blocks_are_those_of_a_full_sort() -> None:
    vectors = np.vstack(list(made_vectors(150_000, 8, 3)))
    queries = next(made_vectors(2, 8, 4))
    expected = [set(np.argsort(-(vectors @ query))[:10].tolist()) for query in queries]
    assert exact_neighbours(vectors, queries) == expected


def test_a_flat_corpus_is_found_whole() -> None:
    found = measure_corpus(2_000, 16, 20, 0)
    assert (found["kind"], found["recall_at_10"], len(found["seconds"])) == ("IndexFlatIP", 1.0, 20)
    assert found["peak_bytes"] > found["bytes"]


@pytest.mark.parametrize(("other_s", "codes"), [(0.1, []), (9.0, ["busy_machine"])])
def test_a_run_without_requests_is_judged_by_what_the_machine_did(
    tmp_path: Path, other_s: float, codes: list[str]
) -> None:
    run = Run.create(
        tmp_path, "retrieval", {"title": "T", "command": f"python {ROOT}/x"}, {"cpu": {"cores": 2}}
    )
    clock = {"cpu_s": 0.0, "machine_steal_s": 0.0}
    before = {**clock, "t_s": 0.0, "wall_s": 0.0, "machine_cpu_s": 0.0, "own_cpu_s": 0.0}
    after = {**clock, "t_s": 10.0, "wall_s": 10.0, "machine_cpu_s": 8.0 + other_s, "own_cpu_s": 8.0}
    run.put_extra({"search": [SEARCH], "parts": {"1,000 vectors": [before, after]}})
    metrics, own = write_documents(run, sections)
    assert [reason["code"] for reason in metrics["verdict"]["reasons"]] == codes
    assert metrics["verdict"]["valid"] is not bool(codes)
    assert [section.title for section in own] == ["Search", "Targets"]
    written = chapter(run, sections)
    assert "| 1,000 vectors: recall@10 0.95 | 0.940 | NO |" in written
    assert "\npython x\n" in written  # no path of the machine


def test_a_corpus_is_measured_without_what_its_index_does_not_need() -> None:
    """Its process's memory is one of the figures."""
    code = "import sys, quantserve.benchmarks.scenarios.rag.corpus; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
