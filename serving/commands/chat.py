"""`serving chat`: talk to the model in the terminal, by the official openai client."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any
from unicodedata import normalize

import typer

from quantserve.core.console import console, emit_piece, styled
from quantserve.core.errors import UsageError
from quantserve.serving.chat import END_WORDS, Complete, Conversation, Message
from quantserve.serving.commands import parameters as p
from quantserve.serving.errors import ServingError
from quantserve.serving.offline import first_model
from quantserve.serving.tls import client_context

if TYPE_CHECKING:
    import openai  # takes a second to import; the other commands need not wait for it

_READ_TIMEOUT_S = 300.0


def chat(
    base_url: Annotated[
        str | None, typer.Option(envvar="OPENAI_BASE_URL", help="By default the server that `up` started.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="By default the first the server has.")] = None,
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key, if the server asks.")] = "none",
    system: Annotated[str, typer.Option(help="Instruction the model gets first.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.2,
    run_dir: p.RunDirOption = p.RUN.path,
) -> None:
    """Talk to the running model: streaming, history, /system, /reset, /save FILE, /help; 종료 ends."""
    import openai

    url = base_url or p.running_url(run_dir)
    trusted = client_context(p.certificate_of(run_dir, url))
    client = openai.OpenAI(
        base_url=url,
        api_key=api_key,
        timeout=_READ_TIMEOUT_S,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=trusted),
    )
    chosen = model or first_model(client)
    console.print(styled((chosen, "bold"), f" at {client.base_url}  (/help; 종료 or Ctrl-D ends)"))
    talk(Conversation(system), _completer(client, chosen, max_tokens, temperature))


def _completer(client: openai.OpenAI, model: str, max_tokens: int, temperature: float) -> Complete:
    import openai

    def complete(messages: list[Message]) -> Iterator[str]:
        plain: Any = messages  # the client's own message types are narrower than its wire format
        try:
            with client.chat.completions.create(
                model=model, messages=plain, max_tokens=max_tokens, temperature=temperature, stream=True
            ) as stream:
                for chunk in stream:
                    if chunk.choices and chunk.choices[0].delta.content:
                        yield chunk.choices[0].delta.content
        except openai.BadRequestError as error:
            raise ServingError(f"the server refused: {error}", mend="/reset forgets a long talk") from error
        except openai.OpenAIError as error:
            raise ServingError(f"the server did not answer: {error}") from error

    return complete


def talk(conversation: Conversation, complete: Complete) -> None:
    """Read lines until the end is asked for; Ctrl-C stops an answer, not the chat."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  gives input() line editing and history
    while True:
        try:
            # Some keyboards send Hangul as loose letters, which would not be the word that ends the chat.
            line = normalize("NFC", input("\n> " if sys.stdin.isatty() else "").strip())
        except EOFError:
            break
        if line in END_WORDS:
            break
        if not line:
            continue
        try:
            if line.startswith("/"):
                console.print(conversation.command(line), markup=False)
            else:
                conversation.ask(line, complete, emit_piece)
                emit_piece(os.linesep)
        except (UsageError, ServingError) as error:
            console.print(str(error), style="red", markup=False)
        except KeyboardInterrupt:
            console.print("(stopped; this answer is forgotten)")
