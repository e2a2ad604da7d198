"""A real HTTP server that plays a gateway's REST interface, in a thread of the test process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal
from attrs import define, field
from quart import Quart, Response, jsonify, request

from sllm_actors.http_server import serve_asgi
from sllm_actors.serving.id_converter import IdConverter

Answer = tuple[Response, int]
STOP_SECONDS = 10.0


def deployment(name: str, *, state: str = "ready", **more: Any) -> dict[str, Any]:
    """Return a deployment as the gateway describes it; ``name`` is ``model:backend``."""
    model, _, backend = name.rpartition(":")
    described: dict[str, Any] = {
        "id": name,
        "model": model,
        "backend": backend,
        "revision": 1,
        "status": "active",
        "state": state,
        "detail": None,
        "ready_replicas": 1 if state == "ready" else 0,
        "desired_replicas": 1,
        "spec": {"model": model, "backend": backend},
        "instances": [],
    }
    return described | more


@define
class PlayedGateway:
    """What the server answers with, and what it was asked.

    Attributes:
        deployments: By id. A list stands for one answer after the other; its last one stays.
        page: How many entries a page has at most.
        totals: What is said of the whole cluster beside each page.
        unlisted: Deployments that the first status does not show: they are deployed later.
        polls_until_gone: How often a deleted deployment is still found.
        no_models: Models that there are not.
        tokens: The pieces of each chat answer.
        token_seconds: The pause before each of them.
        refusal: Status, message and code to answer everything with, where set.
        mistakes: The mistakes that go with it.
        refused: The methods that it is for.
        changed: The keys that an update changes.
        left: How many replicas each question about a drained node finds on it, one after the other.
        pulls: What each question about a pull finds on its workers, one after the other; the last one stays.
            [] is a refusal: the gateway, or the head, is away.
        events: The journal.
        streams: What each client that follows it is sent, one after the other, before its stream ends; where
            none is left, nothing comes and the stream goes on. [] is a refusal: the gateway is away.
        requests: Method, path and body of everything that came, in order.
        queries: The queries of them, as they were sent.
        keys: The Authorization headers that came.
        api_keys: Those that were made, by name.
    """

    url: str = ""
    deployments: dict[str, list[dict[str, Any]]] = field(factory=dict)
    nodes: list[dict[str, Any]] = field(factory=list)
    unlisted: tuple[str, ...] = ()
    page: int = 1000
    totals: dict[str, Any] | None = None
    logs: dict[str, list[dict[str, Any]]] = field(factory=dict)
    warnings: list[str] = field(factory=list)
    created: bool = True
    polls_until_gone: int = 2
    no_models: tuple[str, ...] = ("nosuch", ".", "..", "a b/c")
    tokens: list[str] = field(factory=lambda: ["Hel", "lo", "."])
    token_seconds: float = 0.0
    last_event: str | None = "[DONE]"
    refusal: tuple[int, str, str] | None = None
    mistakes: list[dict[str, Any]] = field(factory=list)
    refused: tuple[str, ...] = ("GET", "POST", "PATCH", "DELETE")
    changed: list[str] = field(factory=list)
    left: list[int] = field(factory=list)
    pulls: list[list[dict[str, Any]]] = field(factory=list)
    events: list[dict[str, Any]] = field(factory=list)
    streams: list[list[dict[str, Any]]] = field(factory=list)
    queries: list[str] = field(factory=list)
    requests: list[tuple[str, str, Any]] = field(factory=list)
    keys: list[str | None] = field(factory=list)
    hang_ups: int = 0
    api_keys: dict[str, dict[str, Any]] = field(factory=dict)

    def add(self, *described: dict[str, Any]) -> None:
        """Make a deployment known; several answers of the same id come one after the other."""
        for each in described:
            self.deployments.setdefault(each["id"], []).append(each)

    def bodies(self, method: str, path: str) -> list[Any]:
        """Return the bodies of the requests that came for a path."""
        return [body for one, other, body in self.requests if (one, other) == (method, path)]

    def next_of(self, answers: dict[str, list[dict[str, Any]]], name: str) -> dict[str, Any] | None:
        """Return the next answer for a name; the last one is given again and again."""
        left = answers.get(name)
        if not left:
            return None
        return left.pop(0) if len(left) > 1 else left[0]


def refuse(status: int, message: str, code: str, mistakes: list[dict[str, Any]] | None = None) -> Answer:
    """Return an error as OpenAI's API shapes it."""
    error: dict[str, Any] = {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": code,
    }
    error |= {"mistakes": mistakes} if mistakes else {}
    return jsonify({"error": error}), status


