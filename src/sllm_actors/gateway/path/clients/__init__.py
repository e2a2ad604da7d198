"""The client's side of a request: connections, heads and bodies in, responses out; by HTTP/1.1 or by ASGI.

A request writes its response to a ``client.Client``; a server tells a ``handler.RequestHandler`` what comes.
"""
