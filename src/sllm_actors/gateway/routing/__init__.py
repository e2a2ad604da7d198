"""Where requests may go: routes, the choice of a replica, and the requests that wait for one.

``actor.GatewayActor`` hears from head and workers; a ``router.Router`` for each deployment publishes an
immutable ``route.Route`` on the ``board.Board``, which the hot path reads.
"""
