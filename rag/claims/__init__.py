"""What a sentence claims, taken apart, and whether a passage claims it too.

In go a sentence, a question and the texts of passages; out come the passages that say what the sentence
says, or none. There is no likeness here and no share of words: a number, a name, a unit, a negation, a
comparison and who does what to whom either stand in one sentence of the passage or the claim is not proved.
"""

from quantserve.rag.claims.proof import Prover
from quantserve.rag.claims.reading import Reading, Unit, read

__all__ = ["Prover", "Reading", "Unit", "read"]
