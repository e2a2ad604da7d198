"""The actor of a worker or gateway that keeps the credential which the head gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from anyio import to_thread

from sllm_actors.actors import Actor, RemoteFailure
from sllm_actors.transport import Credential, decode_credential

from .messages import CredentialKept, KeepCredential

log = structlog.get_logger("sllm_actors.cluster")


class CredentialKeeper(Actor):
    """Keeps the credential of this node.

    Args:
        keep: Uses the credential and writes it to disk, durably once it has returned; blocks. Raises
            ``ValueError`` for one that is not this node's, and ``OSError`` if it is used but not written.
    """

    def __init__(self, keep: Callable[[Credential], None]) -> None:
        self._keep = keep

    async def receive(self, message: Any) -> Any:
        """Take a credential, and answer when it is on disk."""
        if not isinstance(message, KeepCredential):
            return await super().receive(message)
        try:
            await to_thread.run_sync(self._keep, decode_credential(message.credential))
        except ValueError as error:
            log.warning("credential.refused", reason=str(error))
            raise RemoteFailure("ValueError", f"the credential is not taken: {error}") from None
        except OSError as error:
            log.error("credential.not_kept", error=str(error))  # noqa: TRY400 - a full disk is no bug
            raise RemoteFailure(
                "OSError", f"the credential is used, but cannot be written: {error.strerror}"
            ) from None
        log.info("credential.kept")
        return CredentialKept()
