"""How each peer is started. Pure, except for reading /proc/cpuinfo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from quantserve.benchmarks.errors import ServerUnusable
from quantserve.benchmarks.servers import Server, serving_python
from quantserve.core.home import environments

CARRIED = (
    "LD_PRELOAD",
    "ONEDNN_MAX_CPU_ISA",
    "OMP_NUM_THREADS",
    "KMP_BLOCKTIME",
    "KMP_AFFINITY",
    "MALLOC_CONF",
)


def engine_dtype(server: Server) -> str | None:
    """The dtype our server was started with, read from its argv."""
    return flag(server.info.get("argv") or [], "--dtype")


def equal_flags(argv: Sequence[str]) -> list[str]:
    """What plain vLLM gets of our server's flags: the number format, and as much memory for its cache."""
    found = ["--dtype", dtype] if (dtype := flag(argv, "--dtype")) else []
    if cache := flag(argv, "--kv-cache-memory-bytes"):
        copies = int(flag(argv, "--data-parallel-size") or 1)  # each copy of the model has a cache
        found += ["--kv-cache-memory-bytes", str(int(cache) * copies)]
    return found


def flag(argv: Sequence[str], name: str) -> str | None:
    """A flag's value, written `--name value` or `--name=value`."""
    for number, arg in enumerate(argv):
        if arg == name and number + 1 < len(argv):
            return argv[number + 1]
        if arg.startswith(f"{name}="):
            return arg.partition("=")[2]
    return None


def engine_env(server: Server) -> dict[str, str]:
    """The parts of our server's environment that any program on this CPU profits from (or needs to live)."""
    env: dict[str, Any] = server.info.get("env") or {}
    return {name: str(env[name]) for name in CARRIED if name in env}


def transformers(target: str, model: str, port: int, dtype: str) -> list[str]:
    """The batch server, in the serving environment."""
    threads = str(len(os.sched_getaffinity(0)))
    argv = [
        serving_python(),
        "-m",
        "quantserve.benchmarks.peers.batch_server",
        "--model",
        target,
        "--port",
        str(port),
    ]
    return [*argv, "--served-model-name", model, "--dtype", dtype, "--threads", threads]


def vllm_defaults(target: str, model: str, port: int, extra: Sequence[str] = ()) -> list[str]:
    """Plain vLLM, nothing set that is not needed to listen."""
    argv = [serving_python(), "-m", "vllm.entrypoints.openai.api_server", "--model", target]
    return [*argv, "--served-model-name", model, "--host", "127.0.0.1", "--port", str(port), *extra]


def configure(server: Server, mode: str, batch: int, window_s: float) -> None:
    """Tell the batch server which way to batch.

    Raises:
        ServerUnusable: it does not take it.
    """
    url = server.base_url.removesuffix("/v1") + "/configure"
    try:
        body = {"mode": mode, "batch": batch, "window_s": window_s}
        httpx.post(url, json=body, timeout=10.0, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise ServerUnusable(f"the batch server cannot be configured: {error}") from error


# AMD's kernels are installed here and no dependency of vLLM's: by default it runs without them.
VLLM_DEFAULT_ENV = {"PYTHONPATH": str(Path(__file__).with_name("as_installed"))}

LLAMA_SERVER = environments() / "peers/bin/llama-server"
_SLOT_TOKENS = 1024


def llama_cpp(gguf: str, model: str, port: int, users: int, speculation: str | None = None) -> list[str]:
    """llama.cpp's own server with a slot for every user, which it batches continuously too.

    `speculation` is its --spec-type: the kind of speculative decoding.
    """
    threads = str(len(os.sched_getaffinity(0)))
    argv = [os.environ.get("QUANTSERVE_LLAMA_SERVER") or str(LLAMA_SERVER), "--model", gguf, "--alias", model]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--parallel", str(users)]
    argv += ["--ctx-size", str(users * _SLOT_TOKENS), "--threads", threads, "--threads-batch", threads]
    argv += ["--spec-type", speculation] if speculation else []
    return [*argv, "--no-webui"]
