"""Is run B worse than run A? Changes with bootstrap intervals, limits, and an exit code.

In: two run directories and limits such as `ttft_p95>+10%`. Out: one Markdown table and a verdict.
"""
