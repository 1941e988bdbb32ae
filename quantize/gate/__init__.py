"""The quality gate: may this artifact serve?

In: an artifact and the base checkpoint it was made from. Both are started, one at a time, exactly as
they would be deployed, and measured over the OpenAI HTTP API. Out: `report.json` in the artifact with
a verdict, ACCEPT, REGRESSION, ANOMALOUS or INFEASIBLE, and every figure beside its threshold.
"""
