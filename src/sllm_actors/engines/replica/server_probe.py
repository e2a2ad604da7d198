"""Asking a server that somebody else runs whether it is well, and for its model's name."""

from __future__ import annotations

import json
import re
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import anyio
import httpx2
from attrs import frozen

from sllm_actors.disk import Disk, DiskSilent
from sllm_actors.engines.external import KeyProblem, ServerAccess, make_context, read_key, why_unreachable

LONGEST_BODY = 65536
"""The most bytes of a health answer that are read, so that the connection can be used again."""

LONGEST_LIST = 1024 * 1024
"""The most bytes of a list of models that are read."""

MODELS = "/v1/models"


@frozen
class ServerState:
    """What asking a server showed.

    Attributes:
        problem: Why the server takes no requests, in a few words; "" when it does.
        loading: Whether it was reached, but says that it is not ready yet.
    """

    problem: str = ""
    loading: bool = False


class ServerProbe:
    """Asks one server: an async context manager that holds the connection.

    The key is read anew for each request. Neither proxies of the environment nor redirects are followed.

    Args:
        address: The server's URL, without ``/v1``.
        paths: Health paths, tried in this order by the first request; the first that exists is used then.
        access: How the server is reached.
        disk: Reads the files that ``access`` names.
    """

    def __init__(self, address: str, paths: tuple[str, ...], access: ServerAccess, disk: Disk) -> None:
        self._address = address
        self._paths = paths
        self._access = access
        self._disk = disk
        self._client: httpx2.AsyncClient

    async def __aenter__(self) -> Self:
        """Open the HTTP client.

        Raises:
            OSError: ``ca_file`` cannot be used; the text is one sentence.
        """

        def make() -> httpx2.AsyncClient:
            verify = make_context(self._access.ca_file) if self._address.startswith("https:") else False
            return httpx2.AsyncClient(base_url=self._address, verify=verify, trust_env=False, timeout=None)

        self._client = await self._disk.run(self._access.ca_file or "the directory of certificates", make)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._client.aclose()

    async def ask(self, timeout: float) -> ServerState:
        """Ask the server once whether it is well, within ``timeout`` seconds."""
        answer = await self._get(self._paths[0], timeout, LONGEST_BODY)
        if isinstance(answer, str):
            return ServerState(answer)
        if answer.status_code == httpx2.codes.NOT_FOUND and len(self._paths) > 1:
            self._paths = self._paths[1:]
            return await self.ask(timeout)
        return self._judge(answer, self._paths[0])

    async def find_model(self, timeout: float) -> tuple[ServerState, str]:
        """Ask for the list of models, within ``timeout`` seconds.

        A server whose health path needs no key may still ask for one here (401): that is a problem. A key
        that is only not allowed to list models (403) is not.

        Returns:
            The state of the server, and the name of its only model; "" if it lists none or several.
        """
        answer = await self._get(MODELS, timeout, LONGEST_LIST)
        if isinstance(answer, str):
            return ServerState(answer), ""
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            return self._judge(answer, MODELS), ""
        return ServerState(), _only_model(answer.content) if answer.status_code == httpx2.codes.OK else ""

    def _judge(self, answer: httpx2.Response, path: str) -> ServerState:
        keyed = self._access.key_env or self._access.key_file
        match answer.status_code:
            case httpx2.codes.OK:
                return ServerState()
            case httpx2.codes.SERVICE_UNAVAILABLE:
                return ServerState("loading the model (status 503)", loading=True)
            case httpx2.codes.UNAUTHORIZED | httpx2.codes.FORBIDDEN as status:
                wish = (
                    "it refuses the key"
                    if keyed
                    else "it wants a key: name it by api_key_env or api_key_file"
                )
                return ServerState(f"status {status} at {path}: {wish}")
            case httpx2.codes.NOT_FOUND:
                return ServerState(f"status 404: there is no {path}; name another path by health_path")
            case status if 300 <= status < 400:
                place = urlsplit(answer.headers.get("location", "")[:200]).netloc
                to = f" to {place}" if re.fullmatch(r"[A-Za-z0-9.:\[\]_-]+", place) else ""
                return ServerState(f"status {status} at {path}: it redirects{to}, which is not followed")
            case status:
                return ServerState(f"status {status} at {path}")

    async def _get(self, path: str, timeout: float, limit: int) -> httpx2.Response | str:
        """Return the answer with its body, as far as ``limit``, or why there is none."""
        try:
            with anyio.fail_after(timeout):
                return await self._answer(path, limit)
        except TimeoutError:
            return f"no answer within {timeout:.3g} s"
        except (KeyProblem, DiskSilent) as problem:
            return str(problem)
        except (httpx2.RemoteProtocolError, httpx2.DecodingError):
            return "what answers there does not speak HTTP as it should"
        except httpx2.HTTPError as error:
            return why_unreachable(error)

    async def _answer(self, path: str, limit: int) -> httpx2.Response:
        if self._access.key_file:
            key = await self._disk.run(self._access.key_file, partial(read_key, self._access))
        else:
            key = read_key(self._access)
        headers = {**self._access.headers, **({"authorization": f"Bearer {key}"} if key else {})}
        async with self._client.stream("GET", path, headers=headers) as answer:
            content = bytearray()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > limit:
                    break
            return httpx2.Response(
                answer.status_code,
                headers={"location": answer.headers.get("location", "")},
                content=bytes(content[: limit + 1]),
            )


def _only_model(body: bytes) -> str:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    listed = document.get("data") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        return ""
    name = listed[0].get("id")
    return name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= 256 else ""
