from pathlib import Path

import numpy as np
import pytest

from quantserve.core.files import Locked
from quantserve.rag.embedding.e5_file import dequantize_q4
from quantserve.rag.errors import IndexMismatch, NoIndex
from quantserve.rag.store.chunks import Chunk, ChunkReader, ChunkWriter
from quantserve.rag.store.generation import IndexStore
from quantserve.rag.store.words import WordIndex, words_of, write_words


def chunk(number: int, path: str = "/a.md") -> Chunk:
    return Chunk(f"id{number}", path, "a.md", number or None, "h", 0, 4, f"글 {number}", f"h\n글 {number}")


def test_chunks_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    with ChunkWriter(tmp_path) as writer:
        for made in (chunk(0), chunk(1), chunk(2, "/b.md")):
            writer.add(made, ["글", str(made.page)])
    reader = ChunkReader(tmp_path)
    assert reader.rows([2, 0]) == [chunk(2, "/b.md"), chunk(0)]
    assert reader.of_file("/b.md") == [(2, chunk(2, "/b.md"))]
    assert reader.rows([]) == []


def test_words_are_korean_stems_and_english_singulars() -> None:
    assert words_of("모델을 바꾸면 색인을 다시 만듭니다") == ["모델", "바꾸", "색인", "다시", "만들"]
    assert words_of("The batches of max-num-seqs") == ["batche", "max-num-seqs", "max", "num", "seq"]


def test_word_search_finds_and_survives_odd_questions(tmp_path: Path) -> None:
    texts = ["양자화한 모델의 크기", "search by words", "회의실 예약"]
    write_words(tmp_path, map(words_of, texts))
    index = WordIndex(tmp_path)
    assert [row for row, _ in index.search("모델을 양자화하면?", 10)] == [0]
    assert [row for row, _ in index.search("Word searches", 99)] == [1]
    assert index.search("the of and", 5) == []
    assert index.search("없는낱말zzz", 5) == []


def test_a_corpus_without_words_matches_nothing(tmp_path: Path) -> None:
    write_words(tmp_path, [words_of("..."), words_of("the")])
    assert WordIndex(tmp_path).search("무엇", 5) == []


def publish(store: IndexStore, text: str) -> str:
    def build(directory: Path) -> None:
        (directory / "manifest.json").write_text(text)

    return store.publish(build)


def test_generations_follow_and_only_the_one_before_stays(tmp_path: Path) -> None:
    store = IndexStore(tmp_path)
    for number in range(4):
        publish(store, str(number))
    assert (tmp_path / "current").resolve().name == "gen-000004"
    assert sorted(path.name for path in tmp_path.glob("gen-*")) == ["gen-000003", "gen-000004"]


def test_a_failed_build_leaves_the_last_generation(tmp_path: Path) -> None:
    store = IndexStore(tmp_path)
    publish(store, "good")

    def fail(directory: Path) -> None:
        (directory / "vectors.faiss").write_text("half")
        raise ValueError("disk")

    with pytest.raises(ValueError, match="disk"):
        store.publish(fail)
    assert (tmp_path / "current" / "manifest.json").read_text() == "good"
    assert [path.name for path in tmp_path.iterdir() if "staging" in path.name] == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".gen-000009.staging-999999999").mkdir()
    publish(IndexStore(tmp_path), "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "gen-000001"]


def test_two_writers_exclude_each_other(tmp_path: Path) -> None:
    first, second = IndexStore(tmp_path), IndexStore(tmp_path)
    with first.writer_lock(), pytest.raises(Locked), second.writer_lock():
        pass


def test_no_index_and_a_foreign_index_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoIndex, match="rag index"):
        IndexStore(tmp_path).open()
    publish(IndexStore(tmp_path), '{"schema_version": 99}')
    with pytest.raises(IndexMismatch, match="index again"):
        IndexStore(tmp_path).open()


def test_q4_blocks_hold_low_nibbles_first() -> None:
    block = np.zeros(18, np.uint8)
    block[:2] = np.array([0.5], np.float16).view(np.uint8)
    block[2] = 0xF8  # low nibble 8 is zero, high nibble 15 is seven
    weights = dequantize_q4(block)
    assert (weights[0], weights[16], weights[1]) == (0.0, 3.5, -4.0)
