"""The HTTP gateway of a cluster: the OpenAI API, the control API, routing, and requests that wait."""

from __future__ import annotations

from sllm_actors.api_error import ApiError as ApiError

from .gateway import Gateway as Gateway
from .gateway import open_gateway as open_gateway
from .settings import GatewaySettings as GatewaySettings
