"""The hot path: the way of one inference request from the client's bytes to an engine, and back.

``server.HttpServer`` accepts clients, and ``asgi_inference.Guarded`` is the same for any ASGI server.
``inference.Inference`` begins an ``exchange.Exchange`` for each request, which makes one ``Attempt`` or more;
``failover`` decides what follows when one fails. ``clients``, ``engines`` and ``answers`` are its sides.
"""
