"""The hot path: the way of one inference request from the client's bytes to an engine, and back.

``server.serve_http`` accepts connections, ``ingress`` is the ASGI application, ``dispatch`` serves a request
by one replica or another, ``upstream`` connects to engines, ``relay`` and ``assembly`` bring the answer back.
"""
