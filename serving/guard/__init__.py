"""Who may ask the engine what, how much and how often: an ASGI middleware in vLLM's own process.

In goes every request of the HTTP server, before vLLM sees it; out comes the same request, or a refusal in
OpenAI's error shape with a 4xx status, an audit line and a metric. `serving plan` shows every limit with
its reason; the settings reach the engine's process in one environment variable.
"""

MIDDLEWARE = "quantserve.serving.guard.middleware.Guard"
TASK_PROBE = "quantserve.serving.guard.launcher_client.TaskProbe"
"""Import paths given to vLLM's --middleware."""
