"""What keeps a load from being sent."""

from __future__ import annotations


class LoadProblem(Exception):
    """The load cannot be sent; the text is one sentence for a person that says why."""
