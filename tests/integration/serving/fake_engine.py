"""Stands in for vLLM where only the launcher is under test: answers one token, has a stubborn child.

python fake_engine.py PORT [die]        "die" ends at once with an error like vLLM's
"""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps({"usage": {"completion_tokens": 1}}).encode())

    def do_GET(self) -> None:
        self.answer(b"")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if "die" in sys.argv:
        print("(EngineCore pid=1) ERROR 11-22 09:00:00 [core.py:1] ValueError: no room for the cache")
        print("RuntimeError: Engine core initialization failed. See root cause above.")
        sys.exit(1)
    subprocess.Popen([sys.executable, "-c", CHILD])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
