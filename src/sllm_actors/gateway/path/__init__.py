"""The way of one inference request: from the client's bytes to an engine, and back.

``server.serve_http`` serves it, ``ingress`` is the way in, ``dispatch`` sees a request through,
``upstream`` connects to engines, ``relay`` and ``assembly`` bring the answer back.
"""
