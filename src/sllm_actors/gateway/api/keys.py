"""The control API for API keys. The head keeps them; a new one is made here, and shown once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Quart

from sllm_actors.gateway import errors
from sllm_actors.serving.keys.messages import CreateKey, DeleteKey, ListKeys, UpdateKey
from sllm_actors.serving.keys.secret import digest_of, make_secret

from .body import read_body, texts
from .control import Control


def serve_keys(app: Quart, control: Control) -> None:
    """Add the routes for API keys.

    Args:
        app: The application; it has the converters of ``ids``.
        control: Asks the head.
    """

    @app.get("/keys")
    async def list_keys() -> Any:
        return await control.ask(ListKeys())

    @app.post("/keys")
    async def create_key() -> Any:
        body = await read_body()
        _refuse_others(body, ("name", "share"))
        name, share, secret = texts(body, ["name"])["name"], _share(body, default=1.0), make_secret()
        answer = await control.ask(CreateKey(name, digest_of(secret.encode()), share))
        # It is in no message and no log: nobody but the client gets it.
        return {**await answer.get_json(), "key": secret}

    @app.patch("/keys/<id:name>")
    async def update_key(name: str) -> Any:
        body = await read_body()
        _refuse_others(body, ("share",))
        return await control.ask(UpdateKey(name, _share(body)))

    @app.delete("/keys/<id:name>")
    async def delete_key(name: str) -> Any:
        return await control.ask(DeleteKey(name))


def _share(body: Mapping[str, Any], default: float | None = None) -> float:
    """Return the share that a body gives; the head says which numbers are right.

    Raises:
        ApiError: It is no number: 400.
    """
    share = body.get("share", default)
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise errors.bad_request("share must be a number, as 1 or 2.5", param="share")
    return float(share)


def _refuse_others(body: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in body.keys() - set(keys):
        raise errors.bad_request(f"the body has no {key[:40]}: it has {' and '.join(keys)}", param=key[:40])
