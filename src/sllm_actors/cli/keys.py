"""The key that commands send to a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sllm_actors.files import FileProblem, read_text
from sllm_actors.nodes.user_paths import NoHome, absolute, default_data_dir

from .errors import CommandFailure

ADMIN_KEY_FILE = "admin-key"
"""The name of the head's file with the admin key, in its data directory."""

LARGEST_KEY = 4096
"""Bytes that this file may have."""


def find_key(environ: Mapping[str, str], *, local: bool) -> str:
    """Return the key to send, or "" for none.

    ``SLLM_API_KEY`` is taken first. Without it, a gateway on this machine gets the admin key that this user's
    head keeps in its data directory (``SLLM_DATA_DIR``), if there is one. Another machine never gets that
    key.

    Args:
        environ: The environment variables.
        local: Whether the gateway's address is one of loopback.

    Raises:
        CommandFailure: ``SLLM_API_KEY`` holds characters that no key has.
    """
    key = environ.get("SLLM_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise CommandFailure("SLLM_API_KEY has characters in it that no key has: set it again")
    if key or not local:
        return key
    named = environ.get("SLLM_DATA_DIR", "").strip()
    try:
        folder = absolute(Path(named)) if named else default_data_dir(environ)
        kept = (read_text(folder / ADMIN_KEY_FILE, LARGEST_KEY) or "").strip()
    except (FileProblem, NoHome):  # a damaged file, or another user's: the gateway may want no key at all
        return ""
    return kept if kept.isascii() and kept.isprintable() else ""
