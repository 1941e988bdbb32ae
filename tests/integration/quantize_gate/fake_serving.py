"""Stands in for the serving interpreter: `fake_serving.py -m serving serve TARGET --port 0 …`, or `plan`.

A real server on a real socket that speaks the part of the OpenAI API the gate uses. TARGET/fake.json, or
RUN_DIR/fake.json by the beginning of the target's name, says how the model behaves:

    decay      the token ranked r has probability (1 - decay) * decay^(r - 1)
    shift      the actual token's rank, less one
    reads      added to each token id of a text, as by another tokenizer
    answer     every chat answer, with finish_reason stop; finish_reason, prompt_ids override
    call       the answer to a request that calls for a tool
    knows      of the gate's short prompts in the order asked, [first, one after the last] answered rightly
    dtype      what it computes in, unless `-- --dtype` says otherwise; then the behaviour of that name,
               such as "float32": {"knows": [0, 5]}, goes before its own
    nan        "400" (as vLLM does), "500" or "null": what an engine answers whose figures are no numbers
    slow_s     seconds each output token takes in a speed measurement
    alone      end with a complaint while another engine is up
    log        lines of the engine's log
    complaint  print it and end with code 1 instead of serving
    die_after  answer so many requests, then vanish
    faults     list of HTTP faults given first: "cut", "500", "garbage", "400", "no-choice"
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from quantserve.quantize.gate.facts import verdict_facts

VOCABULARY = 1000
ASKED = 40
# Question → number in the order asked, those with a plain answer only, and that answer.
FACTS = {
    fact.question: (number, fact.accept[0])
    for number, fact in enumerate(f for f in verdict_facts(["en"], ASKED) if f.rule in ("contains", "number"))
}


def option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def tokens_of(text: str) -> list[int]:
    return [sum(word.encode()) % VOCABULARY for word in text.split()]


def prompt_logprobs(ids: list[int], k: int, behaviour: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    from math import log

    decay, shift = float(behaviour.get("decay", 0.5)), int(behaviour.get("shift", 0))
    for number, token in enumerate(ids):
        if number == 0:
            yield None
            continue
        ranked = [(token - shift + r) % VOCABULARY for r in range(max(k, shift + 1))]
        logprobs = {str(t): log(1 - decay) + r * log(decay) for r, t in enumerate(ranked)}
        kept = {str(token), *(str(t) for t in ranked[:k])}
        yield {t: {"logprob": v, "rank": r + 1} for r, (t, v) in enumerate(logprobs.items()) if t in kept}


def answer(path: str, body: dict[str, Any], behaviour: dict[str, Any]) -> dict[str, Any]:
    usage = {"completion_tokens": body["max_tokens"] if body.get("ignore_eos") else 3}
    if body.get("ignore_eos"):
        time.sleep(float(behaviour.get("slow_s", 0.0)) * body["max_tokens"])
    if path == "/v1/chat/completions":
        question = body["messages"][0]["content"]
        said = (
            behaviour.get("call", "I cannot.") if "FUNCTION" in question else behaviour.get("answer", "Good.")
        )
        first, last = behaviour.get("knows", (0, 0))
        known = FACTS.get(question, (-1, ""))
        if first <= known[0] < last:
            said = known[1]
        choice = {
            "message": {"content": said},
            "finish_reason": behaviour.get("finish_reason", "stop"),
            "token_ids": tokens_of(said),
        }
        ids = behaviour.get("prompt_ids", tokens_of(question))
        return {"choices": [choice], "usage": usage, "prompt_token_ids": ids}
    prompt = body["prompt"]
    ids = prompt
    if isinstance(prompt, str):
        read = [token + int(behaviour.get("reads", 0)) for token in tokens_of(prompt)]
        ids = read[: body.get("truncate_prompt_tokens")]
    found: dict[str, Any] = {"index": 0, "text": "x", "finish_reason": "length", "prompt_token_ids": ids}
    if k := body.get("prompt_logprobs"):
        found["prompt_logprobs"] = list(prompt_logprobs(ids, k, behaviour))
    return {"choices": [found], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    behaviour: dict[str, Any]
    lock = threading.Lock()
    served = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            faults = self.behaviour.get("faults", [])
            fault = faults.pop(0) if faults else None
            type(self).served += 1
            if self.served > self.behaviour.get("die_after", 1_000_000):
                os._exit(9)
        if "nan" in self.behaviour and body.get("prompt_logprobs") and fault is None:
            fault = "nan"
        if fault == "nan" and self.behaviour["nan"] != "null":
            self.reply(
                int(self.behaviour["nan"]),
                b'{"error": {"message": "Out of range float values are not JSON compliant: nan"}}',
            )
        elif fault == "nan":
            reply = answer(self.path, body, self.behaviour)
            for entry in reply["choices"][0]["prompt_logprobs"][1:]:
                next(iter(entry.values()))["logprob"] = None
            self.reply(200, json.dumps(reply).encode())
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif fault == "garbage":
            self.reply(200, b"<html>proxy error</html>")
        elif fault == "no-choice":
            self.reply(200, b'{"choices": []}')
        elif fault is not None:
            self.reply(int(fault), b'{"error": {"message": "broken on purpose"}}')
        else:
            self.reply(200, json.dumps(answer(self.path, body, self.behaviour)).encode())

    def reply(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def start(behaviour: dict[str, Any]) -> ThreadingHTTPServer:
    """Return a listening server; the caller serves and closes it."""
    handler = type("Configured", (Handler,), {"behaviour": behaviour, "served": 0})
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def behaviour_of(target: Path, run_dir: Path) -> dict[str, Any]:
    """Read TARGET/fake.json, or the entry of RUN_DIR/fake.json with which the target's name begins."""
    if (target / "fake.json").is_file():
        own: dict[str, Any] = json.loads((target / "fake.json").read_text(encoding="utf-8"))
        return own
    known = json.loads((run_dir / "fake.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(value for name, value in known.items() if target.name.startswith(name))
    return found


def plan(argv: list[str]) -> int:
    """Print how TARGET would be served: its name, and what RUN_DIR/plan.json says besides; "" is no plan."""
    target, run_dir = Path(argv[argv.index("plan") + 1]), Path(option(argv, "--run-dir"))
    own = run_dir / "plan.json"
    text = own.read_text(encoding="utf-8") if own.is_file() else "{}"
    if not text:
        sys.stderr.write("serving: 400 GB of memory are needed\n")
        return 6
    given = json.loads(text)
    words = ["python", "-m", "engine", "--model", str(target.absolute()), *given.get("argv", [])]
    print(json.dumps({"argv": words, "env": given.get("env", {})}))
    return 0


def main(argv: list[str]) -> int:
    if "plan" in argv:
        return plan(argv)
    target = Path(argv[argv.index("serve") + 1])
    behaviour = behaviour_of(target, Path(option(argv, "--run-dir")))
    Path(option(argv, "--log")).write_text("\n".join(behaviour.get("log", [])), encoding="utf-8")
    starts = Path(option(argv, "--run-dir"), "starts")
    before = starts.read_text(encoding="utf-8").split()[1::2] if starts.is_file() else []
    with starts.open("a", encoding="utf-8") as stream:
        stream.write(f"{target.name} {os.getpid()}\n")
    if behaviour.get("alone") and any(Path(f"/proc/{pid}").exists() for pid in before):
        sys.stderr.write("serving: not enough memory beside another engine\n")
        return 1
    if "complaint" in behaviour:
        sys.stderr.write("a line before\n" + behaviour["complaint"] + "\n")
        return 1
    dtype = option(argv, "--dtype") if "--dtype" in argv else behaviour.get("dtype", "float32")
    behaviour = {**behaviour, **behaviour.get(dtype, {})}
    if "complaint" in behaviour:
        sys.stderr.write(behaviour["complaint"] + "\n")
        return 1
    server = start(behaviour)
    ready_file = Path(option(argv, "--ready-file"))
    url = f"http://127.0.0.1:{server.server_port}"
    ready: dict[str, Any] = {
        "url": url,
        "model": target.name,
        "dtype": dtype,
        "ready_s": 1.5,
        "kv_cache_tokens": 64,
        "argv": [],
    }
    aside = ready_file.with_suffix(".aside")
    aside.write_text(json.dumps(ready), encoding="utf-8")
    aside.rename(ready_file)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
