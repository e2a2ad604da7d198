"""How the peers of our gateway are started, each as its own pages say, with what slows it down turned off."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import field, frozen

from bench.gateway_suite.system import System, SystemFailed, free_port, program, wait_to_answer
from bench.gateway_suite.target import Target
from bench.harness.process_tree import descendants

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENTS: Final = ROOT / ".bench-peers"
"""Where ``make bench-peers`` puts an environment for each peer."""

MODEL: Final = "bench"
KEY: Final = f"sk-{secrets.token_hex(24)}"
"""LiteLLM starts with no weaker one; the others pass it on unread."""

SOON = 90.0
"""LiteLLM takes a quarter of a minute to start on a quiet machine."""


@frozen
class Peer:
    """A gateway of somebody else.

    Attributes:
        name: Its row.
        executable: What is run, or None where it is not installed.
        remedy: How to install it.
        arguments: Given its port, that of the upstream, a port for its metrics and a folder for its files.
        environment: What is added to its environment.
        package: Whose version is told, where it is not named as the peer is.
    """

    name: str
    executable: Path | None
    remedy: str
    arguments: Callable[[int, int, int, Path], list[str]]
    environment: dict[str, str] = field(factory=dict)
    package: str = ""


def peers() -> dict[str, Peer]:
    """Return all of them by name, installed or not."""
    pip = "run `make bench-peers`"
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    all_of_them = (
        Peer("vllm-router", _installed("vllm_router", "vllm-router"), pip, vllm_router),
        Peer("smg", _installed("smg", "smg"), pip, smg),
        Peer("litellm", _installed("litellm", "litellm"), pip, litellm, LITELLM_ENVIRONMENT),
        Peer("ray-serve", _installed("ray", "python"), pip, ray_serve, RAY_ENVIRONMENT, "ray"),
        Peer("nginx", None if nginx is None else Path(nginx), "install the package nginx", nginx_arguments),
    )
    return {peer.name: peer for peer in all_of_them}


@contextmanager
def open_peer(peer: Peer, upstream: int, folder: Path) -> Iterator[System]:
    """Run a peer before the upstream on that port of loopback.

    Raises:
        SystemFailed: It is not installed, or does not serve.
    """
    if peer.executable is None:
        raise SystemFailed(f"it is not installed: {peer.remedy}")
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "output.log"
    command = [str(peer.executable), *peer.arguments(port, upstream, free_port(), folder)]
    with program(command, log, peer.environment) as process:
        wait_to_answer(Target(port, KEY, MODEL, {}), process, log, within=SOON)
        pids = [each.pid for each in descendants(process.pid)]
        yield System(peer.name, Target(port, KEY, MODEL, {"gateway": pids}), _version(peer))


def vllm_router(port: int, upstream: int, metrics: int, folder: Path) -> list[str]:  # noqa: ARG001
    """Return the arguments of vllm-router."""
    return [
        *("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics)),
        *("--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"),
        *("--log-level", "warning", "--worker-startup-check-interval", "1"),
        *("--max-concurrent-requests", "1000000"),  # which is also how many requests a second it lets through
    ]


def smg(port: int, upstream: int, metrics: int, folder: Path) -> list[str]:  # noqa: ARG001
    """Return the arguments of smg."""
    return [
        *("launch", "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics)),
        *("--worker-urls", f"http://127.0.0.1:{upstream}", "--backend", "openai"),
        *("--policy", "round_robin", "--log-level", "warn"),
        *("--max-concurrent-requests", "0"),  # no bound
    ]


LITELLM_ENVIRONMENT: Final = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}


def litellm(port: int, upstream: int, metrics: int, folder: Path) -> list[str]:  # noqa: ARG001
    """Return the arguments of LiteLLM's proxy, whose file is written to the folder."""
    model = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": KEY}
    content = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "general_settings": {"master_key": KEY},
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps(content))  # JSON is YAML, too
    return ["--host", "127.0.0.1", "--port", str(port), "--config", str(config), "--telemetry", "False"]


RAY_ENVIRONMENT: Final = {"RAY_USAGE_STATS_ENABLED": "0"}
RAY_APP: Final = ROOT / "bench" / "peers" / "on_ray_serve.py"


def ray_serve(port: int, upstream: int, metrics: int, folder: Path) -> list[str]:  # noqa: ARG001
    """Return the arguments of a small app on Ray Serve."""
    return [str(RAY_APP), str(port), str(upstream)]


NGINX: Final = """
daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream engine {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://engine; proxy_http_version 1.1; proxy_buffering off;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def nginx_arguments(port: int, upstream: int, metrics: int, folder: Path) -> list[str]:  # noqa: ARG001
    """Return the arguments of nginx, with one worker process; its file is written to the folder."""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    return ["-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]


def _installed(peer: str, command: str) -> Path | None:
    path = ENVIRONMENTS / peer / "bin" / command
    return path if path.exists() else None


def _version(peer: Peer) -> str:
    """Return the version that is installed, or nothing where it cannot be told."""
    assert peer.executable is not None
    if peer.name == "nginx":
        said = subprocess.run(
            [str(peer.executable), "-v"], capture_output=True, text=True, check=False
        ).stderr
        return said.strip().rpartition("/")[2]
    code = f"from importlib.metadata import version; print(version({(peer.package or peer.name)!r}))"
    python = str(peer.executable.with_name("python"))
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
