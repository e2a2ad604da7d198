"""The HTTP client of the commands: every wait and every answer has a bound, every failure is a sentence."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from sllm_actors.cluster.loopback import is_loopback
from sllm_actors.observe.redaction import without_credentials

from .address import gateway_url
from .errors import CommandFailure, RequestRefused, Unreachable
from .keys import find_key

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
STREAM_SILENCE_SECONDS = 600.0
"""How long a stream may be silent: a model that has to be loaded first may take minutes."""

LARGEST_ANSWER = 64 * 2**20
LARGEST_ERROR = 64 * 2**10


def path_of(collection: str, name: str) -> str:
    """Return the path of one thing; names contain slashes and colons (``facebook/opt-1.3b:vllm``)."""
    # A segment that is only dots would be taken for a way up; what is no text cannot be asked for.
    dots = name.replace(".", "%2E") if name in (".", "..") else None
    return f"/{collection}/{dots or quote(name, safe=':@', errors='replace')}"


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON.

    Raises:
        CommandFailure: Something in it cannot be said in JSON.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        piece = ascii(error.object[max(0, error.start - 20) : error.end])
        raise CommandFailure(f"what is to be sent has bytes that are no text (UTF-8): {piece}") from None
    except (ValueError, RecursionError) as error:
        raise CommandFailure(f"what is to be sent cannot be written as JSON: {error}") from None


class GatewayClient:
    """One gateway, as ``LLM_SERVER_URL`` names it, with the key that ``find_key`` finds. A context manager.

    Args:
        environ: Where both are read from.

    Raises:
        CommandFailure: The address or the key cannot be used.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        url = gateway_url(environ.get("LLM_SERVER_URL", ""))
        local = is_loopback(httpx2.URL(url).host)
        key = find_key(environ, local=local)
        self.url = without_credentials(url)
        try:
            self._http = httpx2.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
                # A proxy from the environment is for other machines, and .netrc is not where our key lives.
                trust_env=not local,
            )
        except (httpx2.InvalidURL, ImportError, OSError, ValueError) as error:
            raise self._unusable(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, int] | None = None,
    ) -> Any:
        """Send one request and return the JSON of its answer.

        Raises:
            Unreachable: No gateway answers, or not whole within ``ANSWER_SECONDS``.
            RequestRefused: It answered with a status of 400 or more.
            CommandFailure: It answered with something that is not JSON, or with more than
                ``LARGEST_ANSWER`` bytes.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        with self._open(method, path, body=body, params=params) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    raise CommandFailure(
                        f"{self.url} sent more than {LARGEST_ANSWER >> 20} MiB for {method} {path}"
                    )
                if time.monotonic() > deadline:
                    raise Unreachable(f"{self.url} did not finish its answer to {method} {path} in time")
        try:
            return json.loads(content)
        except ValueError:
            raise CommandFailure(
                f"what answers at {self.url} is no sllm gateway: {method} {path} gave no JSON"
            ) from None

    @contextmanager
    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Iterator[str]]:
        """Send a POST and give the data of each server-sent event. Leaving the context hangs up.

        Raises:
            Unreachable: No gateway answers, it is silent for ``STREAM_SILENCE_SECONDS``, or the stream broke.
            RequestRefused: It answered with a status of 400 or more.
        """
        timeout = httpx2.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_SECONDS)
        with self._open("POST", path, body=body, timeout=timeout) as response:
            yield (event.data for event in httpx2.EventSource(response))

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, int] | None = None,
        timeout: httpx2.Timeout | None = None,
    ) -> Iterator[httpx2.Response]:
        content, headers = (
            (None, {}) if body is None else (encoded(body), {"Content-Type": "application/json"})
        )
        try:
            with self._http.stream(
                method,
                path,
                content=content,
                headers=headers,
                params=params,
                timeout=timeout or self._http.timeout,
            ) as response:
                if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
                    raise self._refusal(response, f"{method} {path}")
                yield response
        except (httpx2.InvalidURL, UnicodeError, ssl.SSLError) as error:
            raise self._unusable(error) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unreachable(
                f"no sllm gateway answers at {self.url} ({error}): "
                'start one with "sllm up", or set LLM_SERVER_URL'
            ) from None
        except httpx2.TimeoutException:
            raise Unreachable(f"{self.url} took too long to answer {method} {path}") from None
        except httpx2.TransportError as error:
            raise Unreachable(f"the connection to {self.url} broke during {method} {path}: {error}") from None

    def _unusable(self, error: Exception) -> CommandFailure:
        return CommandFailure(
            f"{self.url} cannot be asked as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and "
            f"SSL_CERT_DIR are set: {error}"
        )

    def _refusal(self, response: httpx2.Response, request: str) -> RequestRefused:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > LARGEST_ERROR:
                break
        message = _error_message(bytes(content))
        if message is None:
            message = f"{self.url} answered {response.status_code} {response.reason_phrase} to {request}"
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            message += " (the key of this gateway goes into SLLM_API_KEY)"
        return RequestRefused(response.status_code, message)


def _error_message(content: bytes) -> str | None:
    """Return the sentence of an OpenAI-shaped error body, if it is one."""
    try:
        message = json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None
    return message if isinstance(message, str) and message else None
