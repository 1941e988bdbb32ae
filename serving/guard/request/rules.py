"""What one JSON request may ask for, field by field. Pure: settings and body in, a summary or a refusal out.

Types are strict where the engine's are lax ("8" is no number here): otherwise a bound could be passed by
writing the number as text.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from quantserve.core.http.refusal import Refusal, bad_value, too_large
from quantserve.serving.guard.request import conversations
from quantserve.serving.guard.request.bodies import check_tree
from quantserve.serving.guard.request.limits import RequestLimits

_INT32 = 2**31 - 1
_NAMES = ("model", "user", "request_id", "session_id", "cache_salt", "service_tier", "tool_call_parser")
_FLAGS = ("stream", "echo", "ignore_eos", "add_special_tokens", "add_generation_prompt")
_SCHEMAS: dict[str, tuple[type, ...]] = {
    "tools": (list,),
    "functions": (list,),
    "response_format": (dict,),
    "structured_outputs": (dict,),
    "text": (dict,),
    "output_config": (dict,),
    "tool_choice": (str, dict),
}
_ANSWER_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_COUNTED_LISTS = ("stop_token_ids", "allowed_token_ids", "logprob_token_ids", "bad_words", "logit_bias")
# Fields that hold the text itself: one, a list of them, or token ids.
_INPUTS = (
    "prompt",
    "input",
    "query",
    "documents",
    "items",
    "queries",
    "data_1",
    "data_2",
    "text_1",
    "text_2",
    "texts",
)


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """What the rest of the guard needs to know of a request."""

    model: str | None
    sequences: int
    """Slots of the queue it takes: prompts times answers."""
    stream: bool
    characters: int
    answers: int = 1
    """Answers to each prompt."""
    no_answer: bool = False
    """Whether it asks for an answer of no tokens."""


class RequestRules:
    """The checks, with the bounds of the settings looked up once."""

    def __init__(
        self,
        limits: RequestLimits,
        *,
        media_hosts: Collection[str] = (),
        refused_fields: Collection[str] = (),
        auto_tools: bool = True,
    ) -> None:
        """Prepare the tables; `auto_tools`: the model decides on tool calls itself."""
        self._limits = limits
        self._hosts = frozenset(media_hosts)
        self._refused = frozenset(refused_fields)
        self._auto_tools = auto_tools
        tokens, logprobs = limits.max_tokens, limits.max_logprobs
        self._whole: dict[str, tuple[int, int]] = {
            "max_tokens": (0, tokens),
            "max_completion_tokens": (0, tokens),
            "max_output_tokens": (0, tokens),
            "min_tokens": (0, tokens),
            "thinking_token_budget": (-1, tokens),
            "n": (1, limits.max_n),
            "best_of": (1, limits.max_n),
            "top_logprobs": (0, logprobs),
            "prompt_logprobs": (0, logprobs),
            "top_k": (-1, _INT32),
            "top_n": (-1, _INT32),
            "dimensions": (1, _INT32),
            "truncate_prompt_tokens": (-1, _INT32),
            "priority": (-_INT32, _INT32),
            "stream_interval": (1, _INT32),
        }
        self._real: dict[str, tuple[float, float]] = {
            "temperature": (0.0, 100.0),
            "top_p": (0.0, 1.0),
            "min_p": (0.0, 1.0),
            "presence_penalty": (-2.0, 2.0),
            "frequency_penalty": (-2.0, 2.0),
            "repetition_penalty": (0.0, 100.0),
            "length_penalty": (-100.0, 100.0),
        }
        self._known = frozenset((*self._whole, *self._real, *self._refused, "logprobs"))

    def check(self, endpoint: str, body: dict[str, Any]) -> RequestSummary:
        """Check the parsed body of a request to an endpoint, by its name.

        Raises:
            Refusal: 400, naming the field.
        """
        limits = self._limits
        turns = "input" if endpoint == "responses" else "messages"
        conversation = [body.get(name) for name in (turns, "system", "instructions") if name in body]
        rest = {name: value for name, value in body.items() if name not in (turns, "system", "instructions")}
        characters = check_tree(rest, limits, self._hosts)
        if conversation:
            characters = check_tree(conversation, limits, self._hosts)  # as deep as in the body
        for name in self._known.intersection(body):
            self._check_known(endpoint, name, body[name])
        self._check_names(body)
        if endpoint == "responses":
            conversations.check_responses(body)
        sequences = self._check_inputs(endpoint, body, characters)
        self._check_lists(body)
        conversations.check_tools(endpoint, body, auto=self._auto_tools)
        options = body.get("stream_options")
        if options is not None and type(options) is not dict:
            raise bad_value("stream_options must be an object", "stream_options")
        answers = max(int(body.get("n") or 1), int(body.get("best_of") or 1))
        return RequestSummary(
            model=body.get("model"),
            sequences=sequences * answers,
            stream=body.get("stream") is True,
            characters=characters,
            answers=answers,
            no_answer=any(body.get(name) == 0 for name in _ANSWER_LENGTHS),
        )

    def _check_known(self, endpoint: str, name: str, value: Any) -> None:
        if value is None:
            return
        if name in self._refused:
            if value is not False:
                raise Refusal(400, "refused_field", f"{name} is not accepted", param=name)
        elif name == "logprobs":
            if type(value) is not bool:
                _whole(name, value, 0, self._limits.max_logprobs)
        elif name in self._whole:
            _whole(name, value, *self._whole[name])
        else:
            low, high = self._real[name]
            if type(value) not in (int, float):
                raise bad_value(f"{name} must be a number", name)
            if not low <= value <= high:
                raise too_large(f"{name} must be from {low:g} to {high:g}", name)

    def _check_names(self, body: dict[str, Any]) -> None:
        for name in _NAMES:
            value = body.get(name)
            if value is not None:
                if type(value) is not str:
                    raise bad_value(f"{name} must be text", name)
                if len(value) > self._limits.max_name_chars:
                    raise too_large(f"{name} is longer than {self._limits.max_name_chars} characters", name)
        for name in _FLAGS:
            if type(body.get(name)) not in (bool, type(None)):
                raise bad_value(f"{name} must be true or false", name)

    def _check_inputs(self, endpoint: str, body: dict[str, Any], characters: int) -> int:
        """Check texts and messages; return how many prompts there are.

        Whatever stands in a body is checked and counted, since the engine, not the body, decides which of
        several fields it reads.
        """
        limits, prompts = self._limits, 1
        if endpoint == "responses":
            self._check_turns("input", body.get("input"), characters)
        elif endpoint in conversations.ENDPOINTS or body.get("messages") is not None:
            self._check_turns("messages", body.get("messages"), characters)
        if endpoint in conversations.ENDPOINTS:
            return 1
        # A text that is to be cut may be longer than the window.
        most = limits.max_body_bytes if body.get("truncate_prompt_tokens") is not None else None
        for name in _INPUTS:
            value = body.get(name)
            if value is not None:
                prompts = max(prompts, _inputs(name, value, limits, most or limits.max_prompt_chars))
        if endpoint == "completions" and body.get("prompt") in (None, []):
            raise bad_value("prompt is missing or empty", "prompt")
        return prompts

    def _check_turns(self, name: str, found: Any, characters: int) -> None:
        """Check a conversation; `characters` are those of its text."""
        limits = self._limits
        if name == "input" and type(found) is str:
            found = [{"role": "user", "content": found}] if found else None
        if type(found) is not list or not found:
            what = "messages must be a list with at least one message"
            raise bad_value(what if name == "messages" else "input must be text or a list", name)
        if len(found) > limits.max_messages:
            raise too_large(f"more than {limits.max_messages} messages", name)
        if not all(type(message) is dict for message in found):
            raise bad_value("every message must be an object", name)
        if characters > limits.max_prompt_chars:
            raise too_large(f"more than {limits.max_prompt_chars} characters", name)

    def _check_lists(self, body: dict[str, Any]) -> None:
        limits = self._limits
        for field in ("stop", "stop_sequences"):
            stop = body.get(field)
            if stop is None:
                continue
            stops = [stop] if type(stop) is str else stop
            if type(stops) is not list or not all(type(word) is str for word in stops):
                raise bad_value(f"{field} must be text or a list of texts", field)
            if len(stops) > limits.max_stops or any(len(word) > limits.max_name_chars for word in stops):
                raise too_large(
                    f"{field} holds more than {limits.max_stops} texts of {limits.max_name_chars} characters",
                    field,
                )
        for name in _COUNTED_LISTS:
            value = body.get(name)
            if value is not None:
                if type(value) is not (dict if name == "logit_bias" else list):
                    raise bad_value(f"{name} has the wrong type", name)
                if len(value) > (limits.max_stops if name == "bad_words" else limits.max_list_items):
                    raise too_large(f"{name} has too many entries", name)
        tools = body.get("tools")
        if tools is not None and (type(tools) is not list or len(tools) > limits.max_tools):
            raise too_large(f"tools must be a list of at most {limits.max_tools}", "tools")
        for name, kinds in _SCHEMAS.items():
            value = body.get(name)
            if value is None:
                continue
            if type(value) not in kinds:
                raise bad_value(f"{name} has the wrong type", name)
            if type(value) is not str and len(to_json(value)) > limits.max_schema_bytes:
                raise too_large(f"{name} is larger than {limits.max_schema_bytes} bytes", name)
        self._check_template(body.get("chat_template_kwargs"))

    def _check_template(self, given: Any) -> None:
        """Options of the model's own chat template: few, small and plain values."""
        name, limits = "chat_template_kwargs", self._limits
        if given is None:
            return
        if type(given) is not dict:
            raise bad_value(f"{name} must be an object", name)
        if not all(type(value) in (bool, int, float, str, type(None)) for value in given.values()):
            raise bad_value(f"{name} may hold plain values only", name)
        if "chat_template" in given:
            raise Refusal(400, "refused_field", "chat_template is not accepted", param=name)
        if len(to_json(given)) > limits.max_template_bytes:
            raise too_large(f"{name} is larger than {limits.max_template_bytes} bytes", name)


