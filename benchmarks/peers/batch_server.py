"""Hugging Face transformers behind OpenAI HTTP, batching the three ways that came before continuous batching.

    python -m quantserve.benchmarks.peers.batch_server --model DIR --port 9000 --dtype float16

Runs in the serving environment (torch, transformers, starlette, uvicorn), so dtype, libraries and threads
are the engine's. `POST /configure {"mode": "static", "batch": 8, "window_s": 0.05}` sets the way:

single   one request at a time, in order
static   waits until `batch` requests are there, pads them to the longest, runs until all have ended
dynamic  takes what came within `window_s` of the first request, at most `batch`, then as static

An answer is sent when its whole batch has ended, as a caller of `generate()` gets it. Each answer
carries when its slot began, had its own last token, and was free again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import queue
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import transformers
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODES = ("single", "static", "dynamic")
STATIC_FLUSH_S = 3.0
"""A static batch that does not fill up (the tail of a run) starts after this long."""


@dataclasses.dataclass(frozen=True)
class Way:
    """How requests are batched."""

    mode: str = "single"
    batch: int = 1
    window_s: float = 0.05


@dataclasses.dataclass
class BatchJob:
    """One request in the queue."""

    ids: list[int]
    max_tokens: int
    ignore_eos: bool
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[dict[str, Any]]
    queued_s: float


class _Clock(transformers.StoppingCriteria):
    """Stamps every step and ends each sequence at its own length (or EOS)."""

    def __init__(self, jobs: list[BatchJob], width: int, eos: set[int]) -> None:
        """`width` is the padded prompt's length."""
        self.stamps: list[float] = []
        self.lengths: list[int | None] = [None] * len(jobs)
        self._jobs, self._width, self._eos = jobs, width, eos

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self.stamps.append(perf_counter())
        step = input_ids.shape[1] - self._width
        last = input_ids[:, -1].tolist()
        for number, job in enumerate(self._jobs):
            ended = step >= job.max_tokens or (not job.ignore_eos and last[number] in self._eos)
            if self.lengths[number] is None and ended:
                self.lengths[number] = step
        return torch.tensor([length is not None for length in self.lengths])


class BatchEngine:
    """The model and the thread that runs batches."""

    def __init__(self, directory: str, dtype: str, threads: int) -> None:
        """Load a checkpoint directory and start working."""
        torch.set_num_threads(threads)
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(directory)
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=getattr(torch, dtype)
        )
        self.model.train(False)
        eos = self.model.generation_config.eos_token_id
        self.eos = {eos} if isinstance(eos, int) else set(eos or ())
        self.pad = self.tokenizer.pad_token_id
        if self.pad is None:
            self.pad = min(self.eos, default=0)
        self.jobs: queue.Queue[BatchJob] = queue.Queue()
        self.way = Way()
        self.batches = 0
        threading.Thread(target=self._work, daemon=True).start()

    def _collect(self) -> list[BatchJob]:
        jobs = [self.jobs.get()]
        way = self.way
        size = 1 if way.mode == "single" else way.batch
        wait_s = way.window_s if way.mode == "dynamic" else STATIC_FLUSH_S
        limit = perf_counter() + wait_s
        while len(jobs) < size:
            try:
                jobs.append(self.jobs.get(timeout=max(0.0, limit - perf_counter())))
            except queue.Empty:
                break
        return jobs

    def _work(self) -> None:
        while True:
            jobs = self._collect()
            try:
                answers = self.generate(jobs)
            except (RuntimeError, ValueError, IndexError) as error:
                answers = [{"error": str(error)}] * len(jobs)
            for job, answer in zip(jobs, answers, strict=True):
                job.loop.call_soon_threadsafe(_settle, job.answer, answer)

    def generate(self, jobs: list[BatchJob]) -> list[dict[str, Any]]:
        """Run one padded batch to its end."""
        self.batches += 1
        width = max(len(job.ids) for job in jobs)
        ids = torch.full((len(jobs), width), self.pad, dtype=torch.long)
        mask = torch.zeros((len(jobs), width), dtype=torch.long)
        for number, job in enumerate(jobs):
            ids[number, width - len(job.ids) :] = torch.tensor(job.ids)
            mask[number, width - len(job.ids) :] = 1
        clock = _Clock(jobs, width, self.eos)
        began_s = perf_counter()
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=max(job.max_tokens for job in jobs),
                eos_token_id=None,
                pad_token_id=self.pad,
                stopping_criteria=transformers.StoppingCriteriaList([clock]),
            )
        ended_s = perf_counter()
        answers = []
        for number, job in enumerate(jobs):
            length = clock.lengths[number] or len(clock.stamps)
            tokens = out[number, width : width + length].tolist()
            answers.append(
                {
                    "text": self.tokenizer.decode(tokens, skip_special_tokens=True),
                    "usage": {"prompt_tokens": len(job.ids), "completion_tokens": length},
                    "finish": "length" if length >= job.max_tokens else "stop",
                    "quantserve": {
                        "slot": number,
                        "batch": self.batches,
                        "batch_size": len(jobs),
                        "steps": len(clock.stamps),
                        "padded_prompt_tokens": width,
                        "queued_s": job.queued_s,
                        "began_s": began_s,
                        "first_s": clock.stamps[0],
                        "own_end_s": clock.stamps[length - 1],
                        "ended_s": ended_s,
                    },
                }
            )
        return answers


