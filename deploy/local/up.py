"""From a bare machine to an answered question. Run as: python3.11 -m quantserve.deploy.local.up (make up)

Runs the stages in order, shows a line and the seconds for each, and skips what is done and unchanged:
every stage's own program knows that by content, so nothing here can be stale.
"""

from __future__ import annotations

import argparse
import json
import time

from quantserve.core.errors import EXIT_INTERRUPTED
from quantserve.core.files import write_json
from quantserve.deploy.local import settings as make_variables
from quantserve.deploy.local.environments import HOME
from quantserve.deploy.local.memory import PeakMemory
from quantserve.deploy.local.port import require_port
from quantserve.deploy.local.settings import Settings
from quantserve.deploy.local.stages import STAGES, Found, StageFailed, program, run_program, run_stage
from quantserve.deploy.local.terminal import paint, run_main, say

_COUNT = len(STAGES) + 1  # the question is the last stage
_NAMES = tuple(stage.name for stage in STAGES)


def _head(number: int, name: str) -> str:
    return f"{paint(f'[{number}/{_COUNT}]', 'bold')} {name:<9}"


def run_stages(
    settings: Settings, memory: PeakMemory, last: str = _NAMES[-1]
) -> tuple[Found, dict[str, float]]:
    """Run the stages up to and with `last`; return what each found and its seconds."""
    found: Found = {}
    seconds: dict[str, float] = {}
    for number, stage in enumerate(STAGES[: _NAMES.index(last) + 1], start=1):
        say(f"{_head(number, stage.name)} …")
        with memory.during(stage.name):
            outcome = run_stage(stage, settings, found)
        found[stage.name], seconds[stage.name] = outcome.result, outcome.seconds
        words = stage.says(outcome.result)
        say(f"{_head(number, stage.name)} {paint('ok', 'green')} {outcome.seconds:7.1f} s  {words}")
    return found, seconds


def ask(settings: Settings, found: Found) -> float:
    """Ask the question on the terminal; return the seconds it took.

    An answer already given to this question by this version over this index is not asked for again.
    """
    say(f"{_head(_COUNT, 'ask')} {settings.Q}")
    started = time.perf_counter()
    asked = {
        "question": settings.Q,
        "version": found["promote"]["current"],
        "generation": found["index"]["generation"],
        "started_at": found["serve"]["started_at"],
    }
    memory = HOME / "run" / "asked.json"
    if memory.is_file() and json.loads(memory.read_text(encoding="utf-8")) == asked:
        say(f"{_head(_COUNT, 'ask')} {paint('ok', 'green')} asked and answered before: unchanged")
        return time.perf_counter() - started
    command = program("rag", "rag", "ask", settings.Q, "--base-url", found["serve"]["base_url"])
    done = run_program(command)
    if done.returncode != 0:
        raise StageFailed("ask", done.returncode, "make status shows what runs, make logs what it said")
    write_json(memory, asked)
    return time.perf_counter() - started


def summary(settings: Settings, found: Found, seconds: dict[str, float], peaks: dict[str, int]) -> str:
    """Return the closing words: what runs where, how to call it, what to do next."""
    model, version = found["serve"]["model"], found["promote"]["current"]
    times = "  ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    most = max(peaks, key=lambda name: peaks[name])
    return f"""
{paint("Ready.", "green")} {model} ({version}) is served at {settings.base_url}

  curl {settings.base_url}/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}],
         "max_tokens": 64, "temperature": 0}}'

  from openai import OpenAI
  client = OpenAI(base_url="{settings.base_url}", api_key="none")
  messages = [{{"role": "user", "content": "Hello"}}]
  reply = client.chat.completions.create(model="{model}", messages=messages, temperature=0)
  print(reply.choices[0].message.content)

Next:  make ask Q="질문"   make chat   make status   make logs   make down   make help
Own documents: make index DOCS=path/   own model: make up MODEL=path-or-hub-id

Seconds: {times}  total {sum(seconds.values()):.1f}
Peak memory: {peaks[most] / 2**30:.1f} GiB ({most})"""


def main() -> None:
    """Run everything, or what the option asks for."""
    parser = argparse.ArgumentParser(prog="up", description="From a bare machine to an answered question")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--until", choices=_NAMES, help="stop after this stage")
    some.add_argument("--only", choices=("setup", "index"), help="run one stage that needs no other")
    options = parser.parse_args()
    settings = make_variables.read()
    memory = PeakMemory()
    if options.until in (None, "serve", "index") and not options.only:
        require_port(settings)
    if options.only == "index" or options.until == "index" or not (options.only or options.until):
        make_variables.require_documents(settings)
    if options.until:
        run_stages(settings, memory, options.until)
        return
    if options.only:
        run_stage(STAGES[_NAMES.index(options.only)], settings, {})
        return
    try:
        found, seconds = run_stages(settings, memory)
    except StageFailed as failed:
        if failed.problem or failed.exit_code == EXIT_INTERRUPTED:
            raise
        mend = "Mend that and run make up again; finished stages are kept"
        raise StageFailed(failed.stage, failed.exit_code, mend) from failed
    with memory.during("ask"):
        seconds["ask"] = ask(settings, found)
    say(summary(settings, found, seconds, memory.peaks))


if __name__ == "__main__":
    run_main(main)
