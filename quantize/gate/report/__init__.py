"""What a gate run leaves: a table for people, `report.json` for programs, a page, and a model card.

In: the verdict with all that it rests on. Out: the artifact's report.json (last), report.html and README.md.
"""
