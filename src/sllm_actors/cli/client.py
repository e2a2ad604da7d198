"""The HTTP client of the commands. Each wait and each answer has a bound, each failure is a sentence."""

from __future__ import annotations

import json
import os
import re
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
"""How long connecting to the gateway may take."""

ANSWER_SECONDS = 30.0
"""How long a whole answer that is no stream may take."""

STREAM_SILENCE_SECONDS = 600.0
"""How long a stream may be silent: a model that has to be loaded first may take minutes."""

LARGEST_ANSWER = 64 * 2**20
"""Bytes that an answer that is no stream may have."""

LARGEST_ERROR = 64 * 2**10
"""Bytes that are read of an error."""

NOT_OURS = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""Statuses by which another server says that it has no such path; a gateway sends a document with them."""


def path_of(collection: str, name: str) -> str:
    """Return the path of one thing in a collection, as ``/deployments/facebook%2Fopt-1.3b:vllm``.

    Args:
        collection: The path of the collection, without a slash at either end.
        name: The name as a person typed it; what cannot be encoded in UTF-8 becomes ``?``.
    """
    # A client takes a path segment . or .. for a way up, unless its dots are escaped.
    dots = name.replace(".", "%2E") if name in (".", "..") else None
    return f"/{collection}/{dots or quote(name, safe=':@', errors='replace')}"


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return the body of a request as JSON in UTF-8.

    Raises:
        CommandFailure: Something in it cannot be written so, as NaN or half a surrogate pair.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        piece = ascii(error.object[max(0, error.start - 20) : error.end])
        raise CommandFailure(f"what is to be sent has bytes that are no text (UTF-8): {piece}") from None
    except (ValueError, RecursionError) as error:
        raise CommandFailure(f"what is to be sent cannot be written as JSON: {error}") from None


class GatewayClient:
    """The client of the gateway that ``LLM_SERVER_URL`` names, with the key that ``find_key`` finds.

    It is a context manager; leaving it closes the connections.

    Args:
        environ: The environment variables.
        patience: How long connecting, and a whole answer that is no stream, may take, in seconds; None:
            ``CONNECT_SECONDS`` and ``ANSWER_SECONDS``.

    Attributes:
        url: The gateway's address, without a credential in it: for messages.

    Raises:
        CommandFailure: The address, the key or a proxy of the environment cannot be used.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, patience: float | None = None) -> None:
        url = gateway_url(environ.get("LLM_SERVER_URL", ""))
        local = is_loopback(httpx2.URL(url).host)
        key = find_key(environ, local=local)
        self.url = without_credentials(url)
        self._patience = patience = ANSWER_SECONDS if patience is None else patience
        try:
            self._http = httpx2.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx2.Timeout(patience, connect=min(patience, CONNECT_SECONDS)),
                # For this machine, neither a proxy of the environment nor a key in .netrc is meant.
                trust_env=not local,
                # But SSL_CERT_FILE and SSL_CERT_DIR are.
                verify=httpx2.create_ssl_context() if local and url.startswith("https:") else True,
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
        params: Mapping[str, int | str] | None = None,
    ) -> Any:
        """Send one request and return the JSON value of its answer.

        Args:
            method: The HTTP method.
            path: The path; see ``path_of``.
            body: What is sent as JSON, or None for no body.
            params: The parameters of the query.

        Raises:
            Unreachable: No gateway answers, or its answer is not whole within its ``patience``.
            RequestRefused: The gateway answered with a status of 300 or more.
            CommandFailure: It is no gateway that answers, the answer is not JSON, or has more than
                ``LARGEST_ANSWER`` bytes; or ``body`` cannot be written as JSON.
        """
        deadline = time.monotonic() + self._patience
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
        """Send a POST whose answer is a stream; the context gives an iterator over the data of its events.

        Leaving the context hangs up.

        Args:
            path: The path of the request.
            body: What is sent as JSON.

        Raises:
            Unreachable: No gateway answers, it is silent for ``STREAM_SILENCE_SECONDS``, or the stream broke.
            RequestRefused: The gateway answered with a status of 300 or more.
            CommandFailure: ``body`` cannot be written as JSON.
        """
        timeout = httpx2.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_SECONDS)
        with self._open("POST", path, body=body, timeout=timeout) as response:
            yield (event.data for event in httpx2.EventSource(response))

    @contextmanager
    def following(
        self, path: str, params: Mapping[str, int | str], *, silence: float
    ) -> Iterator[Iterator[str]]:
        """Send a GET whose answer is a stream without an end; else as ``events``.

        Args:
            path: The path of the request.
            params: The parameters of the query.
            silence: How long the stream may be silent, comments counted too, in seconds.
        """
        timeout = httpx2.Timeout(silence, connect=CONNECT_SECONDS)
        with self._open("GET", path, params=params, timeout=timeout) as response:
            yield (event.data for event in httpx2.EventSource(response))

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, int | str] | None = None,
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
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Unreachable(
                    f"the certificate of {self.url} is not trusted ({error}): name its authority with "
                    "SSL_CERT_FILE, and in LLM_SERVER_URL a host that the certificate is for"
                ) from None
            if "WRONG_VERSION_NUMBER" in str(error):
                raise Unreachable(
                    f"what answers at {self.url} does not speak HTTPS: write http:// in LLM_SERVER_URL"
                ) from None
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
        message, mistakes, count = _error(bytes(content))
        if not message:
            answered = f"{response.status_code} {response.reason_phrase}"
            if response.status_code in NOT_OURS:
                raise CommandFailure(
                    f"what answers at {self.url} is no sllm gateway ({answered} to {request}): "
                    "set LLM_SERVER_URL to the address of one"
                )
            message = f"{self.url} answered {answered} to {request}"
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            message += " (the key of this gateway goes into SLLM_API_KEY)"
        return RequestRefused(response.status_code, message, mistakes, count)


def _error(content: bytes) -> tuple[str, list[str], int]:
    """Return the message of an error in OpenAI's shape, the single mistakes in it, and how many there are.

    The message is empty if the content is no such error.
    """
    try:
        error = json.loads(content)["error"]
        message = error["message"]
        mistakes = [each["message"] for each in error.get("mistakes", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", [], 0
    if not isinstance(message, str) or not all(isinstance(each, str) for each in mistakes):
        return "", [], 0
    counted = re.match(r"(\d{1,9}) mistakes: ", message)
    return message, mistakes, int(counted[1]) if counted else len(mistakes)
