from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError
from quantize.calibration import builtin
from quantize.calibration.pack import pack
from quantize.calibration.sources import load


class Characters:
    """A tokenizer with one token per character; its chat template writes `role:content;`."""

    eos_token_id = 0

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def apply_chat_template(self, messages: list[dict[str, str]], *, tokenize: bool) -> str:
        return "".join(f"{message['role']}:{message['content']};" for message in messages)


def packed(documents: list[Any], **overrides: int) -> list[list[int]]:
    options = {"sequences": 4, "sequence_tokens": 3, "seed": 0, **overrides}
    return pack(
        Characters(),
        documents,
        sequences=options["sequences"],
        sequence_tokens=options["sequence_tokens"],
        seed=options["seed"],
    )


def words(text: str) -> set[str]:
    return {" ".join(paragraph.split()) for paragraph in text.split("\n\n")}


def test_calibration_and_evaluation_share_no_paragraph() -> None:
    calibration, evaluation = words(builtin.calibration_text()), words(builtin.evaluation_text())
    assert len(calibration) > 1000
    assert len(evaluation) > 300
    assert calibration & evaluation == set()


def test_documents_are_joined_with_the_end_token_and_cut() -> None:
    assert sorted(packed(["abc", "de"], sequences=2)) == [[0, 100, 101], [97, 98, 99]]


def test_chat_messages_go_through_the_chat_template() -> None:
    [sequence] = packed([[{"role": "u", "content": "x"}]], sequences=1, sequence_tokens=4)
    assert sequence == [ord("u"), ord(":"), ord("x"), ord(";")]


def test_the_seed_alone_decides_which_sequences_are_taken() -> None:
    text = ["".join(chr(i) for i in range(1, 301))]
    assert packed(text, seed=3) == packed(text, seed=3)
    assert packed(text, seed=3) != packed(text, seed=4)


def test_too_little_text_is_refused_with_figures() -> None:
    with pytest.raises(InputError, match="has 4 tokens, enough for 1 of the 4 sequences of 3 tokens"):
        packed(["abc"])


def test_jsonl_with_text_and_messages_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_text('{"text": " 하나 "}\n\n{"messages": [{"role": "user", "content": "둘"}]}\n')
    assert load(file).documents == ["하나", [{"role": "user", "content": "둘"}]]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "c.png").write_bytes(b"\x89")
    assert load(tmp_path).documents == ["first", "second"]


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    before = load(file).sha256
    assert load(file).sha256 == before
    file.write_text("two")
    assert load(file).sha256 != before


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"text": 1}', r"a\.jsonl:1 holds neither"),
        ("a.jsonl", b'{"text": "x"}\n{', r"a\.jsonl:2 is not valid JSON"),
        ("a.txt", b"\xff\xfe\x00", "not readable UTF-8"),
        ("a.txt", b"  \n", "holds no text"),
        ("a.pdf", b"%PDF", "no known kind"),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        load(tmp_path / name)
