"""Why the files of a model cannot be had."""

from __future__ import annotations


class SourceProblem(Exception):
    """A model's source is not there, or not what the backend reads. The text is one sentence for a person."""
