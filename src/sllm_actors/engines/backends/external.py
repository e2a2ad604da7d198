"""The external backend: a server that somebody else runs. It is watched, never started or stopped."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import frozen

from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths
from sllm_actors.models.errors import SourceProblem

from .backend import Launch
from .settings import read_settings, text


@frozen
class ExternalSettings:
    """Settings of the external backend.

    Attributes:
        health_path: What answers 200 when the server is well; by default ``/health``, or where that does not
            exist ``/v1/models``.
    """

    health_path: str = text("")


class External:
    """See ``Backend``."""

    name = "external"

    def inspect(
        self,
        source: str,
        settings: Mapping[str, object],
        python: str,  # noqa: ARG002
        num_gpus: int,  # noqa: ARG002
    ) -> SourceInspected:
        """See ``Backend.inspect``."""
        read_settings(ExternalSettings, settings, self.name)
        server_url(source)
        return SourceInspected()

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:  # noqa: ARG002
        """See ``Backend.launch``."""
        chosen = read_settings(ExternalSettings, order.settings, self.name).health_path
        return Launch(server_url(order.source), (chosen,) if chosen else ("/health", "/v1/models"), None)


def server_url(source: str) -> str:
    """Return the URL below which ``/v1`` is: the given one, without a ``/v1`` or slash at its end.

    Raises:
        SourceProblem: It is not an http or https URL of a server.
    """
    try:
        parts = urlsplit(source)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise SourceProblem(
            f"{source!r} is not the URL of a server; the external backend needs one, as http://10.0.0.7:8000"
        )
    return source.rstrip("/").removesuffix("/v1").rstrip("/")
