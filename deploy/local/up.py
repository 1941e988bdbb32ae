"""`quantserve up`: from a bare machine to an answered question.

Runs the stages in order, shows a line and the seconds for each, and skips what is done and unchanged:
every stage's own program knows that by content, so nothing here can be stale.
"""

from __future__ import annotations

import json
import os
import time

from quantserve.core.console import console, styled
from quantserve.core.errors import EXIT_INTERRUPTED, UsageError
from quantserve.core.files import write_json
from quantserve.core.home import command_home
from quantserve.deploy.local.memory import PeakMemory
from quantserve.deploy.local.options import UpOptions, check, require_documents
from quantserve.deploy.local.port import require_port
from quantserve.deploy.local.stages import NAMES, STAGES, Found, StageFailed, program, run_program, run_stage

_COUNT = len(STAGES) + 1  # the question is the last stage
_ALONE = ("setup", "index")


def _print(number: int, name: str, *words: str | tuple[str, str]) -> None:
    console.print(styled((f"[{number}/{_COUNT}]", "bold"), f" {name:<9} ", *words), soft_wrap=True)


def run_stages(
    options: UpOptions, memory: PeakMemory, last: str = NAMES[-1]
) -> tuple[Found, dict[str, float]]:
    """Run the stages up to and with `last`; return what each found and its seconds."""
    found: Found = {}
    seconds: dict[str, float] = {}
    for number, stage in enumerate(STAGES[: NAMES.index(last) + 1], start=1):
        _print(number, stage.name, "…")
        with memory.during(stage.name):
            outcome = run_stage(stage, options, found)
        found[stage.name], seconds[stage.name] = outcome.result, outcome.seconds
        words = stage.says(outcome.result)
        _print(number, stage.name, ("ok", "green"), f" {outcome.seconds:7.1f} s  {words}")
    return found, seconds


def ask(options: UpOptions, found: Found) -> float:
    """Ask the question on the terminal; return the seconds it took.

    An answer already given to this question by this version over this index is not asked for again.
    """
    _print(_COUNT, "ask", options.question)
    started = time.perf_counter()
    asked = {
        "question": options.question,
        "version": found["promote"]["current"],
        "generation": found["index"]["generation"],
        "started_at": found["serve"]["started_at"],
    }
    memory = command_home() / "run" / "asked.json"
    if memory.is_file() and json.loads(memory.read_text(encoding="utf-8")) == asked:
        _print(_COUNT, "ask", ("ok", "green"), " asked and answered before: unchanged")
        return time.perf_counter() - started
    command = program("rag", "ask", options.question, "--base-url", found["serve"]["base_url"])
    done = run_program(command)
    if done.returncode != 0:
        raise StageFailed(
            "ask", done.returncode, "quantserve status shows what runs, quantserve logs what it said"
        )
    write_json(memory, asked)
    return time.perf_counter() - started


def summary(options: UpOptions, found: Found, seconds: dict[str, float], peaks: dict[str, int]) -> str:
    """Return the closing words: what runs where, how to call it, what to do next."""
    model, version, url = found["serve"]["model"], found["promote"]["current"], options.base_url
    times = "  ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    most = max(peaks, key=lambda name: peaks[name])
    return f"""{model} ({version}) is served at {url}

  curl {url}/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}],
         "max_tokens": 64, "temperature": 0}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}", api_key="none")
  messages = [{{"role": "user", "content": "Hello"}}]
  reply = client.chat.completions.create(model="{model}", messages=messages, temperature=0)
  print(reply.choices[0].message.content)

{_next_words()}

Seconds: {times}  total {sum(seconds.values()):.1f}
Peak memory: {peaks[most] / 2**30:.1f} GiB ({most})"""


def _next_words() -> str:
    """Return what can be typed next, as what was typed now: by make, or by the command."""
    if "MAKELEVEL" in os.environ:
        return (
            'Next:  make ask Q="질문"   make chat   make status   make logs   make down   make help\n'
            "Own documents: make index DOCS=path/   own model: make up MODEL=path-or-hub-id"
        )
    return (
        'Next:  quantserve ask "질문"   quantserve status   quantserve down   quantserve --help\n'
        "Own documents: quantserve rag index path/   own model: quantserve up --model path-or-hub-id"
    )


def run_up(options: UpOptions, until: str, only: str) -> None:
    """Run everything, the stages up to one, or one stage alone.

    Raises:
        UsageError, ResourceError: an option is wrong or the port is taken; nothing was started.
        StageFailed: a stage failed; those before it are done.
    """
    check(options)
    if until not in ("", *NAMES) or only not in ("", *_ALONE) or (until and only):
        raise UsageError(
            f"there is no stage {until or only}"
            if not (until and only)
            else "--until and --only exclude each other",
            mend=f"--until takes {', '.join(NAMES)}; --only takes {', '.join(_ALONE)}",
        )
    memory = PeakMemory()
    if until in ("", "serve", "index") and not only:
        require_port(options)
    if "index" in (until, only) or not (only or until):
        require_documents(options)
    if until:
        run_stages(options, memory, until)
        return
    if only:
        run_stage(STAGES[NAMES.index(only)], options, {})
        return
    try:
        found, seconds = run_stages(options, memory)
    except StageFailed as failed:
        if failed.problem or failed.exit_code == EXIT_INTERRUPTED:
            raise
        mend = "Mend that and run up again; finished stages are kept"
        raise StageFailed(failed.stage, failed.exit_code, mend) from failed
    with memory.during("ask"):
        seconds["ask"] = ask(options, found)
    words = summary(options, found, seconds, memory.peaks)
    console.print(styled("\n", ("Ready.", "green"), f" {words}"), soft_wrap=True)
