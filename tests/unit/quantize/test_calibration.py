from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from quantserve.core.errors import InputError, UsageError
from quantserve.quantize.artifact import CalibrationPart, CalibrationRecord
from quantserve.quantize.calibration import corpus, overlap
from quantserve.quantize.calibration.documents import (
    Document,
    cut_text,
    from_row,
    plain_text,
    read_files,
    runs,
)
from quantserve.quantize.calibration.languages import language_shares
from quantserve.quantize.calibration.overlap import (
    EvaluationOverlap,
    draw_documents,
    evaluation_documents,
    refuse_overlap,
    without_near_duplicates,
)
from quantserve.quantize.calibration.packing import TextWarning, judge_text
from quantserve.quantize.calibration.sources import CalibrationText, load_text, parse_languages, read_recorded
from quantserve.quantize.calibration.spec import SourceSpec, parse_source
from quantserve.quantize.config import CalibrationOptions

WORDS = [f"word{i}" for i in range(400)]


@pytest.fixture
def bilingual(tmp_path: Path) -> Path:
    """A model whose tokenizer has one token per word, of any language."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return saved(tokenizer, tmp_path / "bilingual")


@pytest.fixture
def english(tmp_path: Path) -> Path:
    """A model whose tokenizer knows an English sentence's words, and spells everything else in bytes."""
    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(alphabet, [], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_tokens(["meeting", "review", "quarter", "budget", "staffing"])
    tokenizer.add_tokens(["replacement", "postponed", "server ", " next ", " will ", " plan, ", " today's "])
    tokenizer.add_tokens(["set a new date for the ", " last month.", "At today's ", "'s ", " and ", " we "])
    return saved(tokenizer, tmp_path / "english")


def saved(tokenizer: Tokenizer, directory: Path) -> Path:
    directory.mkdir()
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def loaded(model: Path, *sources: str, languages: str | None = None, seed: int = 0) -> CalibrationText:
    options = CalibrationOptions(sources or ("corpus",), languages, seed=seed)
    return load_text(options, model, model.parent / "run")


def test_calibration_and_evaluation_share_no_run_of_words() -> None:
    evaluation = {run for text in evaluation_documents() for run in runs(plain_text(text), 13)}
    for document in (overlap.pydoc_calibration_text(), *corpus.calibration_documents()):
        assert evaluation.isdisjoint(runs(plain_text(document), 13))
    assert len(overlap.pydoc_calibration_text()) > 200_000
    assert len(evaluation) > 15_000


def test_the_default_for_a_bilingual_model_is_half_korean_and_half_english(bilingual: Path) -> None:
    text = loaded(bilingual)
    assert [(part.source, part.weight) for part in text.parts] == [("corpus/en", 0.5), ("corpus/ko", 0.5)]
    assert text.source == "corpus/en (50%) + corpus/ko (50%)"


def test_the_default_for_an_english_model_is_english_alone(english: Path) -> None:
    text = loaded(english)
    assert text.readable == ("en",)
    assert [(part.source, part.weight) for part in text.parts] == [("corpus/en", 1.0)]
    # Its translation exercises quote a little Korean.
    assert language_shares(" ".join(map(plain_text, text.documents)))["ko"] < 0.02


def test_the_bundled_text_beside_another_source_is_what_the_model_reads(english: Path) -> None:
    assert [part.source for part in loaded(english, "corpus:3", "pydoc").parts] == ["corpus/en", "pydoc"]


def test_the_languages_asked_for_weigh_the_bundled_text(bilingual: Path) -> None:
    text = loaded(bilingual, languages="ko=3,en=1")
    assert {part.source: part.weight for part in text.parts} == {"corpus/ko": 0.75, "corpus/en": 0.25}
    assert text.asked == {"ko": 0.75, "en": 0.25}


def test_weights_are_shares_of_the_whole(bilingual: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("내 글")
    text = loaded(bilingual, f"{tmp_path / 'mine.txt'}:3", "pydoc:1")
    assert [part.weight for part in text.parts] == [0.75, 0.25]


def test_the_hash_follows_text_weights_and_seed(bilingual: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "one"}\n{"text": "two"}\n')
    first = loaded(bilingual, str(file)).sha256
    assert loaded(bilingual, str(file)).sha256 == first
    file.write_text('{"text": "two"}\n{"text": "one"}\n{"text": " ONE "}\n')
    assert loaded(bilingual, str(file)).sha256 == first, "order and duplicates do not count"
    file.write_text('{"text": "one"}\n{"text": "three"}\n')
    assert loaded(bilingual, str(file)).sha256 != first
    mixed = loaded(bilingual, "corpus:1", "pydoc:1").sha256
    assert loaded(bilingual, "corpus:1", "pydoc:2").sha256 != mixed
    assert loaded(bilingual, "corpus:1", "pydoc:1", seed=1).sha256 != mixed


def test_text_that_the_gate_evaluates_on_is_refused_and_quoted(bilingual: Path, tmp_path: Path) -> None:
    passage = plain_text(corpus.evaluation_documents("ko")[3])
    (tmp_path / "leak.txt").write_text(f"앞에 오는 글.\n\n{passage}\n\n뒤에 오는 글.")
    with pytest.raises(EvaluationOverlap, match=r"passage of the evaluation text: “.*[가-힣]"):
        loaded(bilingual, str(tmp_path / "leak.txt"))


def test_twelve_words_in_a_row_may_be_chance_thirteen_are_overlap() -> None:
    evaluation: list[Document] = [" ".join(WORDS[:100])]
    refuse_overlap([" ".join([*WORDS[200:], *WORDS[50:62], *WORDS[300:]])], evaluation)
    with pytest.raises(EvaluationOverlap, match="word50 word51"):
        refuse_overlap([" ".join([*WORDS[200:], *WORDS[50:63], *WORDS[300:]]).upper()], evaluation)


def test_near_duplicates_are_dropped_and_short_texts_kept() -> None:
    first = " ".join(WORDS[:100])
    near = " ".join([*WORDS[:97], "a", "b", "c"])
    half = " ".join([*WORDS[:50], *WORDS[200:250]])
    assert without_near_duplicates([first, near, half, "short", "short too"]) == [
        first,
        half,
        "short",
        "short too",
    ]


def test_a_draw_takes_what_is_needed_and_does_not_depend_on_the_order() -> None:
    documents: list[Document] = [f"{word} " * 25 for word in WORDS]
    drawn = draw_documents(documents, seed=1, max_chars=2000)
    assert sum(len(plain_text(d)) for d in drawn) in range(2000, 2300)
    assert draw_documents(reversed(documents), seed=1, max_chars=2000) == drawn
    assert draw_documents(documents, seed=2, max_chars=2000) != drawn


def test_duplicates_differ_in_case_and_space_only() -> None:
    assert (
        len(draw_documents(["One  two", "one two", "ＯＮＥ two\n", "one three"], seed=0, max_chars=999)) == 2
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", {"en": 1.0}),
        ("안녕하세요", {"ko": 1.0}),
        ("ab가나", {"en": 0.5, "ko": 0.5}),
        ("大韓民國과 서울 특별시", {"ko": 1.0}),
        ("漢字とかな", {"ja": 1.0}),
        ("漢字", {"zh": 1.0}),
        ("Привет", {"other": 1.0}),
        ("Le chat est très content et il mange une pomme à l'école avec sa mère. " * 4, {"other": 1.0}),
        ("The café of the résumé is naïve and the façade is on the left. " * 4, {"en": 1.0}),
        ("123 !", {}),
    ],
)
def test_languages_are_told_by_script(text: str, expected: dict[str, float]) -> None:
    assert language_shares(text) == pytest.approx(expected)


def facts(**changes: object) -> dict[str, object]:
    return {
        "tokens": 100,
        "sequences": 10,
        "languages": {"en": 0.5, "ko": 0.5},
        "sources": {"a": 100},
        "templated": True,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "readable", "asked", "names"),
    [
        ({}, ("en", "ko"), {}, []),
        ({"sequences": 9}, ("en", "ko"), {}, ["short-text"]),
        ({"languages": {"en": 1.0}}, ("en", "ko"), {}, ["one-language"]),
        ({"languages": {"en": 0.99, "ko": 0.01}}, ("en", "ko"), {"en": 0.5, "ko": 0.5}, ["one-language"]),
        ({"languages": {"en": 1.0}}, ("en", "ko"), {"en": 1.0}, []),
        ({"languages": {"en": 1.0}}, ("en",), {}, []),
        ({"languages": {"en": 0.7, "ko": 0.3}}, ("en", "ko"), {"en": 0.5, "ko": 0.5}, ["language-share"]),
        ({"languages": {"en": 0.6, "ko": 0.4}}, ("en", "ko"), {"en": 0.5, "ko": 0.5}, []),
        ({"templated": False}, (), {}, ["no-chat-template"]),
        ({"sources": {"a": 80, "b": 20}}, (), {}, ["source-share"]),
    ],
)
def test_what_is_amiss_has_a_name(
    changes: dict[str, object], readable: tuple[str, ...], asked: dict[str, float], names: list[str]
) -> None:
    found: list[TextWarning] = judge_text(
        facts(**changes), sequences=10, readable=readable, asked=asked, weights={"a": 1.0}
    )
    assert [warned.name for warned in found] == names


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("corpus", SourceSpec("corpus", "builtin", "corpus")),
        ("corpus/ko:0.5", SourceSpec("corpus/ko", "builtin", "corpus/ko", 0.5)),
        ("owner/name", SourceSpec("owner/name", "hub", "owner/name")),
        (
            "o/n@v1?config=a&split=test&column=body:2",
            SourceSpec(
                "o/n@v1?config=a&split=test&column=body", "hub", "o/n", 2.0, "body", "test", "a", "v1"
            ),
        ),
        ("c4:3", SourceSpec("c4", "hub", "allenai/c4", 3.0, "text", "train", "en")),
        (
            "klue?config=ynat&column=title",
            SourceSpec("klue?config=ynat&column=title", "hub", "klue/klue", 1.0, "title", "train", "ynat"),
        ),
    ],
)
def test_a_source_is_read_as_written(argument: str, expected: SourceSpec) -> None:
    assert parse_source(argument) == expected