def build_app(gateway: PlayedGateway) -> Quart:
    """Return the application; it reads ``gateway`` anew for each request."""
    app = Quart("played")
    app.url_map.merge_slashes = False
    app.url_map.converters["id"] = IdConverter

    @app.before_request
    async def note() -> Answer | None:
        body = await request.get_json(silent=True)
        gateway.requests.append((request.method, request.path, body))
        gateway.keys.append(request.headers.get("Authorization"))
        gateway.queries.append(request.query_string.decode())
        if gateway.refusal is None or request.method not in gateway.refused:
            return None
        return refuse(*gateway.refusal, gateway.mistakes)

    _serve_deployments(app, gateway)
    _serve_updates(app, gateway)
    _serve_pulls(app, gateway)
    _serve_loading(app, gateway)
    _serve_keys(app, gateway)
    _serve_what_is_known(app, gateway)
    _serve_events(app, gateway)
    _serve_chat(app, gateway)
    return app


def _serve_deployments(app: Quart, gateway: PlayedGateway) -> None:
    @app.post("/deployments")
    async def deploy() -> Any:
        body = await request.get_json()
        name = f"{body['model']}:{body.get('backend', 'vllm')}"
        return {
            "deployment_id": name,
            "status": "active",
            "revision": 1,
            "created": gateway.created,
            "changed": gateway.changed,
            "message": "",
            "warnings": gateway.warnings,
        }

    @app.get("/deployments/<id:name>")
    async def describe(name: str) -> Any:
        found = gateway.next_of(gateway.deployments, name)
        if found is not None and "refusal" in found:
            return refuse(*found["refusal"])
        if found is not None and found["status"] == "deleting":
            gateway.polls_until_gone -= 1
            if gateway.polls_until_gone < 0:
                found = None
        return found or refuse(404, f"no deployment {name}", "not_found")

    @app.delete("/deployments/<id:name>")
    async def delete(name: str) -> Any:
        if name not in gateway.deployments:
            return refuse(404, f"no deployment {name}", "not_found")
        gateway.deployments[name] = [deployment(name, state="deleting", status="deleting")]
        return {"status": "deleting", "deployment_id": name, "message": ""}, 202


def _serve_updates(app: Quart, gateway: PlayedGateway) -> None:
    def updated(name: str, revision: int) -> dict[str, Any]:
        return {
            "deployment_id": name,
            "revision": revision,
            "created": False,
            "changed": gateway.changed,
            "warnings": gateway.warnings,
        }

    @app.patch("/deployments/<id:name>")
    async def patch(name: str) -> Any:
        return updated(name, 2) if name in gateway.deployments else refuse(404, f"no {name}", "not_found")

    @app.post("/deployments/<id:name>/<any(pause, resume):verb>")
    async def roll(name: str, verb: str) -> Any:
        return {"deployment_id": name, "revision": 2, "status": verb, "message": ""}

    @app.delete("/nodes/<id:name>")
    async def remove(name: str) -> Answer:
        return jsonify({"node": "w-1", "name": name, "removed": True, "message": f"{name} is removed"}), 200

    @app.post("/nodes/<id:name>/<any(drain, undrain):verb>")
    async def drain(name: str, verb: str) -> Any:
        left = gateway.left.pop(0) if verb == "drain" and gateway.left else 0
        if left < 0:
            return refuse(503, "come back later", "away")
        sentence = f"{name}: {verb}, {left} left"
        status = {"drain": "draining" if left else "drained", "undrain": "up"}[verb]
        body = {"node": "id", "name": name, "status": status, "replicas": left, "message": sentence}
        return body, 202 if left else 200


