"""Looks, before any load is sent, whether the server answers and has the models."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

import httpx2
import msgspec

from .problem import LoadProblem

PATIENCE_SECONDS = 10.0
"""How long each answer may take."""

LARGEST_LIST = 16 * 2**20
"""Bytes that the list of models may have."""

SHOWN_MODELS = 5
"""How many of the models that there are, are named where one is missing."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def check_models(url: str, key: str, models: Sequence[str]) -> None:
    """Ask a server for its models. One that has no list of them is not asked further.

    Args:
        url: The server's address, without a slash at its end and without ``/v1``.
        key: The bearer token, or "" for none.
        models: Those that it should have.

    Raises:
        LoadProblem: Nothing answers there, the key is not right, or a model is not there.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(
            base_url=url,
            headers=headers,
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=ssl.create_default_context(),
        ) as client:
            status, content = _get(client, "/v1/models")
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise LoadProblem(f"{url} refuses the key ({status}): it goes into SLLM_API_KEY")
            known = _ids(content) if status == HTTPStatus.OK else None
            if known is None:
                return
            for model in models:
                # Some servers answer to names that they do not list.
                if model not in known and _get(client, f"/v1/models/{_segment(model)}")[0] != HTTPStatus.OK:
                    raise LoadProblem(f"there is no model {model!r} at {url}: {_listed(known)}")
    except httpx2.TimeoutException:
        raise LoadProblem(
            f"{url} does not answer within {PATIENCE_SECONDS:g} s: is --url the address of a server?"
        ) from None
    except (httpx2.ConnectError, httpx2.TransportError, ssl.SSLError) as error:
        raise LoadProblem(f"no server answers at {url} ({error}): start it, or give its --url") from None
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise LoadProblem(f"{url} cannot be asked: {error}") from None


def _get(client: httpx2.Client, path: str) -> tuple[int, bytes]:
    content = bytearray()
    with client.stream("GET", path) as response:
        for piece in response.iter_bytes():
            content += piece
            if len(content) > LARGEST_LIST:
                raise LoadProblem(f"the list of models at {client.base_url} is longer than 16 MiB")
    return response.status_code, bytes(content)


def _ids(content: bytes) -> list[str] | None:
    try:
        return [each.id for each in msgspec.json.decode(content, type=_Models).data]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _segment(model: str) -> str:
    dots = model.replace(".", "%2E") if model in (".", "..") else None
    return dots or quote(model, safe=":@", errors="replace")


def _listed(known: Sequence[str]) -> str:
    if not known:
        return "it has none"
    more = len(known) - SHOWN_MODELS
    return f"it has {', '.join(known[:SHOWN_MODELS])}{f' and {more} more' if more > 0 else ''}"
