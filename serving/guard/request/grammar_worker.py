"""Compiles one constraint after another with the engine's own library, for the guard that started it.

    python -m quantserve.serving.guard.request.grammar_worker TOKENIZER_DIRECTORY

In comes one JSON line {"kind", "text", "cpu_s"} for each, out goes one {"problem"}: null where it compiles.
Each is compiled in a fork, which has the tokenizer already. The kernel ends it when it takes more processor
time than it may (SIGPROF), since a library written in Rust cannot be interrupted otherwise.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_MEMORY_BYTES = 4 << 30
_NICE = 5
TOO_LONG = "too long"
TOO_LARGE = "too large"
UNREADABLE = "unreadable"
_STEPS = 6
"""Some constraints fail only when an answer has begun, so the first tokens are tried."""
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_PARTS = (
    *("additionalProperties", "unevaluatedProperties", "propertyNames", "contains", "additionalItems"),
    *("unevaluatedItems", "not", "if", "then", "else", "contentSchema", "items", "prefixItems"),
    *("allOf", "anyOf", "oneOf"),
)
_WHITESPACE = {"whitespace_flexible": False}


def closed(schema: Any) -> Any:
    """Return a schema whose objects hold what it names, unless it says otherwise, as the engine is told to.

    vLLM's backend_guidance does the same.
    """
    if isinstance(schema, list):
        return [closed(part) if isinstance(part, dict) else part for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for name in _MAPS:
        if isinstance(found.get(name), dict):
            found[name] = {k: closed(v) if isinstance(v, dict) else v for k, v in found[name].items()}
    for name in _PARTS:
        if isinstance(found.get(name), dict | list):
            found[name] = closed(found[name])
    named = isinstance(found.get("properties"), dict) or isinstance(found.get("patternProperties"), dict)
    if named and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


def _serialized(kind: str, text: str) -> str:
    """Return the library's form of a constraint, as vLLM's backend_guidance makes it.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    from llguidance import LLMatcher, StructTag, grammar_from

    def schema(found: Any) -> str:
        return str(LLMatcher.grammar_from_json_schema(closed(found), defaults=_WHITESPACE))

    if kind == "json":
        return schema(json.loads(text))
    if kind != "structural_tag":
        return str(grammar_from(kind, text))
    tag = json.loads(text)
    triggers: list[str] = tag["triggers"]
    tags = [
        StructTag(
            trigger=next(t for t in triggers if s["begin"].startswith(t)),
            begin=s["begin"],
            grammar=schema(s["schema"]),
            end=s["end"],
        )
        for s in tag["structures"]
    ]
    return str(StructTag.to_grammar(tags))


def problem_of(kind: str, text: str, tokenizer: Any) -> str | None:
    """Return why a constraint does not compile, or lets no answer begin; None when it does."""
    from llguidance import LLMatcher

    try:
        grammar = _serialized(kind, text)
    except StopIteration:
        return "a structure's begin starts with none of the triggers"
    except RecursionError:
        return "it is nested too deeply"
    except MemoryError:
        return TOO_LARGE
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    found: str = LLMatcher.validate_grammar(grammar, tokenizer)
    if found:
        return found
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    for _ in range(_STEPS):
        if matcher.is_error() or matcher.is_stopped():
            break
        allowed = matcher.compute_bitmask()
        if not any(allowed):
            break
        byte = next(k for k, bits in enumerate(allowed) if bits)
        matcher.consume_token(8 * byte + (allowed[byte] & -allowed[byte]).bit_length() - 1)
    return matcher.get_error().partition("<state>")[0].strip() or None


def _tokenizer(directory: Path) -> Any:
    from llguidance import LLTokenizer

    file = directory / "tokenizer.json"
    return LLTokenizer(str(file)) if file.is_file() else LLTokenizer("byte")


def _answer(asked: dict[str, Any], tokenizer: Any) -> None:
    """Compile in this process, which may be ended for it, and say what came of it."""
    signal.setitimer(signal.ITIMER_PROF, asked["cpu_s"])
    problem = problem_of(asked["kind"], asked["text"], tokenizer)
    _say({"problem": problem})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def _end_of(status: int) -> str:
    """Tell from how a compilation ended what was wrong with what it compiled."""
    if not os.WIFSIGNALED(status):  # an exception of the library's own
        return UNREADABLE
    return TOO_LONG if os.WTERMSIG(status) == signal.SIGPROF else TOO_LARGE


def main() -> None:
    """Answer until the other end closes."""
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tokenizer = _tokenizer(Path(sys.argv[1]))
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            _answer(json.loads(line), tokenizer)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            _say({"problem": _end_of(status)})


if __name__ == "__main__":
    main()
