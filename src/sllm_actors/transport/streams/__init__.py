"""Streams on tunnel lanes: many exchanges of bytes on few authenticated connections for each peer.

``wire`` is what the frames look like, ``stream_state`` and ``multiplexer`` are the pure core: credits, turns,
and what a peer may say. ``lane`` runs one connection, ``broker`` opens lanes and answers requests, ``stream``
is what a program holds, ``byte_stream`` is that as a byte stream of anyio, and ``splice`` joins a stream with
a socket.
"""

from __future__ import annotations

from .broker import OnTunnel as OnTunnel
from .broker import TunnelBroker as TunnelBroker
from .byte_stream import TunnelByteStream as TunnelByteStream
from .splice import Target as Target
from .stream import TunnelStream as TunnelStream
