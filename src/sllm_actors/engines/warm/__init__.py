"""Fork servers: one process per backend has imported the engine's modules, and engines are forked from it.

``keeper.ForkServerKeeper`` is the actor that keeps one running. In ``fork_servers.ForkServers`` an engine
life looks for one that fits, and ``waiting`` decides whether to wait for one that still imports.
``fork_client`` is the worker's side of the program ``fork_server``; ``forked_engine`` is what runs in a fork.
``late_imports`` records which modules engines imported after they were forked, so that the next fork server
has them; ``known_imports`` has such lists for the pinned versions.
``leash_server`` keeps one without an engine's modules, for the leashes of engines that start as programs.
"""
