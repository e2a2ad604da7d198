"""The external backend: a server that somebody else runs. It is watched, never started or stopped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from sllm_actors.engines.errors import SettingsProblem
from sllm_actors.engines.external import (
    AddressProblem,
    KeyProblem,
    ServerAccess,
    make_context,
    read_key,
    server_url,
)
from sllm_actors.engines.external.access import CONNECT_TIMEOUT
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths
from sllm_actors.models.errors import SourceProblem

from .backend import Launch
from .settings import number, read_settings, text, texts

MOST_HEADERS = 32

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,8190}[!-~])?")
_OURS = frozenset(
    [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
        "x-sllm-hops",
    ]
)


@frozen
class ExternalSettings:
    """Settings of the external backend. Each worker and gateway reads the variables and files by itself.

    Attributes:
        upstream_model: The server's name for the model; by default the only one that its ``/v1/models``
            lists, or, if that lists none or several, the deployment's own name for it.
        api_key_env: The environment variable that holds the server's key.
        api_key_file: The absolute path of the file that holds the server's key.
        headers: Headers of each request, by name. No view shows the value of one whose name looks secret.
        ca_file: The absolute path of certificate authorities (PEM) that are trusted in place of the
            machine's.
        connect_timeout: Seconds within which the server must be reached.
        health_path: The path that answers 200 when the server is well; by default ``/health``, or if that
            does not exist ``/v1/models``.
    """

    upstream_model: str = text("")
    api_key_env: str = text("", secret=True)
    api_key_file: str = text("", secret=True)
    headers: dict[str, str] = texts()  # noqa: RUF009 - an attrs field
    ca_file: str = text("")
    connect_timeout: float = number(CONNECT_TIMEOUT, above=0.0, most=600.0)
    health_path: str = text("")

    @property
    def access(self) -> ServerAccess:
        """How the server is reached."""
        return ServerAccess(
            model=self.upstream_model,
            key_env=self.api_key_env,
            key_file=self.api_key_file,
            headers=self.headers,
            ca_file=self.ca_file,
            connect_timeout=self.connect_timeout,
        )


class External:
    """The external backend. See ``Backend``."""

    name = "external"

    def inspect(
        self,
        source: str,
        settings: Mapping[str, object],
        python: str,  # noqa: ARG002
        num_gpus: int,  # noqa: ARG002
    ) -> SourceInspected:
        """See ``Backend.inspect``."""
        access = read_external(settings).access
        try:
            read_key(access)
            make_context(access.ca_file)
        except (KeyProblem, OSError) as problem:
            raise SettingsProblem(str(problem)) from None
        _address(source)
        return SourceInspected()

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:  # noqa: ARG002
        """See ``Backend.launch``."""
        settings = read_external(order.settings)
        health = (settings.health_path,) if settings.health_path else ("/health", "/v1/models")
        return Launch(_address(order.source), health, None, server=settings.access)


def _address(source: str) -> str:
    try:
        return server_url(source)
    except AddressProblem as problem:
        raise SourceProblem(str(problem)) from None


def read_external(settings: Mapping[str, object]) -> ExternalSettings:
    """Read the settings of a deployment, by name.

    Raises:
        SettingsProblem: One is unknown or not allowed. The sentence repeats nothing that may be a secret.
    """
    found = read_settings(ExternalSettings, settings, External.name)
    if found.api_key_env and found.api_key_file:
        raise SettingsProblem("api_key_env and api_key_file both name a key: keep one of them")
    if found.api_key_env and not _VARIABLE.fullmatch(found.api_key_env):
        raise SettingsProblem(
            "api_key_env must be the name of an environment variable of the workers and gateways, as"
            " OPENAI_API_KEY, not the key itself"
        )
    if found.api_key_env.upper().startswith("SLLM_"):
        raise SettingsProblem(
            "api_key_env cannot name a variable that begins with SLLM_: it is the cluster's"
        )
    for name in ("api_key_file", "ca_file"):
        path = getattr(found, name)
        if path and not (Path(path).is_absolute() and path.isprintable()):
            raise SettingsProblem(f"{name} must be the absolute path of a file on the workers and gateways")
    if not found.upstream_model.isprintable() or len(found.upstream_model) > 256:
        raise SettingsProblem("upstream_model must have at most 256 characters, all of them visible")
    if found.health_path and not re.fullmatch(r"/[!-~]*", found.health_path):
        raise SettingsProblem(f"health_path must be a path, as /health, not {found.health_path!r:.100}")
    _check_headers(found)
    return found


def _check_headers(settings: ExternalSettings) -> None:
    if len(settings.headers) > MOST_HEADERS:
        raise SettingsProblem(f"headers must be at most {MOST_HEADERS}, not {len(settings.headers)}")
    seen: set[str] = set()
    for name, value in settings.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise SettingsProblem(f"headers: {name!r:.60} cannot be the name of a header")
        if not _HEADER_VALUE.fullmatch(value):
            raise SettingsProblem(
                f"headers: the value of {name} must be visible ASCII characters in one line"
            )
        if name.lower() in _OURS:
            raise SettingsProblem(f"headers: {name} cannot be set, the gateway does that itself")
        if name.lower() in seen:
            raise SettingsProblem(f"headers: {name} is given twice")
        seen.add(name.lower())
    if "authorization" in seen and (settings.api_key_env or settings.api_key_file):
        raise SettingsProblem("headers has an Authorization beside api_key_env or api_key_file: keep one")
