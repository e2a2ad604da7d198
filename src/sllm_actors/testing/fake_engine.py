"""An engine for tests: speaks enough OpenAI, starts at once, and can misbehave in the ways that real ones do.

A real child process on the standard library alone: ``python fake_engine.py --socket PATH …``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socketserver
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

PROGRAM = Path(__file__)


def fake_engine_argv(*options: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command line of a fake engine. See ``read_options`` for what it takes."""
    return (python, "-I", "-S", str(PROGRAM), *options)


def read_options(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--start", type=float, default=0.0, help="seconds until /health says 200")
    parser.add_argument("--say", default="", help="a line for the log")
    parser.add_argument("--exit", type=int, default=None, help="end with this code instead of listening")
    parser.add_argument(
        "--exit-after", type=float, default=0.0, help="seconds until then, listening meanwhile"
    )
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument(
        "--escapee", default="", help="start a setsid grandchild, and write its pid to this file"
    )
    parser.add_argument("--shared-memory", default="", help="leave a shared-memory file of this name")
    parser.add_argument("--hang-file", default="", help="answer nothing while this file exists")
    return parser.parse_args(argv)


class Handler(BaseHTTPRequestHandler):
    """``/health``, ``/v1/models``, and an answer that echoes the last message."""

    options: ClassVar[argparse.Namespace]
    began: ClassVar[float]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._hang()
        if self.path == "/health":
            ready = time.monotonic() - self.began >= self.options.start
            self._answer(200 if ready else 503, {} if ready else {"error": {"message": "Loading model"}})
        elif self.path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": self.options.model, "object": "model"}]})
        else:
            self._answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._hang()
        text = request["messages"][-1]["content"]
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        answer = {"object": "chat.completion", "model": self.options.model, "choices": [choice]}
        self._answer(200, answer)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Keep the log to what a test says."""

    def _hang(self) -> None:
        while self.options.hang_file and os.path.exists(self.options.hang_file):  # noqa: PTH110
            time.sleep(0.01)

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread for each connection."""

    daemon_threads = True


def main() -> None:
    """Be an engine."""
    options = read_options(sys.argv[1:])
    if options.say:
        sys.stdout.write(options.say + "\n")
        sys.stdout.flush()
    if options.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.escapee:
        sleep = "import time; time.sleep(3600)"
        middle = subprocess.Popen([sys.executable, "-I", "-S", "-c", sleep], start_new_session=True)
        Path(options.escapee).write_text(str(middle.pid))
    if options.shared_memory:
        Path("/dev/shm", options.shared_memory).write_bytes(b"left")  # noqa: S108
    if options.exit is not None and not options.exit_after:
        sys.exit(options.exit)
    Handler.options = options
    Handler.began = time.monotonic()
    with Server(options.socket, Handler) as server:
        if options.exit is None:
            server.serve_forever()
        server.timeout = 0.05
        while time.monotonic() - Handler.began < options.exit_after:
            server.handle_request()
    os._exit(options.exit)


if __name__ == "__main__":
    main()