def _settle(future: asyncio.Future[dict[str, Any]], answer: dict[str, Any]) -> None:
    if not future.done():
        future.set_result(answer)


def application(engine: BatchEngine, name: str) -> Starlette:
    """The HTTP face."""

    async def configure(request: Request) -> Response:
        value = await request.json()
        way = Way(**value)
        if way.mode not in MODES or way.batch < 1:
            return JSONResponse({"error": {"message": f"mode is one of {MODES}"}}, 400)
        engine.way = way
        return JSONResponse(dataclasses.asdict(way))

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"}]})

    async def tokenize(request: Request) -> Response:
        value = await request.json()
        return JSONResponse({"count": len(_ids(engine, value))})

    async def complete(request: Request) -> Response:
        value = await request.json()
        loop = asyncio.get_running_loop()
        job = BatchJob(
            ids=_ids(engine, value),
            max_tokens=int(value.get("max_tokens") or 16),
            ignore_eos=bool(value.get("ignore_eos")),
            loop=loop,
            answer=loop.create_future(),
            queued_s=perf_counter(),
        )
        engine.jobs.put(job)
        answer = await job.answer
        if "error" in answer:
            return JSONResponse({"error": {"message": answer["error"]}}, 500)
        chat = "messages" in value
        if value.get("stream"):
            return StreamingResponse(_stream(answer, chat), media_type="text/event-stream")
        return JSONResponse({"choices": [_choice(answer, chat, "message")], "usage": answer["usage"]})

    return Starlette(
        routes=[
            Route("/configure", configure, methods=["POST"]),
            Route("/v1/models", models),
            Route("/tokenize", tokenize, methods=["POST"]),
            Route("/v1/completions", complete, methods=["POST"]),
            Route("/v1/chat/completions", complete, methods=["POST"]),
        ]
    )


def _ids(engine: BatchEngine, value: dict[str, Any]) -> list[int]:
    if "messages" in value:
        ids = engine.tokenizer.apply_chat_template(value["messages"], add_generation_prompt=True)
        return list(ids["input_ids"] if hasattr(ids, "keys") else ids)
    return list(engine.tokenizer(value["prompt"])["input_ids"])


def _choice(answer: dict[str, Any], chat: bool, field: str) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": answer["finish"]}
    return choice | ({field: {"content": answer["text"]}} if chat else {"text": answer["text"]})


async def _stream(answer: dict[str, Any], chat: bool) -> AsyncIterator[str]:
    yield f"data: {json.dumps({'choices': [_choice(answer, chat, 'delta')]})}\n\n"
    last = {"choices": [], "usage": answer["usage"], "quantserve": answer["quantserve"]}
    yield f"data: {json.dumps(last)}\n\n"
    yield "data: [DONE]\n\n"


def main() -> None:
    """Load the model and serve."""
    parser = argparse.ArgumentParser(description="transformers behind OpenAI HTTP, for comparison")
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    engine = BatchEngine(options.model, options.dtype, options.threads)
    name = options.served_model_name or Path(options.model).name
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(application(engine, name), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
