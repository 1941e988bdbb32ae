"""`rag ask`: answer one question from the documents."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from quantserve.core.console import console, emit_json, emit_text
from quantserve.core.options import spread
from quantserve.rag.commands import parameters as p
from quantserve.rag.commands.answering import AnsweringOptions
from quantserve.rag.config import RagConfig

if TYPE_CHECKING:
    from quantserve.rag.answer import Answerer, AnswerFailed


def answerer(config: RagConfig) -> Answerer:
    """Put the search and the model server together."""
    from quantserve.rag.answer import Answerer
    from quantserve.rag.llm import ModelServer
    from quantserve.rag.retrieve import Searcher

    return Answerer(Searcher.open(config), ModelServer(config.answer), config.answer)


def _show_failure(error: AnswerFailed) -> None:
    from quantserve.rag.show import passages_table

    if error.partial:
        sys.stdout.write("\n")
    if error.passages:
        console.print("The model gave no whole answer; these passages were found:")
        passages_table(error.passages)


@spread
def ask(question: str, answering: AnsweringOptions, json_output: p.JsonOption = False) -> None:
    """Answer a question from the documents, and show the passages it rests on."""
    from quantserve.rag.answer import AnswerFailed
    from quantserve.rag.show import answer_dict, note_on, passages_dict, passages_table

    config = answering.config()
    try:
        answer = answerer(config).answer(question)
    except AnswerFailed as error:
        _show_failure(error)
        if json_output:
            emit_json({"question": question, "error": str(error), "passages": passages_dict(error.passages)})
        raise
    if not json_output:
        emit_text(answer.text)
    if note := note_on(answer):
        console.print(note, style="dim", markup=False)
    if answer.passages:
        passages_table(answer.passages, answer.cited)
    if json_output:
        emit_json(answer_dict(answer))
