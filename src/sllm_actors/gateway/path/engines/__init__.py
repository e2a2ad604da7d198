"""The engine's side of a request: kept connections over sockets, tunnels and TLS, and what is sent on them.

``connector.Connector`` gives connections; ``connection.EngineConnection`` carries one request at a time.
"""
