"""Ids in paths: anything, slashes included, also at the beginning (a model may be a path)."""

from __future__ import annotations

from werkzeug.routing import BaseConverter


class IdConverter(BaseConverter):
    """Any id."""

    regex = ".+?"
    part_isolating = False


class DeploymentConverter(IdConverter):
    """The id of a deployment: it ends in its backend, so never like the path of a verb."""

    regex = ".+?(?<!/pause)(?<!/resume)"


CONVERTERS = {"id": IdConverter, "deployment": DeploymentConverter}
"""The converters of the application, by the names that its routes have for them."""
