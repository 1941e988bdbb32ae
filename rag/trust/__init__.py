"""Whether there is an answer, and whether one that was generated can be shown.

In go a question, what was found for it and what a model made of it; out come plain decisions: measured
thresholds (calibration.json, or the file that `rag eval` wrote) say when the answer is "I do not know",
and rules say when a generated text left its language or its sources.
"""
