"""Which key the commands send."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sllm_actors.files import FileProblem, read_text
from sllm_actors.nodes.user_paths import NoHome, absolute, default_data_dir

from .errors import CommandFailure

ADMIN_KEY_FILE = "admin-key"
LARGEST_KEY = 4096


def find_key(environ: Mapping[str, str], *, local: bool) -> str:
    """Return the key to send, or "" for none.

    ``SLLM_API_KEY`` wins. A gateway on this machine gets the admin key that this user's head keeps in its
    data directory (``SLLM_DATA_DIR``), where there is one; another machine never does.

    Raises:
        CommandFailure: The variable holds what no key holds.
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
    except (
        FileProblem,
        NoHome,
    ):  # of another user, or damaged: the head says so, and here none may be needed
        return ""
    return kept if kept.isascii() and kept.isprintable() else ""