def _serve_pulls(app: Quart, gateway: PlayedGateway) -> None:
    def pulled() -> Any:
        pulls = gateway.pulls
        workers = (pulls.pop(0) if len(pulls) > 1 else pulls[0]) if pulls else [pulled_on("w1")]
        if not workers:
            return refuse(503, "come back later", "away")
        state = next((each["state"] for each in workers if each["state"] != "done"), "done")
        return {"id": "a-ticket", "backend": "vllm", "source": "hf:m", "state": state, "workers": workers}

    @app.post("/models/pull")
    async def begin_pull() -> Any:
        return pulled()

    @app.get("/models/pull/<id:name>")
    async def describe_pull(name: str) -> Any:
        return pulled() if name == "a-ticket" else refuse(404, f"there is no pull {name}", "not_found")


def _serve_loading(app: Quart, gateway: PlayedGateway) -> None:
    @app.post("/deployments/<id:name>/<any(load, unload, sleep, wake):verb>")
    async def change(name: str, verb: str) -> Any:
        if name not in gateway.deployments:
            return refuse(404, f"there is no deployment {name}", "deployment_not_found")
        gateway.next_of(gateway.deployments, name)  # from now on it is as the next answer says
        state = {"load": "ready", "unload": "idle", "sleep": "asleep", "wake": "ready"}[verb]
        return {"deployment_id": name, "state": state, "message": f"{name}: {verb} is under way"}, 202


def _serve_keys(app: Quart, gateway: PlayedGateway) -> None:
    known, made = gateway.api_keys, count(1)

    @app.post("/keys")
    async def create_key() -> Any:
        body = await request.get_json()
        if body["name"] in known:
            return refuse(409, f"there is a key {body['name']}", "key_exists")
        known[body["name"]] = body | {"created": 5.0}
        return known[body["name"]] | {"key": f"sllm-key-{next(made)}"}

    @app.get("/keys")
    async def list_keys() -> Any:
        return {"keys": [known[name] for name in sorted(known)]}

    @app.patch("/keys/<id:name>")
    async def update_key(name: str) -> Any:
        if name not in known:
            return refuse(404, f"there is no key {name}", "key_not_found")
        known[name] |= await request.get_json()
        return known[name]

    @app.delete("/keys/<id:name>")
    async def delete_key(name: str) -> Any:
        if known.pop(name, None) is None:
            return refuse(404, f"there is no key {name}", "key_not_found")
        return {"name": name, "message": f"{name} is deleted"}


def pulled_on(name: str, state: str = "done", done: int = 2_000_000, **more: Any) -> dict[str, Any]:
    """Return how far a pull is on one worker."""
    known = {"node": f"id-{name}", "name": name, "state": state, "done": done, "total": 2_000_000}
    return known | {"progress": None, "reason": None} | more


