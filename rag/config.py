"""Every option of retrieval and its default; the command line and the docs read them from here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from quantserve.core.checked import Checked, Range
from quantserve.core.errors import UsageError
from quantserve.core.home import generated

RetrieveMode = Literal["hybrid", "hybrid-rrf", "dense", "bm25"]
RerankKind = Literal["off", "cross-encoder", "endpoint"]
AnswerMode = Literal["auto", "generate", "extract"]
Backend = Literal["auto", "onnx", "onnx-int8", "huggingface", "openai"]
_EMBEDDING_MODEL = generated("models/multilingual-e5-small")
_INDEX = generated("run/index")
SplitMethod = Literal["sentence", "characters"]

Count = Annotated[int, Range(1)]
CountOrNone = Annotated[int, Range(0)]
Seconds = Annotated[float, Range(above=0)]
SecondsOrNone = Annotated[float, Range(0)]
Factor = Annotated[float, Range(above=0)]
Cosine = Annotated[float, Range(-1, 1)]
MOST_PASSAGES = 10_000
"""Most passages one search returns or looks at."""
Passages = Annotated[int, Range(1, MOST_PASSAGES)]
_LANGUAGES = ("en", "ko")


@dataclass(frozen=True)
class EmbeddingConfig(Checked):
    """Which model embeds, and how much at once."""

    model: Path = _EMBEDDING_MODEL
    backend: Backend = "auto"
    batch_tokens: Count = 4096
    """huggingface: padded tokens in one batch; texts of like length share a batch."""
    query_prefix: str = "query: "
    passage_prefix: str = "passage: "
    base_url: str = field(
        default_factory=lambda: os.environ.get("EMBED_BASE_URL", "http://127.0.0.1:8000/v1"), repr=False
    )
    """openai: the server whose /embeddings is asked for the model named `model`."""
    api_key: str = field(default_factory=lambda: os.environ.get("EMBED_API_KEY", "not-needed"), repr=False)
    batch_texts: Count = 64
    """openai: texts in one request."""
    timeout_s: Seconds = 60.0
    """openai: for one request."""
    max_retries: CountOrNone = 5
    """openai: after connection errors, 429 and 5xx; by the client's own backoff, obeying Retry-After."""


@dataclass(frozen=True)
class SplitConfig(Checked):
    """How sections become chunks."""

    method: SplitMethod = "sentence"
    chunk_tokens: Count = 256
    """Largest chunk by sentence, in tokens of the embedding model, and how much of it comes again."""
    overlap_tokens: CountOrNone = 32
    chunk_characters: Count = 1000
    """The same where the method is characters."""
    overlap_characters: CountOrNone = 200

    def __post_init__(self) -> None:
        """Check the fields, and that neighbours do not share a whole chunk.

        Raises:
            UsageError: a value is wrong.
        """
        super().__post_init__()
        if self.overlap >= self.size:
            raise UsageError(
                f"an overlap of {self.overlap} leaves nothing new in a chunk of {self.size}",
                mend="Choose an overlap smaller than the chunk",
            )

    @property
    def size(self) -> int:
        """Largest chunk, in the method's unit."""
        return self.chunk_tokens if self.method == "sentence" else self.chunk_characters

    @property
    def overlap(self) -> int:
        """What two neighbours share at most, in the method's unit."""
        return self.overlap_tokens if self.method == "sentence" else self.overlap_characters


SPLIT_PRESETS = {
    "sentence": SplitConfig(),
    "characters-500": SplitConfig("characters", chunk_characters=500, overlap_characters=50),
    "characters-1000": SplitConfig("characters", chunk_characters=1000, overlap_characters=200),
}
"""What `--split` names."""


