"""An engine for tests: an OpenAI server that can misbehave in the ways that real engines do.

A real child process on the standard library alone: ``python fake_engine.py --socket PATH …``. It speaks
``/health``, ``/metrics`` (vLLM's names), ``/v1/models``, ``/v1/completions`` and ``/v1/chat/completions``,
both also streamed, and vLLM's ``/sleep``, ``/wake_up``, ``/is_sleeping``, ``/collective_rpc`` and
``/reset_prefix_cache``. Its answer is the words of the last message, over and over, ``max_tokens`` of them,
or each once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROGRAM = Path(__file__)

PHASES = (
    "(APIServer pid=1) INFO [api_server.py:1] non-default args: {'model': 'fake'}",
    "(EngineCore pid=2) INFO [core.py:1] Initializing a V1 LLM engine (v0.32.0) with config: fake",
    "(Worker pid=3) INFO [gpu_model_runner.py:1] Starting to load model fake...",
    "(Worker pid=3) Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00, 1.00it/s]",
    "(Worker pid=3) INFO [default_loader.py:1] Loading weights took 0.10 seconds",
    "(EngineCore pid=2) INFO [core.py:1] init engine (profile, create kv cache, warmup model) took 0.1 s",
)
"""Lines that vLLM logs while it starts, in their order."""

READY = "(APIServer pid=1) INFO:     Application startup complete."
"""The line that vLLM logs when it is ready."""


def fake_engine_argv(*options: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command line of a fake engine with these options, which ``read_options`` lists."""
    return (python, "-I", "-S", str(PROGRAM), *options)


