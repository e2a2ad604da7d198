"""The settings of a gateway: what it is told at its start, and its bounds."""

from __future__ import annotations

from pathlib import Path

from attrs import Attribute, field, frozen, validators

from sllm_actors.descriptors import MOST_REQUESTS
from sllm_actors.serving.deployment.document import MAX_DOCUMENT

from .cors import Cors


def _has_a_key(settings: GatewaySettings, _attribute: Attribute[str | None], key: str | None) -> None:
    if not settings.loopback and not key:
        raise ValueError(
            "a gateway that listens beyond loopback needs an admin key: give one, or bind 127.0.0.1"
        )


@frozen(kw_only=True)
class GatewaySettings:
    """Everything that is fixed for one life of a gateway. Sizes in bytes, times in seconds.

    Attributes:
        snapshot_path: The file that keeps what the head has said last.
        machine: Which machine and boot this is, as replicas report it too. An engine with the same value is
            reached directly, without a tunnel.
        name: What people call this gateway; "" for its node id.
        advertise: The address at which other machines reach this gateway; "" for the one that they see.
        loopback: Whether the listener is bound to loopback: then no key is wanted, but ``Host`` and
            ``Origin`` are checked.
        admin_key: The key that opens everything; required where ``loopback`` is false.
        cors: The web pages that may use the gateway from a browser, beside those of this machine.
        body_limit: The largest body of an inference request; a larger one is answered with 413.
        upload_limit: The same for a form that names its model before its files: it is passed on as it comes.
        document_limit: The largest body of any other request, as of a deployment document.
        body_silence: How long a client may be silent while it sends a body.
        body_timeout: How long a client may take to send a whole body, or each ``body_limit`` bytes of an
            upload.
        answer_limit: The largest answer that is taken where it has to be held in memory as a whole.
        silence: How long an engine, or a client that reads its answer, may make no progress.
        connect_timeout: How long connecting to an engine may take; external servers have their own setting.
        keep_alive_interval: A client that waits for a stream gets a comment after so long a silence; it may
            take twice as long.
        attempts: On how many replicas one request may be tried.
        restart_notice: How long a request that broke on a replica waits to hear that this replica is no
            longer ready, while there is no other to try; and how long an answer may make no progress once the
            link to its worker is lost.
        restart_patience: A FAILED replica that is started again within this time is worth waiting for.
        control_timeout: How long the head or a worker may take to answer a control request.
        requests: How many inference requests are served or held at a time; one more is answered with 503.
        held_bytes: How many bytes of requests are held in memory, all together; a request with which they
            would be more is answered with 503.
    """

    snapshot_path: Path
    machine: str
    name: str = ""
    advertise: str = ""
    loopback: bool = True
    admin_key: str | None = field(default=None, repr=False, validator=_has_a_key)
    cors: Cors = field(factory=Cors)
    body_limit: int = 32 * 2**20
    upload_limit: int = 2**30
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
    held_bytes: int = 2**30
