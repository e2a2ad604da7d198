"""HTTP in front: the OpenAI surface, the control API, routing, holds and the relay."""

from __future__ import annotations

from .errors import ApiError as ApiError
from .gateway import Gateway as Gateway
from .gateway import open_gateway as open_gateway
from .messages import WorkerLost as WorkerLost
from .messages import WorkerUp as WorkerUp
from .server import serve_http as serve_http
from .settings import GatewaySettings as GatewaySettings
