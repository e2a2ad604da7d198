"""What the launcher tells the person at the terminal once its gateway answers: address, and how to use it."""

from __future__ import annotations

import ssl
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import httpx2

from sllm_actors.observe.terminal import announce

from .plan import LauncherPlan

DEMO_MODEL = "smollm2-135m"
DEMO_ID = f"{DEMO_MODEL}:llamacpp"
DEMO = {"model": DEMO_MODEL, "backend": "llamacpp", "source": f"demo:{DEMO_MODEL}", "preload": True}


async def welcome(plan: LauncherPlan) -> None:
    """Wait until the gateway answers, deploy the demo model if the plan says so, and say what to do next.

    It waits as long as it takes, for the demo model to be ready too; the launcher cancels it when it stops.
    """
    headers = {"authorization": f"Bearer {plan.key}"} if plan.key else {}
    client = httpx2.AsyncClient(
        base_url=plan.gateway_url,
        headers=headers,
        timeout=30.0,
        trust_env=False,
        verify=plan.certificate is None or _only(plan.certificate),
    )
    async with client:
        while await _get(client, "/health") is None:  # noqa: ASYNC110 - it is another process
            await anyio.sleep(0.1)
        key = f" (key: {plan.data_dir / 'admin-key'})" if plan.key else ""
        announce(f"OpenAI API: {plan.public_url}/v1{key}")
        if plan.demo:
            await _demo(client)
            announce(_snippets(plan.public_url))
        else:
            announce("deploy a model: sllm deploy NAME --backend llamacpp --source /path/to/model.gguf")


def _only(certificate: Path) -> ssl.SSLContext:
    """Return a context that trusts who has the key of this certificate, whatever names it is for."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


async def _demo(client: httpx2.AsyncClient) -> None:
    """Deploy the demo model as soon as the worker is there, and tell of its progress until it is ready."""
    await _wait_for_worker(client)
    said = ""
    while True:
        document = await _get(client, f"/deployments/{DEMO_ID}")
        if document is None:
            said = _say(said, await _deploy(client))
        elif document["state"] == "ready":
            announce(f"{DEMO_ID}: ready")
            return
        else:
            said = _say(said, ": ".join(text for text in (document["state"], document["detail"]) if text))
        await anyio.sleep(0.1)


async def _wait_for_worker(client: httpx2.AsyncClient) -> None:
    while True:
        status = await _get(client, "/nodes") or {"nodes": []}
        if any(node["role"] == "worker" and node["state"] == "up" for node in status["nodes"]):
            return
        await anyio.sleep(0.05)


async def _deploy(client: httpx2.AsyncClient) -> str:
    try:
        response = await client.post("/deployments", json=DEMO)
    except httpx2.TransportError as error:
        return f"not deployed yet ({error})"
    if response.is_success:
        return "deployed"
    message: str = response.json()["error"]["message"]
    return f"not deployed: {message}"


async def _get(client: httpx2.AsyncClient, path: str) -> Any | None:
    try:
        response = await client.get(path)
    except httpx2.TransportError:
        return None
    return response.json() if response.status_code == 200 else None


def _say(said: str, state: str) -> str:
    if state != said:
        announce(f"{DEMO_ID}: {state}")
    return state


def _snippets(url: str) -> str:
    """Return two ways to ask the demo model, each to be pasted into a shell as it is."""
    python = sys.executable if find_spec("openai") else "python3"
    needed = "" if find_spec("openai") else " (needs: pip install openai)"
    return f"""
Ask it with curl:

curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{{
  "model": "{DEMO_MODEL}", "messages": [{{"role": "user", "content": "What is gravity?"}}]}}'

or with the openai package{needed}:

{python} - <<'END'
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="none")
stream = client.chat.completions.create(
    model="{DEMO_MODEL}", messages=[{{"role": "user", "content": "What is gravity?"}}], stream=True
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
END

^C stops everything.
"""
