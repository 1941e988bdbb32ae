"""The engine loads every artifact of the shapes that it has on a CPU, and computes the same model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architectures.outcomes import OK, outcomes
from tests.architectures.program import Program
from tests.architectures.served import FAR, LAYOUTS, engine, why_not
from tests.architectures.shapes import all_shapes

pytestmark = pytest.mark.architectures
EXPECTED = outcomes()
LOADED = [name for name in all_shapes() if EXPECTED[name]["engine"] == OK]
# A variant is another model in the same class: one layout of it shows whether the names fit.
ARTIFACTS = [
    (name, method)
    for name in LOADED
    for method in LAYOUTS
    if EXPECTED[name][method] == OK and (method == "int8" or name == all_shapes()[name].model_type)
]


@pytest.fixture(scope="session")
def served(quantizer: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    plain = quantizer.ask({"shape": "llama"})
    with engine(Path(plain["directory"]), tmp_path_factory.mktemp("engine") / "engine.log") as program:
        yield program


@pytest.mark.parametrize("name", all_shapes())
def test_the_engine_has_the_shape_or_not_as_the_table_says(
    quantizer: Program, served: Program, name: str
) -> None:
    expected = EXPECTED[name]["engine"]
    reason = why_not(served, quantizer.ask({"shape": name}), expected)
    if reason is None:
        # how far is far differs by processor: one may compute more closely what another does not
        assert expected in (OK, FAR)
    else:
        assert expected != OK, reason
        assert expected in reason


@pytest.mark.parametrize(("name", "method"), ARTIFACTS)
def test_the_engine_loads_what_was_made_of_a_shape_it_has_or_not_as_the_table_says(
    quantizer: Program, served: Program, tmp_path: Path, name: str, method: str
) -> None:
    kept = tmp_path / name
    made = quantizer.ask({"shape": name, "method": method, "keep": str(kept)})
    assert made["outcome"] == "ok", made
    expected = EXPECTED[name].get(f"engine {method}", OK)
    reason = why_not(served, {**made, "directory": str(kept)}, expected)
    # which processor has a kernel differs: what one does not load another may
    assert reason is None or (expected != OK and expected in reason), reason
