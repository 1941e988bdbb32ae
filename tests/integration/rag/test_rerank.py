"""Reranking: a cross-encoder made on the fly, a rerank endpoint over HTTP, and running out of time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from quantserve.rag.config import RagConfig, RerankConfig, RetrieveConfig
from quantserve.rag.errors import RerankFailed
from quantserve.rag.ingest import index_paths
from quantserve.rag.rerank.base import load_reranker, rerank_in_time
from quantserve.rag.retrieve import Searcher
from tests.integration.rag.fake_model import HashEmbedder, fake_model

TEXTS = ["the lamp", "a storm comes", "spare bulbs are kept in the cellar", "visitors on sundays", "fog"]


def tiny_cross_encoder(directory: Path) -> Path:
    """A random one-layer BERT that reads a pair and gives one score."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import set_seed

    words = sorted({word for text in TEXTS for word in text.split()} | {"where", "bulbs"})
    vocabulary = {word: row for row, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    set_seed(3)
    library: Any = transformers  # its classes are untyped
    fast = library.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    shaped = library.BertConfig(vocab_size=len(vocabulary), num_labels=1, **shape)
    model = library.BertForSequenceClassification(shaped)
    model.save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


def test_a_cross_encoder_scores_as_its_model_does_whatever_the_batches(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    directory = str(tiny_cross_encoder(tmp_path / "reranker"))
    config = RerankConfig(kind="cross-encoder", model=directory, batch=2, timeout_s=60.0)
    reranker = load_reranker(config)
    assert reranker is not None
    scores = rerank_in_time(reranker, "where bulbs", TEXTS, config)
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(directory),
        AutoTokenizer.from_pretrained(directory),
    )
    encoded = tokenizer(["where bulbs"] * len(TEXTS), TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = torch.sigmoid(model(**encoded).logits.squeeze(1)).tolist()
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len(set(scores)) == len(TEXTS)


def test_a_cross_encoder_that_is_not_there_is_said(tmp_path: Path) -> None:
    config = RerankConfig(kind="cross-encoder", model=str(tmp_path), timeout_s=60.0)
    reranker = load_reranker(config)
    assert reranker is not None
    with pytest.raises(RerankFailed, match="--rerank-model"):
        rerank_in_time(reranker, "q", TEXTS, config)


Scorer = Callable[[list[str]], object]


class RerankServer:
    """/v1/rerank: the longest text wins, once `answering` is set; `spoil` changes the answer."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.answering = threading.Event()
        self.answering.set()
        self.spoil: Scorer | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                texts = body["documents"]
                outer.batches.append(len(texts))
                outer.answering.wait(60)
                scores = enumerate(map(len, texts))
                results = [{"index": row, "relevance_score": float(score)} for row, score in scores]
                answer = outer.spoil(texts) if outer.spoil else {"results": results[::-1]}
                payload = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def server() -> Iterator[RerankServer]:
    running = RerankServer()
    threading.Thread(target=running.server.serve_forever, daemon=True).start()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def searcher(tmp_path: Path, server: RerankServer) -> Searcher:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(f"bulbs {text}")
    rerank = RerankConfig(kind="endpoint", base_url=server.url, candidates=4, batch=3)
    config = RagConfig(
        index_dir=tmp_path / "index",
        store="faiss",
        embedding=fake_model(tmp_path / "model"),
        retrieve=RetrieveConfig(mode="bm25", top_k=5, rerank=rerank),
    )
    index_paths([folder], config, load_model=HashEmbedder)
    return Searcher.open(config)


def test_the_first_candidates_are_reordered_in_batches_and_the_rest_keeps_its_place(
    searcher: Searcher, server: RerankServer
) -> None:
    plain = searcher.search("bulbs", replace(searcher.config.retrieve, rerank=RerankConfig()))
    found = searcher.find("bulbs")
    assert server.batches == [3, 1]
    assert found.notes == ()
    head = [passage.chunk.text for passage in found.passages[:4]]
    assert head == sorted((p.chunk.text for p in plain[:4]), key=len, reverse=True)
    assert [passage.rerank for passage in found.passages] == [*map(len, head), None]
    assert found.passages[4].chunk == plain[4].chunk


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda texts: {"results": [{"index": 0, "relevance_score": 1.0}]}, "1 of 3"),
        (lambda texts: {"oops": 1}, "gave no scores"),
    ],
)
def test_a_wrong_answer_leaves_the_order_and_says_so(
    searcher: Searcher, server: RerankServer, spoil: Scorer, said: str
) -> None:
    plain = searcher.search("bulbs", replace(searcher.config.retrieve, rerank=RerankConfig()))
    server.spoil = spoil
    found = searcher.find("bulbs")
    assert [p.chunk.id for p in found.passages] == [p.chunk.id for p in plain]
    assert said in found.notes[0]


def test_when_time_runs_out_the_fused_order_stands_and_the_search_says_so(
    searcher: Searcher, server: RerankServer
) -> None:
    server.answering.clear()
    options = searcher.config.retrieve
    found = searcher.find("bulbs", replace(options, rerank=replace(options.rerank, timeout_s=0.2)))
    assert not server.answering.is_set()  # it came back though the server had not answered
    server.answering.set()
    assert len(found.passages) == 5
    assert "took longer" in found.notes[0]
    assert all(passage.rerank is None for passage in found.passages)