def _whole(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int and not (type(value) is float and value.is_integer()):
        raise bad_value(f"{name} must be a whole number", name)
    if not low <= value <= high:
        raise too_large(f"{name} must be from {low} to {high}", name)


def _inputs(name: str, value: Any, limits: RequestLimits, most_chars: int) -> int:
    """Check one text, a list of texts, token ids or a list of those; return how many prompts they are."""
    if type(value) is str:
        _text(name, value, most_chars)
        return 1
    if type(value) is dict:
        return 1
    if type(value) is not list:
        raise bad_value(f"{name} must be text or a list", name)
    # The first entry tells what the list is; one of mixed types is refused by the engine.
    first = value[0] if value else None
    if type(first) is int:
        _ids(name, value, limits)
        return 1
    if len(value) > limits.max_inputs:
        raise too_large(f"{name} holds more than {limits.max_inputs} entries", name)
    if value and type(first) not in (str, list, dict):
        raise bad_value(f"{name} must hold texts, or lists of token numbers", name)
    for entry in value:
        if type(entry) is str:
            _text(name, entry, most_chars)
        elif type(entry) is list:
            _ids(name, entry, limits)
    return max(1, len(value))


def _text(name: str, text: str, most_chars: int) -> None:
    if len(text) > most_chars:
        raise too_large(f"{name} is longer than {most_chars} characters", name)


def _ids(name: str, ids: list[Any], limits: RequestLimits) -> None:
    if len(ids) > limits.max_prompt_tokens:
        raise too_large(f"{name} has more than {limits.max_prompt_tokens} tokens", name)
