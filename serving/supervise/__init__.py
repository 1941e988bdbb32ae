"""Keeps one engine serving: restarts what dies, replaces what hangs, drains before it stops, leaves nothing.

In goes a plan's argv and environment, out comes a server on one address for as long as it is wanted: the
launcher holds the listening socket, the engine inherits it, and while there is no engine the unavailable
server answers 503 with Retry-After in its place. What launcher and engine tell each other stands in
`serving.guard.launcher_line`.
"""
