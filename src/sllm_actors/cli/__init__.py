"""The command line ``sllm``. Commands that ask a cluster something use the HTTP interface of a gateway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit; see ``app.main``.

    The commands are imported here, not before: ^C ends this, too, with exit status 130 and without a
    traceback.
    """
    try:
        from .app import main as run_command
    except KeyboardInterrupt:
        sys.exit(130)
    run_command(arguments)
