"""TLS contexts for connections to external servers: one for each file of authorities, made once."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path

import anyio
from attrs import define, field

from sllm_actors.disk import Disk
from sllm_actors.files import open_regular


def make_context(ca_file: str) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities in a file, or those of the machine.

    The machine's are OpenSSL's defaults, which ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` in the environment
    replace. Reads the disk: call it in a thread.

    Args:
        ca_file: The path of a PEM file; "" for the machine's authorities.

    Raises:
        OSError: The file cannot be read, or has no certificates in it; the text is a sentence that names it.
    """
    try:
        if ca_file:
            open_regular(Path(ca_file)).close()
        context = ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise OSError(f"ca_file {ca_file} has no certificates (PEM) in it") from None
    except OSError as error:
        raise OSError(f"ca_file {ca_file} cannot be read: {error.strerror}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


PATIENCE = 5.0
"""Seconds that a context may take to be made."""


@define
class ClientContexts:
    """A cache of TLS contexts, one for each file of authorities: making one takes about 20 ms."""

    disk: Disk = field(factory=Disk)
    _known: dict[str, ssl.SSLContext] = field(factory=dict)
    _making: anyio.Lock = field(factory=anyio.Lock)

    async def of(self, ca_file: str) -> ssl.SSLContext:
        """Return the context for a file of authorities, or with "" for the machine's.

        Raises:
            OSError: See ``make_context``; or the file's disk does not answer.
        """
        context = self._known.get(ca_file)
        if context is None:
            async with self._making:
                if (context := self._known.get(ca_file)) is None:
                    where = ca_file or "the directory of certificates"
                    context = await self.disk.run(where, partial(make_context, ca_file), patience=PATIENCE)
                    self._known[ca_file] = context
        return context