def read_options(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", help="listen on this unix socket")
    where.add_argument("--port", type=int, help="listen on this port of 127.0.0.1")
    parser.add_argument("--model", default="fake")
    parser.add_argument("--api-key", default="", help="refuse whoever does not bring it")
    parser.add_argument("--say", default="", help="a line for the log")
    parser.add_argument("--slots", type=int, default=0, help="requests at a time; others wait; 0: all")
    parser.add_argument("--rate", type=float, default=0.0, help="tokens per second; 0: at once")

    start = parser.add_argument_group("its start")
    start.add_argument("--start", type=float, default=0.0, help="seconds until /health says 200")
    start.add_argument("--phases", action="store_true", help="print the lines of a starting vLLM meanwhile")
    start.add_argument("--exit", type=int, default=None, help="end with this code instead of listening")
    start.add_argument("--exit-after", type=float, default=0.0, help="seconds to listen before --exit")

    end = parser.add_argument_group("its end")
    end.add_argument("--ignore-sigterm", action="store_true")
    end.add_argument("--escapee", default="", help="leave a setsid grandchild, and its pid in this file")
    end.add_argument("--heir", default="", help="as --escapee; it also holds the listening socket")
    end.add_argument("--shared-memory", default="", help="leave a shared-memory file of this name")

    life = parser.add_argument_group("while it serves")
    life.add_argument("--hang-file", default="", help="answer nothing while this file exists")
    life.add_argument("--die-on", default="", help="kill itself at a request whose text has this in it")
    life.add_argument("--dead-file", default="", help="while it exists, answer as vLLM without its core")
    life.add_argument("--stall-file", default="", help="generate nothing while it exists; /health says 200")
    life.add_argument("--fail-after", type=int, default=-1, help="send an error frame after so many tokens")
    life.add_argument("--no-sleep", action="store_true", help="know no /sleep, as vLLM on a CPU")
    life.add_argument("--refuse-wake", action="store_true", help="answer /wake_up with 500")
    return parser.parse_args(argv)


class Engine:
    """The state of a fake engine, which all connections share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.slots = threading.Semaphore(options.slots or 1_000_000)
        self.running = 0
        self.waiting = 0
        self.prompt_tokens = 0
        self.tokens = 0
        self.level: int | None = None
        """The level that the engine sleeps at; None while it is awake."""
        self.has_weights = True

    def sleep(self, level: int) -> None:
        """Fall asleep."""
        self.level = level
        self.has_weights = level < 2

    def wake(self, tags: Sequence[str]) -> None:
        """Wake what the tags name, ``weights`` or ``kv_cache``, or all if there is none."""
        if not tags or "kv_cache" in tags:  # which is the last one to wake
            self.level = None

    def reload_weights(self) -> None:
        """Read the weights again, which a deep sleep has dropped."""
        self.has_weights = True

    def wait_while(self, path: str) -> None:
        """Block this connection's thread while a file exists; not at all for an empty path."""
        while path and os.path.exists(path):  # noqa: PTH110
            time.sleep(0.01)

    def count(self, *, running: int = 0, waiting: int = 0, prompt: int = 0, tokens: int = 0) -> None:
        """Add to the counts that ``/metrics`` shows."""
        with self.lock:
            self.running += running
            self.waiting += waiting
            self.prompt_tokens += prompt
            self.tokens += tokens

    def words(self, request: dict[str, Any]) -> Iterator[str]:
        """Yield the words of the answer at the rate of the options, once one of the slots is free."""
        prompt = request["messages"][-1]["content"] if "messages" in request else request["prompt"]
        words = str(prompt).split() or ["…"]
        limit = request.get("max_tokens") or request.get("max_completion_tokens") or len(words)
        self.count(waiting=1)
        try:
            self.slots.acquire()
        finally:
            self.count(waiting=-1)
        self.count(running=1, prompt=len(words))
        try:
            for number, word in enumerate(islice(cycle(words), limit)):
                self.wait_while(self.options.stall_file)
                if self.options.rate:
                    time.sleep(1 / self.options.rate)
                self.count(tokens=1)
                yield word if number == 0 else f" {word}"
        finally:
            self.slots.release()
            self.count(running=-1)

    def metrics(self) -> str:
        """Return the Prometheus text of these figures, under vLLM's names."""
        label = f'{{engine="0",model_name="{self.options.model}"}}'
        figures = {
            "num_requests_running": ("gauge", self.running),
            "num_requests_waiting": ("gauge", self.waiting),
            "kv_cache_usage_perc": ("gauge", self.running / (self.options.slots or 1_000_000)),
            "prompt_tokens_total": ("counter", self.prompt_tokens),
            "generation_tokens_total": ("counter", self.tokens),
        }
        return "".join(
            f"# HELP vllm:{name} It.\n# TYPE vllm:{name} {kind}\nvllm:{name}{label} {float(value)}\n"
            for name, (kind, value) in figures.items()
        )


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection."""

    engine: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        engine, options = self.engine, self.engine.options
        engine.wait_while(options.hang_file)
        if self._is_dead(503 if self.path == "/health" else 500):
            return
        match urlsplit(self.path).path:
            case "/health":
                ready = time.monotonic() - engine.began >= options.start
                self._answer(200 if ready else 503, {} if ready else {"error": {"message": "Loading model"}})
            case "/metrics":
                self._answer(200, engine.metrics(), kind="text/plain; version=0.0.4")
            case "/v1/models":
                self._answer(200, {"object": "list", "data": [{"id": options.model, "object": "model"}]})
            case "/is_sleeping" if not options.no_sleep:
                self._answer(200, {"is_sleeping": engine.level is not None})
            case _:
                self._answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        engine, options = self.engine, self.engine.options
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        engine.wait_while(options.hang_file)
        if self._is_dead(500):
            return
        url = urlsplit(self.path)
        if options.api_key and self.headers.get("authorization") != f"Bearer {options.api_key}":
            self._answer(401, {"error": "Unauthorized"})
        elif options.die_on and options.die_on.encode() in body:
            os.kill(os.getpid(), signal.SIGKILL)
        elif url.path in ("/v1/chat/completions", "/v1/completions"):
            self._complete(json.loads(body), chat="chat" in url.path)
        elif options.no_sleep:
            self._answer(404, {"detail": "Not Found"})
        else:
            self._tier(url.path, parse_qs(url.query), body)

    def _is_dead(self, status: int) -> bool:
        """Answer as vLLM does whose core has died, if it has: 503 at /health, else 500."""
        if not self.engine.options.dead_file or not os.path.exists(self.engine.options.dead_file):  # noqa: PTH110
            return False
        self._answer(status, {"error": {"message": "EngineCore died", "type": "Internal", "code": status}})
        return True

    def _tier(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        engine = self.engine
        match path:
            case "/sleep":
                engine.sleep(int(query.get("level", ["1"])[0]))
            case "/wake_up" if self.engine.options.refuse_wake:
                self._answer(500, {"error": {"message": "CUDA out of memory"}})
                return
            case "/wake_up":
                engine.wake(query.get("tags", []))
            case "/collective_rpc" if json.loads(body)["method"] == "reload_weights":
                engine.reload_weights()
            case "/reset_prefix_cache":
                pass
            case _:
                self._answer(404, {"detail": "Not Found"})
                return
        self._answer(200, "")

    def _complete(self, request: dict[str, Any], *, chat: bool) -> None:
        engine = self.engine
        if engine.level is not None or not engine.has_weights:
            self._answer(500, {"error": {"message": "EngineCore is asleep", "type": "Internal", "code": 500}})
        elif request.get("stream"):
            self._stream(request, chat=chat)
        else:
            text = "".join(engine.words(request))
            message = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choice = {"index": 0, "finish_reason": "stop", **message}
            kind = "chat.completion" if chat else "text_completion"
            self._answer(200, {"object": kind, "model": engine.options.model, "choices": [choice]})

    def _stream(self, request: dict[str, Any], *, chat: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        fail_after = self.engine.options.fail_after
        for number, word in enumerate(self.engine.words(request)):
            if number == fail_after:
                self._frame({"error": {"message": "EngineDeadError", "type": "Internal", "code": 500}})
                break
            piece = {"delta": {"content": word}} if chat else {"text": word}
            self._frame({"object": "chunk", "choices": [{"index": 0, "finish_reason": None, **piece}]})
        else:
            last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
            self._frame({"object": "chunk", "choices": [{"index": 0, "finish_reason": "stop", **last}]})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _frame(self, document: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")
        self.wfile.flush()

    def _answer(self, status: int, body: dict[str, Any] | str, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status, HTTPStatus(status).phrase)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Keep the log to what a test says."""


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on a unix socket, with one thread for each connection."""

    daemon_threads = True


class PortServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on a port, with one thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True


def sleeper(pid_file: str, *descriptors: int) -> None:
    """Start a grandchild that sleeps for an hour, in a session of its own, and write its pid into a file.

    The grandchild inherits the descriptors.
    """
    sleep = "import time; time.sleep(3600)"
    argv = [sys.executable, "-I", "-S", "-c", sleep]
    Path(pid_file).write_text(str(subprocess.Popen(argv, start_new_session=True, pass_fds=descriptors).pid))


def print_phases(began: float, seconds: float) -> None:
    """Print ``PHASES``, spread over so many seconds, and when these are over that the engine is ready."""
    for line in PHASES:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        time.sleep(seconds / len(PHASES))
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()


def serve(server: socketserver.BaseServer, options: argparse.Namespace) -> None:
    """Serve until the process is ended, or for as long as the options say."""
    began = time.monotonic()
    if options.exit is None:
        server.serve_forever(poll_interval=60.0)
    server.timeout = 0.05
    while time.monotonic() - began < options.exit_after:
        server.handle_request()
    os._exit(options.exit)


def main() -> None:
    """Run as a fake engine, with the options of the command line."""
    options = read_options(sys.argv[1:])
    if options.say:
        sys.stdout.write(options.say + "\n")
        sys.stdout.flush()
    if options.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.escapee:
        sleeper(options.escapee)
    if options.shared_memory:
        made = os.open(f"/dev/shm/{options.shared_memory}", os.O_RDWR | os.O_CREAT, 0o600)  # noqa: S108
        os.write(made, b"left")
    if options.exit is not None and not options.exit_after:
        sys.exit(options.exit)
    engine = Engine(options)
    if options.phases:
        printing = (engine.began, options.start)
        threading.Thread(target=print_phases, args=printing, daemon=True).start()
    listen(engine, options)


def listen(engine: Engine, options: argparse.Namespace) -> None:
    """Serve an engine where the options say."""
    Handler.engine = engine
    server = UnixServer(options.socket, Handler) if options.socket else None
    with server or PortServer(("127.0.0.1", options.port), Handler) as listening:
        if options.heir:
            sleeper(options.heir, listening.fileno())
        serve(listening, options)


if __name__ == "__main__":
    main()
