"""The actor of a worker or gateway that keeps the credential which the head gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from anyio import to_thread

from sllm_actors.actors import Actor, RemoteFailure

from .credentials import CREDENTIAL_SIZE
from .messages import CredentialKept, KeepCredential

log = structlog.get_logger("sllm_actors.cluster")


class CredentialKeeper(Actor):
    """Keeps the credential of this node.

    Args:
        keep: Writes the credential to disk, durably once it has returned; blocks, and raises ``OSError``.
    """

    def __init__(self, keep: Callable[[bytes], None]) -> None:
        self._keep = keep

    async def receive(self, message: Any) -> Any:
        """Take a credential, and answer when it is on disk."""
        if not isinstance(message, KeepCredential):
            return await super().receive(message)
        if len(message.credential) != CREDENTIAL_SIZE:
            raise RemoteFailure("ValueError", f"a credential has {CREDENTIAL_SIZE} bytes")
        try:
            await to_thread.run_sync(self._keep, message.credential)
        except OSError as error:
            log.error("credential.not_kept", error=str(error))  # noqa: TRY400 - a full disk is no bug
            raise RemoteFailure("OSError", f"the credential cannot be written: {error.strerror}") from None
        log.info("credential.kept")
        return CredentialKept()
