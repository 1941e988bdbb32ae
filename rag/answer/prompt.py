"""What the model is told, in the question's language, within its window."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from quantserve.rag.answer.citations import check_citations
from quantserve.rag.answer.wording import PASSAGES, QUESTION, RULES, supported
from quantserve.rag.errors import QuestionTooLong
from quantserve.rag.llm.fence import harmless
from quantserve.rag.llm.served import Message
from quantserve.rag.llm.tokens import CountTokens, estimate_tokens
from quantserve.rag.retrieve import Passage
from quantserve.rag.text import split_sentences

_MESSAGE_TOKENS = 8
"""What a chat template puts round a message, rounded up."""
_SHARE_OF_HISTORY = 3
_SHARE_OF_QUESTION = 2


@dataclass(frozen=True)
class Prompt:
    """Messages for the model, and the passages that fitted, numbered from 1 in this order."""

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]


def _block(number: int, passage: Passage, text: str) -> str:
    heading = f"{passage.chunk.heading}\n" if passage.chunk.heading else ""
    return f'<passage number="{number}">\n{harmless(heading + text)}\n</passage>'


def _fitting(number: int, passage: Passage, tokens: int, count: CountTokens) -> tuple[str, bool]:
    """Return the passage's block, cut after the last whole sentence that fits, and whether it is whole.

    The block is empty where no sentence fits.
    """
    whole = _block(number, passage, passage.chunk.text)
    if count(whole) <= tokens:
        return whole, True
    sentences = split_sentences(passage.chunk.text)

    def beginning(end: int) -> str:
        return _block(number, passage, "".join(sentences[:end]).rstrip())

    fitting = bisect_right(range(1, len(sentences) + 1), tokens, key=lambda end: count(beginning(end)))
    return (beginning(fitting) if fitting else ""), False


def bounded_history(
    history: Sequence[Message], tokens: int, count: CountTokens = estimate_tokens
) -> list[Message]:
    """Return the newest messages that take at most `tokens`, oldest first, beginning with a question."""
    recent: list[Message] = []
    used = 0
    for message in reversed(history):
        used += count(message["content"]) + _MESSAGE_TOKENS
        if used > tokens:
            break
        recent.insert(0, {"role": message["role"], "content": _without_numbers(message)})
    while recent and recent[0]["role"] != "user":  # templates want the turns to begin with the user's
        recent.pop(0)
    return recent


def _without_numbers(message: Message) -> str:
    """Return a message's text; an earlier answer's citations would point to the new passages."""
    content = harmless(message["content"])
    return check_citations(content, ()).text if message["role"] == "assistant" else content


def build_short_prompt(question: str, sentences: Sequence[str]) -> tuple[Message, ...]:
    """Ask a weak model for one sentence from a few; rules and numbers would only confuse it."""
    context = harmless(" ".join(sentences))
    content = f"{context}\n\nAnswer in one short sentence, using only the text above: {harmless(question)}"
    return ({"role": "user", "content": content},)


def build_prompt(
    question: str,
    passages: Sequence[Passage],
    language: str,
    budget_tokens: int,
    history: Sequence[Message] = (),
    system: str = "",
    *,
    history_tokens: int | None = None,
    count: CountTokens = estimate_tokens,
) -> Prompt:
    """Put as many passages into the prompt as `budget_tokens` holds, best first; the last may be cut.

    The history loses its oldest messages first, and takes at most `history_tokens` and a third of the
    budget. Passages stand in a fence that they cannot close, and are called data before and behind.

    Raises:
        QuestionTooLong: the question takes more than half of the room.
    """
    language = supported(language)
    system = system or RULES[language]
    question = harmless(question)
    asked = f"\n\n{QUESTION[language]}: {question}"
    opening = f"{PASSAGES[language]}:\n"
    used = count(system) + count(opening) + count(asked) + 2 * _MESSAGE_TOKENS
    if count(question) > budget_tokens / _SHARE_OF_QUESTION:
        raise QuestionTooLong(
            f"the question takes {count(question)} of the {budget_tokens} tokens that a prompt may have",
            mend="Ask in fewer words, or serve a model with a longer window",
        )
    room = budget_tokens // _SHARE_OF_HISTORY
    recent = bounded_history(history, room if history_tokens is None else min(room, history_tokens), count)
    used += sum(count(message["content"]) + _MESSAGE_TOKENS for message in recent)
    blocks: list[str] = []
    for number, passage in enumerate(passages, start=1):
        block, whole = _fitting(number, passage, budget_tokens - used - 1, count)
        if not block:
            break
        used += count(block) + 1
        blocks.append(block)
        if not whole:
            break
    content = opening + "\n".join(blocks) + asked
    messages = ({"role": "system", "content": system}, *recent, {"role": "user", "content": content})
    return Prompt(messages, tuple(passages[: len(blocks)]))