@dataclass(frozen=True)
class FetchConfig(Checked):
    """Which web pages may be read, and how much of them."""

    allow_hosts: tuple[str, ...] = ()
    """Host names; `*.example.com` stands for all below example.com. Nothing is fetched from others."""
    max_bytes: Count = 10 << 20
    timeout_s: Seconds = 20.0
    """From the first connection to the last byte, redirects included."""
    max_redirects: CountOrNone = 5


@dataclass(frozen=True)
class ReadConfig(Checked):
    """What reading one file may take; one that takes more is named and left out, the others are not."""

    memory_bytes: Count = 1 << 30
    """Memory of the process that reads, above what it had before the file."""
    cpu_s: Seconds = 60.0
    """Processor time for any file, and above it for each MiB of it."""
    cpu_s_per_mib: SecondsOrNone = 4.0
    splitting_factor: Factor = 2.0
    """Processor time for splitting a file and analysing its words, as a multiple of that for reading it."""
    wall_factor: Factor = 10.0
    """Longest wait for a file, as a multiple of its processor time: for what waits and never ends."""

    def reading_s(self, size_bytes: int) -> float:
        """Processor time that reading a file of this size may take."""
        return self.cpu_s + self.cpu_s_per_mib * size_bytes / (1 << 20)

    def splitting_s(self, size_bytes: int) -> float:
        """Processor time that splitting it may take."""
        return self.splitting_factor * self.reading_s(size_bytes)


@dataclass(frozen=True)
class RerankConfig(Checked):
    """A second look at the best passages by a model that reads question and passage together."""

    kind: RerankKind = "off"
    model: str = ""
    """cross-encoder: a directory or hub id; endpoint: the name the server knows it by."""
    base_url: str = "http://127.0.0.1:8000/v1"
    """endpoint: where /rerank is."""
    api_key: str = ""
    candidates: Passages = 20
    """Passages that are reranked; what lies behind them keeps its order."""
    batch: Count = 8
    max_tokens: Count = 512
    timeout_s: Seconds = 5.0
    """All batches together; when it passes the order from before stands."""


@dataclass(frozen=True)
class RetrieveConfig(Checked):
    """How passages are found."""

    mode: RetrieveMode = "hybrid"
    """hybrid: cosine and BM25 joined by their scores; hybrid-rrf: by their ranks; or one of the two alone.
    docs/retrieval.md has what each found on the evaluation set."""
    top_k: Passages = 4
    candidates: Passages = 50
    """Passages each ranking hands to the fusion, to MMR and to the reranker."""
    rrf_k: CountOrNone = 60
    """hybrid-rrf: the constant of reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009)."""
    words_weight: Annotated[float, Range(0)] = 0.5
    """hybrid: what a point of BM25 adds, in standard deviations of the candidates' cosines."""
    min_score: float | None = None
    """Least score, on the scale of the mode: cosine, BM25, fused, or the reranker's."""
    mmr: Annotated[float, Range(0, 1)] | None = None
    """Weight of relevance against variety, 0 to 1 (maximal marginal relevance); None turns it off."""
    rerank: RerankConfig = field(default_factory=RerankConfig)


@dataclass(frozen=True)
class RetryConfig(Checked):
    """When a request to the model server is made again, and when no more are made."""

    attempts: Count = 4
    """Requests for one answer at most, the first included; none is repeated after the first token."""
    first_wait_s: SecondsOrNone = 0.25
    max_wait_s: SecondsOrNone = 8.0
    """Longest wait between two requests; a Retry-After above it is an error at once."""
    total_wait_s: SecondsOrNone = 20.0
    """No request is begun later than this after the first."""
    breaker_failures: Count = 5
    """Failures in a row after which the server is left alone for `breaker_reset_s`."""
    breaker_reset_s: SecondsOrNone = 10.0


