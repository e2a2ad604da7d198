"""Where requests may go: routes, the choice of a replica, and the requests that wait for one.

``actor.GatewayActor`` hears from the head and the workers. It starts a ``router.Router`` for each deployment,
which publishes an immutable ``route.Route`` on the ``board.Board``. The code that serves requests (``path``)
reads the board, and asks a router only when a request has to wait.
"""
