"""Where requests may go: routes, the choice of a replica, and the requests that wait for one.

``actor.GatewayActor`` follows the head and the workers (``following``), keeps what they say (``knowledge``),
and publishes an immutable ``route.Route`` of each deployment on the ``board.Board``. The code that serves
requests (``path``) reads the board. A ``router.Router`` is started for a deployment when a request has to
wait, or a replica is to be given back to its worker (``give_back``).
"""