@dataclass(frozen=True)
class CacheConfig(Checked):
    """Which cached answers are served, and for how long."""

    enabled: bool = True
    semantic: bool = False
    """Whether a cached answer is also served to a close question that a judge confirms to want the same."""
    judge: str = ""
    """Who confirms: empty: the served model; else a cross-encoder trained on paraphrases, a directory or hub
    id for sentence-transformers. It is first tried on built-in pairs (docs/rag-answers.md)."""
    judge_min_score: Annotated[float, Range(0, 1)] = 0.9
    """Least probability of a paraphrase by which a cross-encoder confirms."""
    judge_timeout_s: Seconds = 10.0
    """Longest wait for the served model's verdict; without one there is no hit."""
    max_false_hits: Annotated[float, Range(0, 1)] = 0.02
    """Share of the built-in pairs of different questions above which a judge is refused."""
    path: Path | None = None
    """The SQLite file; None: answers.db in the index folder."""
    max_entries: Count = 5_000
    max_bytes: Count = 64 << 20
    max_age_s: Seconds = 7 * 24 * 3600.0
    min_similarity: Cosine = 0.92
    """Least cosine of two questions before the judge is asked."""
    candidates: Count = 3
    """Closest cached questions that the judge is asked about."""


@dataclass(frozen=True)
class AnswerConfig(Checked):
    """How a question is answered from passages."""

    base_url: str = "http://127.0.0.1:8000/v1"
    api_key: str = "not-needed"
    model: str = ""
    """Empty: the first model that /v1/models names."""
    mode: AnswerMode = "auto"
    answer_languages: str = "auto"
    """Languages the served model writes ("en", "en,ko", "all"); auto asks a table of known models."""
    max_tokens: Count = 200
    temperature: Annotated[float, Range(0, 2)] = 0.0
    context_tokens: Count = 1536
    """Most tokens of a prompt; the model's window lowers it."""
    history_tokens: CountOrNone = 512
    """Most tokens of earlier messages in a prompt; they never take more than a third of it."""
    window_tokens: Count = 2048
    """Window assumed of a server that does not say what it takes."""
    connect_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 120.0
    """Longest silence while the model works; a slow machine needs long for the first token."""
    total_timeout_s: Seconds = 300.0
    """Longest generation from the first request to the last token, retries included."""
    describe_ttl_s: SecondsOrNone = 1.0
    """How long what /v1/models said is believed: a promoted artifact is noticed within it."""
    retry: RetryConfig = field(default_factory=RetryConfig)
    calibration: Path | None = None
    """File of measured limits that `rag eval` wrote; None: the one beside a local index (calibration.json),
    or, where there is none, the one that ships with the program."""
    min_similarity: Cosine = 0.78
    """Least cosine of the best passage where nothing was measured for the embedding model and mode: it only
    stops questions on quite other matters."""
    extract_sentences: Count = 3
    chitchat: bool = True
    """Whether greetings and small talk get a courteous line instead of passages."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    guard_file: Path | None = None
    """TOML file of the checks before and after an answer; None: no check. See docs/rag-answers.md."""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            UsageError: a value is wrong.
        """
        super().__post_init__()
        named = [part.strip() for part in self.answer_languages.split(",")]
        if self.answer_languages not in ("auto", "all") and not set(named) <= set(_LANGUAGES):
            raise UsageError(
                f"answer_languages cannot be {self.answer_languages!r}",
                mend=f"Give auto, all, or some of: {', '.join(_LANGUAGES)}",
            )


@dataclass(frozen=True)
class RagConfig(Checked):
    """All of it; `index_dir` holds the generations of the local store."""

    index_dir: Path = _INDEX
    store: str = field(default_factory=lambda: os.environ.get("RAG_STORE", "faiss"), repr=False)
    """"faiss": the local store; or a shared one's address, postgresql://USER:PASSWORD@HOST:PORT/DATABASE.
    From the environment, since it holds a password and every command and server must agree on it."""
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    read: ReadConfig = field(default_factory=ReadConfig)
    retrieve: RetrieveConfig = field(default_factory=RetrieveConfig)
    answer: AnswerConfig = field(default_factory=AnswerConfig)
