from pathlib import Path

import pytest

from quantserve.core.errors import InputError
from quantserve.rag.errors import UnreadableDocument
from quantserve.rag.loaders.encoding import decode
from quantserve.rag.loaders.markdown import split_headings
from quantserve.rag.loaders.registry import load
from quantserve.rag.loaders.walk import expand


def test_markdown_sections_carry_the_path_of_headings() -> None:
    text = "서문\n\n# 안내\n\n첫 글\n\n## 설치 ##\n둘째 글\n\n# 부록\n셋째\n"
    sections = split_headings(text)
    assert [(section.heading, section.text) for section in sections] == [
        ("", "서문"),
        ("안내", "첫 글"),
        ("안내 › 설치", "둘째 글"),
        ("부록", "셋째"),
    ]
    assert all(text[s.start : s.start + len(s.text)] == s.text for s in sections)


def test_a_hash_inside_a_fence_is_no_heading() -> None:
    (section,) = split_headings("# 제목\n```bash\n# 주석\nmake up\n```\n끝")
    assert section.heading == "제목"
    assert "# 주석" in section.text


@pytest.mark.parametrize(
    ("front", "heading"),
    [
        ("---\ntitle: 물류 창고 안내\nauthor: x\n---\n", "물류 창고 안내"),
        ('+++\ntitle = "물류 창고"\n+++\n', "물류 창고"),
        ("---\r\nauthor: x\r\n---\r\n", ""),
    ],
)
def test_front_matter_gives_its_title_alone(front: str, heading: str) -> None:
    (section,) = split_headings(front + "본문", is_markdown=True)
    assert (section.heading, section.text) == (heading, "본문")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "euc-kr", "utf-16"])
def test_text_in_korean_encodings(encoding: str) -> None:
    assert decode("양자화한 모델\r\n둘째 줄".encode(encoding), "a.txt") == "양자화한 모델\n둘째 줄"


@pytest.mark.parametrize("data", [b"\x00\x01\x02PK", b"\xff\xff\xff\x80 text"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableDocument, match=r"a\.txt"):
        decode(data, "a.txt")


@pytest.mark.parametrize(
    ("name", "data", "telling"),
    [
        ("empty.md", b" \n", "holds no text"),
        ("broken.pdf", b"%PDF-1.7 broken", "is not a readable PDF"),
        ("sheet.xyz", b"1", "XYZ file, of which no text is read"),
    ],
)
def test_a_bad_document_says_what_is_wrong(tmp_path: Path, name: str, data: bytes, telling: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnreadableDocument, match=telling):
        load(path)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="No such file"):
        load(tmp_path / "gone.txt")


def test_folders_are_read_recursively_without_hidden_and_unknown_files(tmp_path: Path) -> None:
    for name in ("b/c.md", "a.txt", ".hidden/x.md", "b/.y.md", "b/z.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert expand([tmp_path, tmp_path / "a.txt"]) == [tmp_path / "a.txt", tmp_path / "b/c.md"]


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        expand([tmp_path / "nothing"])
