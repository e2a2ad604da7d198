"""A model hub on this machine: the file API of the real one, and ways to make it misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import define, field

_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
STEP = 64 * 1024


def commit_of(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for name, data in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()


@define
class HubServer:
    """What it has, how it behaves, and what it was asked.

    Attributes:
        commits: Files by repository and commit.
        branches: Commits by repository and revision.
        gated: The token that opens a repository.
        cut_after: Bytes of an answer after which the connection is closed, once for each number.
        ranged: Whether it answers with a part of a file when that is asked for.
        step_delay: Seconds between two pieces of 64 KiB.
        asked: Each request as ``GET path``, and the ``Range`` of those that had one.
    """

    url: str = ""
    commits: dict[str, dict[str, dict[str, bytes]]] = field(factory=dict)
    branches: dict[str, dict[str, str]] = field(factory=dict)
    gated: dict[str, str] = field(factory=dict)
    cut_after: list[int] = field(factory=list)
    damage: bool = False
    ranged: bool = True
    step_delay: float = 0.0
    asked: list[tuple[str, str]] = field(factory=list)

    def put(self, repo: str, files: Mapping[str, bytes], revision: str = "main") -> str:
        """Make a commit, and let a branch be it; return its hash."""
        commit = commit_of(files)
        self.commits.setdefault(repo, {})[commit] = dict(files)
        self.branches.setdefault(repo, {})[revision] = commit
        return commit

    def gets(self, name: str = "") -> list[str]:
        """Return the paths of files that were asked for, each as often as it was."""
        return [
            path for path, _ in self.asked if path.startswith("GET") and "/resolve/" in path and name in path
        ]

    def ranges(self) -> list[str]:
        return [span for _, span in self.asked if span]


class _Refusal(Exception):
    def __init__(self, status: int, code: str) -> None:
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((f"{self.command} {path}", self.headers.get("Range", "")))
        raw = urlsplit(self.path).path
        try:
            if found := _INFO.fullmatch(raw):
                self._info(unquote(found["repo"]), unquote(found["revision"]))
            elif found := _FILE.fullmatch(raw):
                self._file(found["repo"], unquote(found["revision"]), unquote(found["name"]), body=body)
            else:
                self.send_error(404)
        except _Refusal as refusal:
            self.send_response(refusal.status)
            if refusal.code:
                self.send_header("X-Error-Code", refusal.code)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except OSError:
            self.close_connection = True

    def _commit(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]]:
        commits = self.hub.commits.get(repo)
        if commits is None:
            raise _Refusal(404, "RepoNotFound") if self._token() else _Refusal(401, "")
        commit = self.hub.branches[repo].get(revision, revision)
        if commit not in commits:
            raise _Refusal(404, "RevisionNotFound")
        return commit, commits[commit]

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _info(self, repo: str, revision: str) -> None:
        commit, files = self._commit(repo, revision)
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
                **({"lfs": self._lfs(data)} if len(data) > 1024 else {}),
            }
            for name, data in files.items()
        ]
        answer = json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _lfs(self, data: bytes) -> dict[str, object]:
        return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}

    def _file(self, repo: str, revision: str, name: str, *, body: bool) -> None:
        commit, files = self._commit(repo, revision)
        if repo in self.hub.gated and self._token() != self.hub.gated[repo]:
            raise _Refusal(403 if self._token() else 401, "GatedRepo")
        if name not in files:
            raise _Refusal(404, "EntryNotFound")
        data = files[name]
        start = 0
        span = self.headers.get("Range")
        if span and self.hub.ranged:
            start = int(span.removeprefix("bytes=").partition("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self._send(data[start:])

    def _send(self, data: bytes) -> None:
        if self.hub.damage:
            data = data[:-1] + bytes([data[-1] ^ 1])
        limit = self.hub.cut_after.pop(0) if self.hub.cut_after and len(data) > STEP else len(data)
        for start in range(0, limit, STEP):
            self.wfile.write(data[start : min(start + STEP, limit)])
            time.sleep(self.hub.step_delay)
        if limit < len(data):
            self.close_connection = True


@contextmanager
def run_hub(address: str = "127.0.0.1") -> Iterator[HubServer]:
    """Run a hub on a free port of an address of this machine."""
    hub = HubServer()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer((address, 0), handler)
    hub.url = f"http://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
