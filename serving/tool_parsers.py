"""Tool calls that a client demands, for families whose parser in vLLM knows only those the model decides on.

vLLM loads this file by --tool-parser-plugin. A demanded call is written as JSON under a schema of the tools,
as for every other family; a call of the model's own is still read in the family's form.
"""

from __future__ import annotations

from typing import Any

from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager
from vllm.tool_parsers.mistral_tool_parser import MistralToolParser


class DemandableMistral(MistralToolParser):  # type: ignore[misc]  # vLLM is not where types are checked
    """Mistral's parser, with JSON for calls that are demanded."""

    supports_required_and_named = True

    def adjust_request(self, request: Any) -> Any:
        """Have a demanded call follow the tools' schema, and leave everything else to the family's parser."""
        if request.tool_choice in (None, "auto", "none"):
            return super().adjust_request(request)
        return ToolParser.adjust_request(self, request)


ToolParserManager.register_module("quantserve_mistral", force=True, module=DemandableMistral)
