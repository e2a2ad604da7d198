"""What nodes and launcher say to the person at the terminal."""

from __future__ import annotations

import sys


def announce(text: str) -> None:
    """Say something, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
