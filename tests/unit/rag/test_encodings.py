"""A declared encoding is an outsider's word: it is believed where it names one and the bytes agree."""

from __future__ import annotations

import encodings.aliases
import pkgutil
from pathlib import Path

import pytest

from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.encoding import codec_of, decode
from quantserve.rag.loaders.html import declared_encoding
from quantserve.rag.loaders.registry import load

EVERY_CODEC = sorted(
    {module.name for module in pkgutil.iter_modules(encodings.__path__)}
    | set(encodings.aliases.aliases)
    | {"undefined", "punycode", "rot13", "base64", "zip", "", "x" * 40, "utf-7", "unicode-escape"}
)
NO_ENCODINGS = (
    "punycode", "undefined", "rot13", "rot_13", "idna", "unicode_escape", "raw_unicode_escape", "utf-7",
    "base64", "zip", "bz2", "hex", "uu", "quopri", "mbcs", "oem", "utf-16", "utf-16le", "utf-16be", "utf-32",
    "hz", "iso-2022-kr", "x-user-defined", "cp037", "palmos", "charmap",
)  # fmt: skip


@pytest.mark.parametrize("form", ["<meta charset={}>", '<?xml version="1.0" encoding="{}"?>'])
def test_a_page_that_declares_any_codec_of_python_is_read_by_its_bytes(form: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    found = {}
    for label in EVERY_CODEC:
        path.write_text(f"{form.format(label)}<p>연차는 15일이다.</p>", encoding="utf-8")
        found[label] = [section.text for section in load(path).sections]
    assert found == {label: ["연차는 15일이다."] for label in EVERY_CODEC}


def test_plain_ascii_stays_itself_under_any_label() -> None:
    text = "The vacation is 15 days."
    found = {label: decode(text.encode(), "a.html", label) for label in EVERY_CODEC}
    assert found == dict.fromkeys(EVERY_CODEC, text)


@pytest.mark.parametrize("label", NO_ENCODINGS)
def test_what_is_no_encoding_of_the_web_is_no_encoding(label: str) -> None:
    assert codec_of(label) == ""


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("euc-kr", "cp949", "똠방각하 펲시콜라"),
        ("KS_C_5601-1987", "cp949", "연차는 며칠인가요"),
        ("shift_jis", "cp932", "休暇は十五日です。ページの終わり"),
        ("gb18030", "gb18030", "年假是十五天。文件到此结束"),
        ("windows-1251", "cp1251", "Отпуск составляет пятнадцать дней"),
        ("iso-2022-jp", "iso2022_jp", "休暇は十五日です"),
        ("latin1", "cp1252", "Le congé est de quinze jours à l’été"),
    ],
)
def test_a_true_declaration_is_followed(label: str, codec: str, text: str) -> None:
    assert codec_of(label) == codec
    assert decode(text.encode(codec), "a.html", label) == text


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1252", "shift_jis", "koi8-r", "big5"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf8_that_is_declared_otherwise_is_utf8(label: str, encoding: str) -> None:
    assert decode("예산은 5천만 원이다".encode(encoding), "a.html", label) == "예산은 5천만 원이다"


def test_korean_that_is_declared_as_western_is_korean() -> None:
    assert decode("예산은 5천만 원이다".encode("cp949"), "a.html", "iso-8859-1") == "예산은 5천만 원이다"


def test_a_declaration_makes_no_text_of_binary() -> None:
    with pytest.raises(UnreadableDocument, match="binary"):
        decode(b"\x89PNG\0\0", "a.html", "latin1")


@pytest.mark.parametrize(
    ("page", "label"),
    [
        (b'<meta http-equiv="Content-Type" content="text/html; charset=euc-kr">', "euc-kr"),
        (b"<META CHARSET = 'UTF-8'>", "UTF-8"),
        (b'<?xml version="1.0" encoding="koi8-r"?><meta charset=utf-8>', "koi8-r"),
        (b"<p>charset=utf-8</p>", ""),
        (b"<meta " + b"x" * 5000 + b"charset=utf-8>", ""),
    ],
)
def test_where_a_declaration_stands(page: bytes, label: str) -> None:
    assert declared_encoding(page) == label
