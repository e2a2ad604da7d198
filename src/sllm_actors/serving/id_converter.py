"""Ids in paths: anything, slashes included, also at the beginning (a model may be a path)."""

from __future__ import annotations

from werkzeug.routing import BaseConverter


class IdConverter(BaseConverter):
    """Any id."""

    regex = ".+?"
    part_isolating = False
