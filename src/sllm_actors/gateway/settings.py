"""What a gateway is told at its start, and its bounds."""

from __future__ import annotations

from pathlib import Path

from attrs import Attribute, field, frozen, validators

from sllm_actors.descriptors import MOST_REQUESTS
from sllm_actors.serving.deployment.document import MAX_DOCUMENT


def _has_a_key(settings: GatewaySettings, _attribute: Attribute[str | None], key: str | None) -> None:
    if not settings.loopback and not key:
        raise ValueError(
            "a gateway that listens beyond loopback needs an admin key: give one, or bind 127.0.0.1"
        )


@frozen(kw_only=True)
class GatewaySettings:
    """Everything that is fixed for one life of a gateway. Sizes in bytes, times in seconds.

    Attributes:
        snapshot_path: Where the last routing table is kept.
        machine: This machine and boot, as replicas report theirs: an engine on it is reached directly.
        loopback: The listener is bound to loopback: no key, but ``Host`` and ``Origin`` are checked.
        admin_key: Opens everything; required where ``loopback`` is false.
        body_limit: Of an inference request; larger is 413.
        document_limit: Of a deployment document.
        body_silence: How long a client may be silent while it sends a body.
        body_timeout: How long it may take for the whole of it.
        answer_limit: Of an answer that has to be held in memory as a whole.
        silence: How long an engine, or a client that reads its answer, may make no progress.
        connect_timeout: To reach an engine.
        keep_alive_interval: After so long a silence, twice that at most, a client of a stream gets a comment.
        attempts: Replicas that one request may be tried on.
        restart_notice: How long a request that broke on the only replica waits for news of that replica.
        restart_patience: A FAILED replica that is tried again within this time is worth waiting for.
        control_timeout: For an answer of the head or of a worker.
        requests: Inference requests at a time; more are 503.
    """

    snapshot_path: Path
    machine: str
    loopback: bool = True
    admin_key: str | None = field(default=None, repr=False, validator=_has_a_key)
    body_limit: int = 32 * 2**20
    document_limit: int = MAX_DOCUMENT
    body_silence: float = 30.0
    body_timeout: float = 300.0
    answer_limit: int = 64 * 2**20
    silence: float = 600.0
    connect_timeout: float = 5.0
    keep_alive_interval: float = 5.0
    attempts: int = field(default=3, validator=validators.ge(1))
    restart_notice: float = 10.0
    restart_patience: float = 5.0
    control_timeout: float = 15.0
    requests: int = MOST_REQUESTS