def _serve_what_is_known(app: Quart, gateway: PlayedGateway) -> None:
    def listed() -> list[dict[str, Any]]:
        found = [left[0] for name, left in gateway.deployments.items() if name not in gateway.unlisted]
        for name in ("state", "model", "backend"):
            if (wanted := request.args.get(name)) is not None:
                found = [each for each in found if each[name] == wanted]
        return [{key: value for key, value in each.items() if key != "spec"} for each in found]

    def page(**lists: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a page of the lists, one behind the other; a cursor says how many entries come before."""
        begin, left = int(request.args.get("cursor", 0)), int(request.args["limit"])
        end = begin + min(left, gateway.page)
        shown, before = {}, 0
        for name, entries in lists.items():
            shown[name] = entries[max(0, begin - before) : max(0, end - before)]
            before += len(entries)
        return {**shown, "totals": gateway.totals, "next": str(end) if end < before else None}

    @app.get("/status")
    async def status() -> Any:
        return page(deployments=listed(), nodes=gateway.nodes) | {"head": {"state": "up"}}

    @app.get("/deployments")
    async def deployments() -> Any:
        return page(deployments=listed())

    @app.get("/nodes")
    async def nodes() -> Any:
        wanted = {name: request.args[name] for name in ("role", "state") if name in request.args}
        return page(nodes=[each for each in gateway.nodes if each | wanted == each or "role" not in each])

    @app.get("/instances/<id:name>/logs")
    async def logs(name: str) -> Any:
        offset = request.args.get("offset", type=int)
        for chunk in gateway.logs.get(name, []):
            if offset is None or chunk["offset"] == offset:
                return {"id": name} | chunk
        return refuse(404, f"no instance {name}", "not_found")


def _serve_events(app: Quart, gateway: PlayedGateway) -> None:
    @app.get("/events")
    async def events() -> Any:
        limit, after = int(request.args["limit"]), request.args.get("after", type=int)
        if request.args.get("follow") == "true":
            sent = gateway.streams.pop(0) if gateway.streams else None
            if sent == []:
                return refuse(503, "come back later", "away")
            return Response(stream(sent), content_type="text/event-stream")
        if request.args.get("subject") == "nosuch":
            return refuse(404, "there is no deployment, model or node 'nosuch'", "not_found")
        last = gateway.events[-1]["number"] if gateway.events else 0
        found = [each for each in gateway.events if after is None or each["number"] > after]
        page = found[-limit:] if after is None else found[: min(limit, gateway.page)]
        more = after is not None and len(page) < len(found)
        last = page[-1]["number"] if more else last
        return {"events": page, "last": last, "next": str(last) if more else None}

    async def stream(sent: list[dict[str, Any]] | None) -> AsyncIterator[bytes]:
        yield b": the journal follows\n\n"
        for each in sent or ():
            yield f"id: {each['number']}\ndata: {json.dumps(each)}\n\n".encode()
        if sent is None:
            await asyncio.sleep(STOP_SECONDS)


def _serve_chat(app: Quart, gateway: PlayedGateway) -> None:
    @app.get("/v1/models")
    async def models() -> Any:
        return {"object": "list", "data": []}

    @app.get("/v1/models/<id:name>")
    async def model(name: str) -> Any:
        if name in gateway.no_models:
            return refuse(404, f"the model {name!r} does not exist", "model_not_found")
        return {"id": name, "object": "model"}

    @app.post("/v1/chat/completions")
    async def complete() -> Any:
        return Response(stream(), content_type="text/event-stream")

    async def stream() -> AsyncIterator[bytes]:
        yield b": held\n\n"
        try:
            for token in gateway.tokens:
                await asyncio.sleep(gateway.token_seconds)
                chunk = {"choices": [{"index": 0, "delta": {"content": token}}]}
                yield f"data: {json.dumps(chunk)}\n\n".encode()
        except (asyncio.CancelledError, GeneratorExit):
            gateway.hang_ups += 1
            raise
        if gateway.last_event:
            yield f"data: {gateway.last_event}\n\n".encode()


@contextmanager
def serving(app: Callable[..., Any]) -> Iterator[str]:
    """Serve ``app`` on a free port of loopback while the context lasts; give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with start_blocking_portal("asyncio") as portal:
        shutdown = portal.call(anyio.Event)
        served = portal.start_task_soon(partial(serve_asgi, app, listener, shutdown=shutdown, grace=1.0))
        try:
            yield url
        finally:
            portal.call(shutdown.set)
            served.result(STOP_SECONDS)
