"""The choice of a backend, from what trials on a machine gave."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from quantserve.rag.config import Backend, EmbeddingConfig
from quantserve.rag.embedding.backend import fingerprint, resolve
from quantserve.rag.embedding.choose import CHOICE_FILE, best_of, choose
from quantserve.rag.embedding.trial import Trial, read_trial

EXACT = Trial("onnx", 10.0, 8.0, ((1.0, 0.0), (0.0, 1.0)))
FAST = Trial("onnx-int8", 20.0, 5.0, ((1.0, 0.05), (0.05, 1.0)))
WRONG = replace(FAST, vectors=((1.0, 0.5), (0.0, 1.0)))
DEAD = Trial("onnx-int8", failure="killed by signal 4")


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([EXACT, FAST], "onnx-int8"),
        ([EXACT, WRONG], "onnx"),
        ([EXACT, replace(FAST, passages_per_s=10.5)], "onnx"),
        ([EXACT, DEAD], "onnx"),
        ([EXACT, FAST, Trial("huggingface", 90.0, 5.0, EXACT.vectors)], "huggingface"),
        ([replace(EXACT, failure="timeout"), FAST], "onnx-int8"),
        ([replace(EXACT, failure="timeout"), DEAD], "onnx"),
    ],
)
def test_the_fastest_that_agrees_is_taken(trials: list[Trial], best: Backend) -> None:
    assert best_of(trials) == best


@pytest.mark.parametrize(
    ("code", "out", "err", "failure"),
    [
        (-signal.SIGILL, "", "", "killed by signal 4"),
        (1, "", "Traceback\nImportError: no", "ImportError: no"),
        (1, "", "", "exit code 1"),
        (0, "", "", "exit code 0"),
        (0, '{"passages_per_s": 3.0, "query_ms": 9.0, "vectors": [[1.0]]}', "", ""),
    ],
)
def test_whatever_kills_a_trial_is_an_answer(code: int, out: str, err: str, failure: str) -> None:
    assert read_trial("onnx", code, out, err).failure == failure


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.onnx").write_text("graph")
    return tmp_path


def test_a_machine_is_measured_once(model: Path) -> None:
    tried: list[Backend] = []

    def try_one(_: Path, backend: Backend) -> Trial:
        tried.append(backend)
        return EXACT if backend == "onnx" else FAST

    notes: list[str] = []
    chosen = [choose(model, notes.append, try_one), choose(model, notes.append, try_one)]
    assert chosen == ["onnx-int8", "onnx-int8"]
    assert (tried, len(notes)) == (["onnx", "onnx-int8"], 1)
    (kept,) = json.loads((model / CHOICE_FILE).read_text()).values()
    assert kept["trials"]["onnx"] == {"passages_per_s": 10.0, "query_ms": 8.0}


def test_a_directory_without_a_graph_has_no_choice(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert choose(tmp_path, try_one=lambda *_: DEAD) == "huggingface"
    assert not (tmp_path / CHOICE_FILE).exists()


def test_precisions_have_fingerprints_of_their_own_and_a_derived_graph_changes_none(model: Path) -> None:
    config = EmbeddingConfig(model=model, backend="onnx")
    exact, coarse = fingerprint(config), fingerprint(replace(config, backend="onnx-int8"))
    assert exact != coarse
    (model / "model_int8.onnx").write_text("derived")
    assert fingerprint(config) == exact
    (model / "model.onnx").write_text("another graph")
    assert fingerprint(config) != exact


def test_auto_follows_the_index_before_it_measures(model: Path) -> None:
    (model / CHOICE_FILE).write_text("not json")
    auto = EmbeddingConfig(model=model)
    for backend in ("onnx", "onnx-int8"):
        made_with = fingerprint(replace(auto, backend=backend))
        assert resolve(auto, made_with).backend == backend
    assert resolve(replace(auto, backend="openai"), "other").backend == "openai"


def test_a_served_model_is_known_by_its_name(tmp_path: Path) -> None:
    config = EmbeddingConfig(model=Path("intfloat/e5"), backend="openai", base_url="http://one/v1")
    assert fingerprint(config) == fingerprint(replace(config, base_url="http://two/v1"))
    assert fingerprint(config) != fingerprint(replace(config, model=Path("other")))