def test_an_existing_path_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_source("owner/name:2") == SourceSpec("owner/name", "path", "owner/name", 2.0)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("absent.txt", "does not exist"),
        ("owner/absent.jsonl", "does not exist"),
        ("corpus:0", "not a positive number"),
        ("corpus:-1", "not a positive number"),
        ("corpus?colour=red", "unknown option colour"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(argument: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_source(argument)


def test_languages_are_normalised_and_nonsense_is_refused() -> None:
    assert parse_languages("ko=1, en=3") == {"ko": 0.25, "en": 0.75}
    for text in ("ko", "ko=x", "ko=0", "ko=-1,en=2", ""):
        with pytest.raises(UsageError):
            parse_languages(text)


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        ({"text": " x "}, None, "x"),
        ({"body": "x", "text": "y"}, "body", "x"),
        ({"messages": [{"role": "user", "content": "x"}]}, None, [{"role": "user", "content": "x"}]),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
            None,
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            None,
            [{"role": "user", "content": "x"}],
        ),
        ({"messages": [{"content": "x"}]}, None, None),
        ({"text": 1}, None, None),
        ([], None, None),
    ],
)
def test_rows_become_documents(row: object, column: str | None, expected: Document | None) -> None:
    assert from_row(row, column) == expected


def test_a_long_text_is_cut_at_paragraphs() -> None:
    paragraphs = ["가" * 9_000, "나" * 9_000, "다" * 9_000]
    assert cut_text("\n\n".join(paragraphs)) == ["\n\n".join(paragraphs[:2]), paragraphs[2]]
    assert cut_text(" \n\n ") == []


