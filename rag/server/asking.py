"""From a request's body to what is asked of the engine, or a refusal that names the field. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from quantserve.rag.config import RetrieveConfig
from quantserve.rag.server.config import ServerConfig
from quantserve.rag.server.engine import Asked
from quantserve.rag.server.refusal import Refusal
from quantserve.rag.server.schemas import ChatRequest
from quantserve.rag.text import normalise


def question_hash(question: str) -> str:
    """Return what the log knows a question by."""
    return hashlib.sha256(normalise(question).encode()).hexdigest()[:32]


def read_request(
    body: ChatRequest, config: ServerConfig, retrieve: RetrieveConfig
) -> tuple[Asked, tuple[str, ...]]:
    """Return what is asked, and notes on what will not be done; `retrieve` are the server's own options.

    Raises:
        Refusal: 400 or 404 with the name of the field.
    """
    bounds, notes = config.bounds, []
    if body.model not in ("", config.model_name):
        known = config.model_name
        raise Refusal(
            404, "model_not_found", f"there is no model '{body.model}' here, only {known}", param="model"
        )
    if len(body.messages) > bounds.max_messages:
        raise _too_much(f"more than {bounds.max_messages} messages", "messages")
    last = body.messages[-1]
    if last.role != "user" or not last.text.strip():
        raise Refusal(400, "invalid_value", "the last message must be the user's question", param="messages")
    if len(last.text) > bounds.max_question_chars:
        raise _too_much(f"the question is longer than {bounds.max_question_chars:,} characters", "messages")
    if any(len(message.text) > bounds.max_message_chars for message in body.messages):
        raise _too_much(f"a message is longer than {bounds.max_message_chars:,} characters", "messages")
    options = body.quantserve
    if options.top_k is not None and options.top_k > bounds.max_top_k:
        raise _too_much(f"{bounds.max_top_k} passages are the most", "quantserve.top_k")
    systems = [m.text for m in body.messages if m.role in ("system", "developer")]
    if systems and not options.use_system:
        notes.append("the system message was not used; quantserve.use_system makes it replace the rules")
    if body.ignored:
        notes.append(f"without effect here: {', '.join(body.ignored)}")
    if options.retrieve is not None:
        retrieve = replace(retrieve, mode=options.retrieve)
    if options.top_k is not None:
        retrieve = replace(retrieve, top_k=options.top_k)
    tokens = body.max_completion_tokens or body.max_tokens
    if tokens is not None and tokens > bounds.max_answer_tokens:
        notes.append(f"answers end after {bounds.max_answer_tokens} tokens")
        tokens = bounds.max_answer_tokens
    history = tuple(
        {"role": m.role, "content": m.text} for m in body.messages[:-1] if m.role in ("user", "assistant")
    )
    asked = Asked(
        question=last.text,
        retrieve=retrieve,
        history=history,
        system="\n".join(systems) if options.use_system else "",
        mode=options.mode,
        max_tokens=tokens,
        temperature=body.temperature,
    )
    return asked, tuple(notes)


def _too_much(message: str, param: str) -> Refusal:
    return Refusal(400, "limit_exceeded", message, param=param)
