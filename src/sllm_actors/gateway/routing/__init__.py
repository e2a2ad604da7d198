"""Where requests may go: routes, the choice of a replica, and the requests that wait for one.

``actor.GatewayActor`` follows the head and the workers (``following``), keeps what they say (``knowledge``),
and publishes an immutable ``route.Route`` of each deployment: on the ``board.Board``, where the code that
serves requests (``path``) finds models by their names, and to the ``balancer.Balancer``, which that code
asks for a replica. A ``router.Router`` is started for a deployment when a replica is to be given back to its
worker (``give_back``), or sleeps.
"""
