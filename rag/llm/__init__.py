"""The model server: any OpenAI-compatible one, through the openai client.

In go messages; out comes text piece by piece, with token counts. Requests are repeated with jitter while
the server is overloaded, cancelled upstream when nobody waits any more, and not made at all for a while
after too many failures.
"""

from quantserve.rag.llm.cancel import Cancellation
from quantserve.rag.llm.client import ModelServer
from quantserve.rag.llm.served import Message, ServedModel, StreamFacts

__all__ = ["Cancellation", "Message", "ModelServer", "ServedModel", "StreamFacts"]
