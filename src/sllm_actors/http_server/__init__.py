"""Serving an ASGI application on a bound socket, by hypercorn's protocols: HTTP/1.1, HTTP/2, TLS.

``serve_asgi`` serves the head's cluster HTTP, and the gateway's port where that speaks TLS. ``Acceptor``
takes connections from a listening socket that several processes share, and ``Seats`` lets each take as many.
"""

from __future__ import annotations

from .accepting import Acceptor as Acceptor
from .seats import Seats as Seats
from .seats import make_seats as make_seats
from .server import serve_asgi as serve_asgi
from .tasks import ASGI as ASGI
from .tasks import AnswerBrokenOff as AnswerBrokenOff
