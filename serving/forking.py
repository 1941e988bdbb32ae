"""Fork vLLM's processes from one that has imported everything: on a CPU a start takes half the time.

On a CPU vLLM starts its engine core and each worker as fresh interpreters, one after the other, and each
imports torch and vLLM again for five to eight seconds. Here the API server imports what all of them need,
and forks a server for further forks (multiprocessing's own fork server) before it has started anything. That
server computes nothing and starts no thread, so that a fork of it is sound; what each process needs in its
environment, such as its processors for OpenMP, travels with it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, forkserver, popen_forkserver, resource_tracker, util
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

from quantserve.serving import zen
from quantserve.serving.hardware.system import parse_id_list
from quantserve.serving.processes import give_way

VARIABLE = "QUANTSERVE_FORK_SERVER"
"""`1`: vLLM's processes are forked from a fork server. It is for engines of one worker, whose processors are
named, and for Intel's OpenMP (serving.planning.environment)."""
BINDING = "VLLM_CPU_OMP_THREADS_BIND"
ONE_PROCESS = "quantserve.serving.one_process.OneProcess"
"""The executor with which the engine core computes itself; it needs to be forked."""

_SHARED = [
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
]


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Is the variable set, and are the processors of each engine known?"""
    return (
        environment.get(VARIABLE) == "1"
        and re.fullmatch(r"[\d,-]+(\|[\d,-]+)*", environment.get(BINDING, "")) is not None
    )


def processors(environment: Mapping[str, str] = os.environ) -> list[tuple[int, ...]]:
    """Return the processors of each engine, by its rank."""
    return [tuple(parse_id_list(part)) for part in environment[BINDING].split("|")]


def _openmp(rank: int) -> dict[str, str]:
    """What OpenMP is told by its environment in the engine of that rank, as vLLM tells its workers."""
    own = processors()[rank]
    return {
        "OMP_NUM_THREADS": str(len(own)),
        "KMP_AFFINITY": f"granularity=fine,explicit,proclist=[{','.join(map(str, own))}]",
        # milliseconds a thread looks for more work before it sleeps
        "KMP_BLOCKTIME": "5",
        "KMP_TPAUSE": "0",
    }


def _computes_itself() -> bool:
    return any(ONE_PROCESS in word for word in sys.argv)


class _Popen(popen_forkserver.Popen):
    """Its exit code comes once, through a pipe: of two threads that ask, CPython 3.11 tells one 255."""

    _one_reader = threading.Lock()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if flag != os.WNOHANG and self.returncode is None:
            connection.wait([self.sentinel])
        with self._one_reader:
            return super().poll(os.WNOHANG)


class _Process(ForkServerProcess):
    """A process that begins as its parent wishes, not as the fork server is."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> _Popen:
        return _Popen(process_obj)

    def start(self) -> None:
        self._environment = dict(os.environ)
        self._processors: set[int] | None = None
        self._gives_way = False
        # an engine core has a rank; whoever balances several has none
        rank = vars(self)["_kwargs"].get("local_dp_rank")
        if rank is not None and _computes_itself():
            self._environment |= _openmp(rank)
            # Intel's OpenMP binds the threads it starts, and leaves the forked one where it is
            self._processors = {processors()[rank][0]}
            self._gives_way = len(processors()) > 1
        elif multiprocessing.parent_process() is None:
            # the engine core waits and schedules, on whatever processor is free; a worker computes on its own
            self._processors = os.sched_getaffinity(0)
        super().start()

    def run(self) -> None:
        if self._processors is not None:
            os.sched_setaffinity(0, self._processors)
        if self._gives_way:
            give_way()
        for name in os.environ.keys() - self._environment.keys():
            del os.environ[name]
        os.environ.update(self._environment)
        super().run()


class _Context(ForkServerContext):
    Process = _Process


@contextmanager
def bound() -> Iterator[None]:
    """Import what vLLM's processes share, with Intel's OpenMP set as vLLM would set it for its first worker.

    OpenMP reads its settings at its first use, which is within these imports, and again in every fork: they
    hold in what is forked within this context.
    """
    import setproctitle

    openmp = _openmp(0)
    # it finds the place of the title only as long as the environment is as it was
    setproctitle.getproctitle()
    everywhere, before = os.sched_getaffinity(0), dict(os.environ)
    os.environ.update(openmp)
    importlib.import_module("torch")
    # OpenMP has bound this process, which is to serve HTTP
    os.sched_setaffinity(0, everywhere)
    zen.prepare()
    for name in _SHARED:
        importlib.import_module(name)
    yield
    # and vLLM would leave it a worker's threads
    for name in openmp:
        os.environ.pop(name)
    os.environ.update(before)


def start_fork_server(*private: int) -> None:
    """Fork the server; before this process starts any thread.

    `private` are descriptors that no other process may keep open. What multiprocessing would set when it
    starts its fork server as a fresh interpreter (CPython 3.11, ForkServer.ensure_running) is set here.
    """
    resource_tracker.ensure_running()
    address = str(Path(util.get_temp_dir(), "forks"))  # in a folder that is this user's alone
    alive_reader, alive_writer = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        process_id = os.fork()
        if process_id == 0:
            _serve_forks(listener.detach(), alive_reader, (alive_writer, *private))
    os.close(alive_reader)
    known = {
        "_forkserver_address": address,
        "_forkserver_alive_fd": alive_writer,
        "_forkserver_pid": process_id,
    }
    vars(forkserver._forkserver).update(known)


def _serve_forks(listener_fd: int, alive_fd: int, unused: tuple[int, ...]) -> None:
    """Serve until every process that may ask for one has ended."""
    from vllm.utils.system_utils import set_process_title

    code = 1
    try:
        for descriptor in unused:
            os.close(descriptor)
        set_process_title("ForkServer")
        # a fork asks this server too, instead of starting its own
        vars(forkserver._forkserver).update(ensure_running=resource_tracker.ensure_running)
        forkserver.main(listener_fd, alive_fd, preload=[])
    except SystemExit:
        code = 0
    finally:
        os._exit(code)


def fork_instead_of_spawning() -> None:
    """Have whatever asks for fresh interpreters in this process get forks of the server."""
    original = multiprocessing.get_context

    def get_context(method: str | None = None) -> BaseContext:
        return _Context() if method == "spawn" else original(method)

    vars(multiprocessing).update(get_context=get_context)
