"""A secret of a deployment reaches its engine and nothing else: no answer, log or file of sllm has it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from .cluster import Cluster

ENGINE = """
import http.server, os, sys
print("HF_TOKEN=" + os.environ["HF_TOKEN"], flush=True)
class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
"""


def contents(folder: Path) -> dict[Path, bytes]:
    """Return what is in each file below a folder; one that goes meanwhile is passed over."""
    found = {}
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[path] = path.read_bytes()
    return found


def test_secrets_reach_the_engine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine.py").write_text(ENGINE)
    (tmp_path / "token").write_text("hunter3\n")
    monkeypatch.setenv("TOKEN_OF_THE_WORKER", "hunter2")
    command = [sys.executable, str(tmp_path / "engine.py"), "$PORT", "--api-key", "hunter4"]
    references = {"HF_TOKEN": "env:TOKEN_OF_THE_WORKER", "OTHER": f"file:{tmp_path}/token"}
    document = {"model": "m", "backend": "command", "backend_config": {"command": command}}
    cluster = Cluster(tmp_path / "data", "--allow-command")
    try:
        missing = {**document, "secret_env": {"HF_TOKEN": "env:NO_SUCH_VARIABLE"}}
        refused = cluster.http.post("/deployments", json=missing)
        assert refused.status_code == 400
        assert "has no variable NO_SUCH_VARIABLE" in refused.json()["error"]["message"]

        deployed = cluster.http.post("/deployments", json={**document, "secret_env": references})
        assert deployed.status_code == 200, deployed.text
        shown = cluster.wait_ready("m:command")
        instance = shown["instances"][0]
        environment = Path(f"/proc/{instance['pid']}/environ").read_bytes().split(b"\0")
        assert {b"HF_TOKEN=hunter2", b"OTHER=hunter3"} <= set(environment)

        log = cluster.http.get(f"/instances/{instance['id']}/logs").json()["text"]
        assert "HF_TOKEN=***" in log, "what the engine itself says is masked as it is shown"
        answers = [str(shown), log, httpx2.get(f"{cluster.url}/status", trust_env=False, timeout=60).text]
        assert not [each for each in answers if "hunter" in each]
        assert shown["spec"]["secret_env"] == references
        kept = contents(tmp_path / "data")
        for secret in (b"hunter2", b"hunter3"):
            with_it = [path for path, content in kept.items() if secret in content]
            assert {path.parent.parent.name for path in with_it} <= {"logs"}, "the engine itself wrote it"
        assert cluster.sllm.stop() == 0
    finally:
        cluster.close()
    assert "hunter" not in cluster.sllm.output
