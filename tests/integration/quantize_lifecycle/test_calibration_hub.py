"""Calibration text from Parquet files and hub data sets, by the real `datasets` library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.fakes.hub import FakeHub
from tests.integration.quantize_lifecycle.conftest import Program

LOAD = """
import json
from pathlib import Path
from quantserve.core.errors import QuantserveError
from quantserve.quantize.calibration.sources import load_text
from quantserve.quantize.config import CalibrationOptions

def loaded(sources):
    options = CalibrationOptions(tuple(sources), sequences=4, sequence_tokens=64)
    try:
        text = load_text(options, Path("model"), Path("run"))
    except QuantserveError as error:
        return {{"error": str(error)}}
    parts = [part.model_dump() for part in text.parts]
    return {{"documents": text.documents, "parts": parts, "source": text.source}}

print(json.dumps([loaded(sources) for sources in {calls!r}]))
"""
PARQUET = """
import json, pyarrow, pyarrow.parquet
rows = {rows!r}
pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), {path!r})
print(json.dumps({{}}))
"""
CHAT = [{"role": "user", "content": "질문입니다"}, {"role": "assistant", "content": "대답입니다"}]


@pytest.fixture
def load(program: Program) -> Any:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (program.path / "model").mkdir()
    tokenizer.save(str(program.path / "model" / "tokenizer.json"))
    return lambda *calls: program.python(LOAD.format(calls=calls))


def parquet(program: Program, name: str, rows: list[dict[str, Any]]) -> Path:
    path = program.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    program.python(PARQUET.format(rows=rows, path=str(path)))
    return path


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def numbered(word: str, count: int = 40) -> list[str]:
    return [f"{word} {i} " + " ".join(f"{word}{i}x{j}" for j in range(20)) for i in range(count)]


def test_parquet_text_and_chats_are_read(program: Program, load: Any) -> None:
    parquet(program, "rows/a.parquet", [{"id": 1, "text": "첫째 글"}, {"id": 2, "text": None}])
    parquet(program, "rows/b.parquet", [{"messages": CHAT}])
    [loaded] = load(["rows"])
    assert sorted(loaded["documents"], key=str) == sorted(["첫째 글", CHAT], key=str)


def test_a_parquet_column_is_named_or_asked_for(program: Program, load: Any) -> None:
    parquet(program, "a.parquet", [{"id": 1, "body": "글"}])
    (program.path / "cut.parquet").write_bytes((program.path / "a.parquet").read_bytes()[:-9])
    asked = ["a.parquet?column=body", "a.parquet", "a.parquet?column=id", "cut.parquet?column=body"]
    named, unnamed, number, cut = load(*([source] for source in asked))
    assert named["documents"] == ["글"]
    assert "has no column text or messages; it has id, body" in unnamed["error"]
    assert "column id holds neither text" in number["error"]
    assert "is not a whole Parquet file" in cut["error"]


def test_a_hub_data_set_is_drawn_recorded_and_remembered(hub: FakeHub, load: Any) -> None:
    texts = numbered("말")
    rows = jsonl([{"body": text} for text in texts])
    commit = hub.put("datasets", "owner/name", {"train.jsonl": rows, "test.jsonl": rows[:100]})
    asked = ["owner/name?column=body:2", "corpus:1"]

    [first] = load(asked)
    [part, *_] = first["parts"]
    assert (part["source"], part["weight"], part["revision"]) == ("owner/name?column=body", 0.666667, commit)
    assert commit[:12] in first["source"]
    assert 5 < sum(document in texts for document in first["documents"]) == part["documents"]

    hub.requests.clear()
    assert load(asked) == [first]
    assert [path for _, path in hub.requests] == ["/api/datasets/owner/name"], "the text itself is cached"

    hub.put("datasets", "owner/name", {"train.jsonl": jsonl([{"body": text} for text in numbered("새")])})
    [changed] = load(asked)
    assert changed["parts"][0]["sha256"] != part["sha256"]


def test_a_pinned_data_set_needs_no_hub_the_second_time(hub: FakeHub, load: Any) -> None:
    commit = hub.put("datasets", "o/d", {"train.jsonl": jsonl([{"text": text} for text in numbered("말")])})
    first = load([f"o/d@{commit}"])
    hub.repositories.clear()
    hub.requests.clear()
    assert load([f"o/d@{commit}"]) == first
    assert hub.requests == []


def test_known_data_sets_have_their_names(program: Program, hub: FakeHub, load: Any) -> None:
    source = parquet(program, "k.parquet", [{"context": text} for text in numbered("문단")])
    hub.put("datasets", "klue/klue", {"mrc/train-0.parquet": source.read_bytes(), "README.md": KLUE})
    lines = ["", " = Title = \n", *numbered("line")]
    source = parquet(program, "w.parquet", [{"text": line} for line in lines])
    hub.put(
        "datasets",
        "Salesforce/wikitext",
        {"wikitext-2-raw-v1/train-0.parquet": source.read_bytes(), "README.md": WIKITEXT},
    )
    [loaded] = load(["klue:1", "wikitext:1"])
    assert [part["source"] for part in loaded["parts"]] == ["klue", "wikitext"]
    assert all("문단" in document or "line" in document for document in loaded["documents"])
    joined = [document for document in loaded["documents"] if "line" in document]
    assert joined
    assert all(document.count("\n") > 3 for document in joined), "lines are joined to documents"


def test_what_a_data_set_does_not_have_is_said(hub: FakeHub, load: Any) -> None:
    hub.put("datasets", "o/d", {"train.jsonl": jsonl([{"id": 1, "text": "x"}])})
    expected = {
        "o/absent": "The hub has no data set o/absent",
        "o/d@v9": "not in that revision",
        "o/d?split=nope": "Available splits: ['train']",
        "o/d?config=nope": "'nope' not found",
        "o/d?column=nope": "its columns are id, text",
    }
    for loaded, message in zip(load(*([source] for source in expected)), expected.values(), strict=True):
        assert message in loaded["error"]


KLUE = b"""---
configs:
- config_name: mrc
  data_files:
  - split: train
    path: mrc/train-*
---
"""
WIKITEXT = KLUE.replace(b"mrc", b"wikitext-2-raw-v1")
