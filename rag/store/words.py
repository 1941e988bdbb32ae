"""The word index: BM25 over Korean morphemes and English words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quantserve.core.files import write_json
from quantserve.rag.store.korean import kiwi
from quantserve.rag.text import normalise, pieces_of

WORDS_FOLDER = "words"
_EMPTY = "empty.json"
_ANALYSED_CHARACTERS = 2000
_HANGUL = re.compile(r"[가-힣]")
_LATIN = re.compile(r"[A-Za-z0-9]+(?:[._+-][A-Za-z0-9]+)*")
_PART = re.compile(r"[a-z]+|\d+(?:\.\d+)*")
# Nouns, numerals, verb and adjective stems, roots, adverbs: what carries meaning.
_CONTENT_TAGS = ("NN", "NR", "NP", "VV", "VA", "XR", "MAG")
_STOP_WORDS = """
a an and are as at be been by can could did do does for from had has have how i if in into is it its may me
my of on or our should so than that the their them then there these they this to us was we were what when
where which who whom whose why will with would you your
하 되 있 없 것 수 등 이 그 저 무엇 어떻 어떠하 어디 언제 왜 누구 얼마 몇 때 나 우리 너 저희
"""
_STOP = frozenset(_STOP_WORDS.split())


def _stem(word: str) -> str:
    """Take an English plural's ending off (the S-stemmer of Harman, 1991)."""
    if len(word) > 4 and word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def _latin_words(text: str) -> list[str]:
    words: list[str] = []
    for match in _LATIN.findall(text):
        whole = match.lower()
        parts = _PART.findall(whole)
        if len(parts) > 1 or whole not in parts:
            words.append(whole)  # max-num-seqs is a word of its own, beside max, num and seqs
        words.extend(_stem(part) for part in parts)
    return words


def words_of(text: str) -> list[str]:
    """Return the words that count: English ones lower-cased and singular, Korean ones as stems.

    Text without Hangul does not load the Korean analyser.
    """
    text = normalise(text)
    words = _latin_words(text)
    if _HANGUL.search(text):
        words.extend(
            token.form
            for piece in pieces_of(text, _ANALYSED_CHARACTERS)
            for token in kiwi().tokenize(piece)
            if token.tag.startswith(_CONTENT_TAGS) and _HANGUL.search(token.form)
        )
    return [word for word in words if word not in _STOP]


def write_words(directory: Path, corpus: Iterable[Sequence[str]]) -> None:
    """Index the words of all chunks (`words_of` each); the first has row 0.

    A word is kept as one number that all its places share: a large corpus costs 8 bytes a word.
    """
    import bm25s
    from bm25s.tokenization import Tokenized

    vocabulary: dict[str, int] = {}
    rows = [[vocabulary.setdefault(word, len(vocabulary)) for word in words] for words in corpus]
    folder = directory / WORDS_FOLDER
    folder.mkdir()
    if not vocabulary:
        write_json(folder / _EMPTY, {"rows": len(rows)})
        return
    index = bm25s.BM25(method="lucene")
    index.index(Tokenized(ids=rows, vocab=vocabulary), show_progress=False)
    index.save(str(folder))


class WordIndex:
    """Reads the word index of one generation."""

    def __init__(self, directory: Path) -> None:
        """Load it; an index of texts without any word matches nothing."""
        import bm25s

        folder = directory / WORDS_FOLDER
        self._index = None if (folder / _EMPTY).exists() else bm25s.BM25.load(str(folder))

    @property
    def vocabulary(self) -> Collection[str]:
        """Every word of the texts, as `words_of` gives them."""
        return () if self._index is None else self._index.vocab_dict.keys()

    def search(
        self, query: str, k: int, among: npt.NDArray[np.int64] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` (row, BM25 score) with a score above zero, best first.

        `k` may exceed the rows there are; a query of stop words alone finds nothing. `among` limits
        the search to some rows.
        """
        words = words_of(query)
        if self._index is None or not words or k < 1:
            return []
        scores: npt.NDArray[np.float32] = self._index.get_scores(words)
        rows = np.flatnonzero(scores > 0) if among is None else among[scores[among] > 0]
        best = rows[np.argsort(-scores[rows], kind="stable")[:k]]
        return [(int(row), float(scores[row])) for row in best]
