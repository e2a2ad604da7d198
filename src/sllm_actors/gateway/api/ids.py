"""The converters of ids in paths."""

from __future__ import annotations

from sllm_actors.serving.id_converter import IdConverter


class DeploymentConverter(IdConverter):
    """The id of a deployment: it ends in its backend, so never like the path of a verb."""

    regex = ".+?(?<!/pause)(?<!/resume)(?<!/load)(?<!/unload)(?<!/sleep)(?<!/wake)"


class NodeConverter(IdConverter):
    """The id or the name of a node; what follows a slash is the path of a verb."""

    regex = ".+?(?<!/drain)(?<!/undrain)"


CONVERTERS = {"id": IdConverter, "deployment": DeploymentConverter, "node": NodeConverter}
"""The converters of the application, by the names that its routes have for them."""
