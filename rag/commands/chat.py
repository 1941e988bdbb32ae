"""`rag chat`: talk about the documents."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from quantserve.core.console import console, emit_json
from quantserve.core.options import spread
from quantserve.rag.commands import parameters as p
from quantserve.rag.commands.answering import AnsweringOptions
from quantserve.rag.commands.ask import answerer

if TYPE_CHECKING:
    from quantserve.rag.answer import Answerer
    from quantserve.rag.llm import Message


@spread
def chat(answering: AnsweringOptions, json_output: p.JsonOption = False) -> None:
    """Talk about the documents; ends on 종료 or Ctrl-D. With --json: a line in, an object out."""
    from quantserve.rag.chat import run_chat

    config = answering.config()
    if json_output:
        chat_in_json(answerer(config), sys.stdin)
    else:
        run_chat(answerer(config))


def chat_in_json(answerer: Answerer, lines: Iterable[str]) -> None:
    """Answer a question a line, each with the history of those before it; print an object a line.

    A question that fails is an object with `error`, and the conversation goes on.
    """
    from quantserve.rag.answer import AnswerFailed
    from quantserve.rag.chat import ENDINGS
    from quantserve.rag.show import answer_dict, passages_dict
    from quantserve.rag.text import normalise

    history: list[Message] = []
    for line in lines:
        question = normalise(line)
        if question in ENDINGS:
            return
        if not question:
            continue
        try:
            answer = answerer.answer(question, history=history)
        except AnswerFailed as error:
            console.print(str(error), style="red", markup=False)
            emit_json({"question": question, "error": str(error), "passages": passages_dict(error.passages)})
            continue
        emit_json(answer_dict(answer))
        history += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer.text},
        ]
