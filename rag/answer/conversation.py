"""Follow-up questions: made to stand alone by the model where it can be trusted with it, else by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from quantserve.rag.answer.prompt import bounded_history
from quantserve.rag.answer.wording import CONDENSE, CONVERSATION, LAST_QUESTION, SPEAKERS, supported
from quantserve.rag.llm.fence import harmless
from quantserve.rag.llm.served import Message
from quantserve.rag.llm.tokens import CountTokens, estimate_tokens
from quantserve.rag.text import language_of, normalise

CONDENSED_TOKENS = 96
_FEW_WORDS = 4
_LONGEST = 400
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|this|that|these|those|he|she|him|her|there|one|ones|same|former|latter|"
    r"instead|else|also|too)\b"
    r"|^(?:and|but|so|or|then|what about|how about|why not|why\?)"
    r"|(?:^|\s)(?:그|이|저)(?:것|거|건|게|걸|때|곳|분|사람|경우|러면|럼|런|렇)"
    r"|^(?:그럼|그러면|그런데|그리고|그래서|그래도|그건|그게|그때|거기|여기|또|왜요|아니면|반대로|둘 다)"
    r"|(?:는요|은요|는|은)\?$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
Ask = Callable[[Sequence[Message], int], str]


def leans_on_history(question: str, history: Sequence[Message]) -> bool:
    """Whether a question may not be understood alone: it is short, points back, or leaves its verb out."""
    if not any(message["role"] == "user" for message in history):
        return False
    return len(question.split()) <= _FEW_WORDS or bool(_POINTS_BACK.search(question))


def condense_by_rule(question: str, history: Sequence[Message]) -> str:
    """Put the question before in front of one that leans on it."""
    asked = [message["content"] for message in history if message["role"] == "user"]
    return f"{asked[-1]} {question}" if asked else question


def condense_messages(
    question: str, history: Sequence[Message], tokens: int, count: CountTokens = estimate_tokens
) -> tuple[Message, ...]:
    """Return what asks a model to make a question stand alone."""
    language = supported(language_of(question))
    speakers = SPEAKERS[language]
    said = "\n".join(
        f"{speakers.get(message['role'], message['role'])}: {message['content']}"
        for message in bounded_history(history, tokens, count)
    )
    content = f"{CONVERSATION[language]}:\n{said}\n\n{LAST_QUESTION[language]}: {harmless(question)}"
    return ({"role": "system", "content": CONDENSE[language]}, {"role": "user", "content": content})


def condense(
    question: str,
    history: Sequence[Message],
    ask: Ask | None,
    tokens: int,
    count: CountTokens = estimate_tokens,
) -> str:
    """Return the question as it stands alone; `ask` is a model that can be trusted with it, None without.

    What the model made is taken only if it is one question in the same language and every number in it was
    said before; else the rule decides.

    Raises:
        ServerUnavailable, Cancelled: as `ask` does.
    """
    if not leans_on_history(question, history):
        return question
    if ask is None:
        return condense_by_rule(question, history)
    made = normalise(ask(condense_messages(question, history, tokens, count), CONDENSED_TOKENS))
    made = made.strip("\"'“”‘’ \n")
    return made if is_fair(made, question, history) else condense_by_rule(question, history)


def is_fair(made: str, question: str, history: Sequence[Message]) -> bool:
    """Whether a condensed question can have come of the conversation."""
    said = " ".join([question, *(message["content"] for message in history)])
    return (
        0 < len(made) <= _LONGEST
        and "\n" not in made
        and language_of(made) == language_of(question)
        and set(_NUMBER.findall(made)) <= set(_NUMBER.findall(said))
        and set(_NUMBER.findall(question)) <= set(_NUMBER.findall(made))
    )
