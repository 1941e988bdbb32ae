"""`serving batch`: a file of requests in the OpenAI batch format, answered into another."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quantserve.core.console import console, emit_json, progress
from quantserve.core.errors import UsageError
from quantserve.serving.batch.run import BatchOptions, count_lines, run_batch
from quantserve.serving.commands import parameters as p
from quantserve.serving.temporary import temporary_server

_BATCH = BatchOptions()


def batch(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Requests: custom_id, url, body.")],
    output: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="Answers; what it holds is kept.")],
    target: Annotated[
        Path | None, typer.Argument(help="Artifact or checkpoint to serve meanwhile.", show_default=False)
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="A running server; without it and TARGET, the one `up` started.")
    ] = None,
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key, if the server asks.")] = "none",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = _BATCH.concurrency,
    retries: Annotated[int, typer.Option(min=0, help="Of one request, with waits.")] = _BATCH.retries,
    timeout_s: Annotated[float, typer.Option(min=1, help="Of one request.")] = _BATCH.timeout_s,
    profile: p.ProfileOption = p.SERVE.profile,
    run_dir: p.RunDirOption = p.RUN.path,
) -> None:
    """Answer a file of requests. Run again after any interruption, it goes on where it stopped.

    Exit code 1 when a line was bad or refused; each has its line in the output all the same.
    """
    if target is not None and base_url is not None:
        raise UsageError("TARGET starts a server, --base-url names one", mend="Give one of the two")
    total = count_lines(source)
    options = BatchOptions(concurrency, retries, timeout_s)
    with ExitStack() as stack:
        if target is not None:
            url = stack.enter_context(temporary_server(target, profile=profile, run=run_dir)).base_url
        else:
            url = base_url or p.running_url(run_dir)
        bar = stack.enter_context(progress())
        task = bar.add_task(source.name, total=total)
        certificate = p.certificate_of(run_dir, url)
        result = run_batch(source, output, url, api_key, options, lambda: bar.advance(task), certificate)
    console.print(
        f"{result.answered} answered, {result.refused} refused, {result.bad_lines} bad lines, "
        f"{result.skipped} finished before: {output}",
        markup=False,
        soft_wrap=True,
    )
    emit_json({**asdict(result), "lines": result.lines, "output": str(output)})
    raise typer.Exit(1 if result.refused or result.bad_lines else 0)
