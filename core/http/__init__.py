"""What every HTTP server of ours does: the guard in the engine's process, retrieval, the unavailable server.

In goes a request as ASGI hands it over; out comes who sent it, its body within bounds, a place among those
that run, and a line in a private log, or a refusal in OpenAI's error shape. Nothing here needs a web
framework; only `connections` needs the server it bounds.
"""
