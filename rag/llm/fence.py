"""What a text from outside may not do in a prompt: close its fence, or speak with the template's voice.

A tokenizer reads a chat template's markers (<|im_end|>, </s>, [INST]) in a message as the markers
themselves, so a passage with one could end its message and begin another's. They are broken up here, in
every spelling that Unicode normalisation would turn into them.
"""

from __future__ import annotations

import re
import unicodedata

_FENCE = re.compile(r"<\s{0,8}/?\s{0,8}passages?\b[^<>]{0,200}>?", re.IGNORECASE)
_MARKERS = re.compile(
    r"<\s{0,8}\|[^<>|]{0,60}\|\s{0,8}>"  # <|im_start|>, <|eot_id|>
    r"|\[\s{0,8}\|[^\[\]|]{0,60}\|\s{0,8}\]"  # [|system|]
    r"|<\s{0,8}/?\s{0,8}(?:s|bos|eos|pad|unk|mask|cls|sep|start_of_turn|end_of_turn|think|tool_call|tool_response)\s{0,8}>"
    r"|\[\s{0,8}/?\s{0,8}(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\s{0,8}\]"
    r"|<<\s{0,8}/?\s{0,8}SYS\s{0,8}>>",
    re.IGNORECASE,
)
_FOLDED = str.maketrans(
    {"＜": "<", "＞": ">", "｜": "|", "／": "/", "﹤": "<", "﹥": ">", "［": "[", "］": "]"}
)
_KEPT_CONTROLS = frozenset("\n\t")
_UNSEEN = frozenset({"Cf", "Cc", "Co", "Cn", "Cs"})


def _visible(text: str) -> str:
    """Take out what cannot be seen (zero width, direction marks, controls) or written (surrogates)."""
    return "".join(
        character
        for character in text
        if character in _KEPT_CONTROLS or unicodedata.category(character) not in _UNSEEN
    )


def harmless(text: str) -> str:
    """Return a text that holds no fence and no marker of a chat template; the rest stays as it is.

    Taking something out can put something new together, so it is done until nothing is left to do.
    """
    text = _visible(text)
    if not re.search(r"[<＜﹤\[［]", text):
        return text
    if _MARKERS.search(text.translate(_FOLDED)) or _FENCE.search(text.translate(_FOLDED)):
        text = text.translate(_FOLDED)
    while True:
        cleaned = _MARKERS.sub(" ", _FENCE.sub(" ", text))
        if cleaned == text:
            return text
        text = cleaned