def test_jsonl_with_text_and_messages_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_text('{"text": " 하나\u2028둘 "}\n\n{"messages": [{"role": "user", "content": "셋"}]}\n')
    assert list(read_files(file)) == ["하나\u2028둘", [{"role": "user", "content": "셋"}]]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "c.png").write_bytes(b"\x89")
    assert list(read_files(tmp_path)) == ["first", "second"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"text": 1}', r"a\.jsonl:1 holds neither"),
        ("a.jsonl", b'{"text": "x"}\n{', r"a\.jsonl:2 is not valid JSON"),
        ("a.txt", b"\xff\xfe\x00", "not readable UTF-8"),
        ("a.txt", b"  \n", "holds no text"),
        ("a.pdf", b"%PDF", "no known kind"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ],
)
def test_an_unusable_file_is_named(
    bilingual: Path, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        loaded(bilingual, str(tmp_path / name))


def calibration(*sources: str) -> CalibrationRecord:
    parts = [CalibrationPart(source=s, weight=0.5, documents=1, sha256="0") for s in sources]
    return CalibrationRecord(source="+".join(sources), sha256="0", tokens=1, sequences=1, parts=parts)


def test_recall_reads_every_source_again(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("내 글")
    recalled = read_recorded(calibration(str(tmp_path / "mine.txt"), "corpus/en"))
    assert recalled is not None
    assert recalled[0] == "내 글"
    assert len(recalled) > 100


def test_recall_says_unknown_when_one_source_is_gone() -> None:
    assert read_recorded(calibration("corpus", "gone.txt")) is None
    assert read_recorded(calibration("owner/name")) is None
