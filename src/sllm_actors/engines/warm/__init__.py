"""The fork server: a process per backend that has imported everything, and forks engines that need not.

``keeper.ForkServerKeeper`` is the actor that keeps one; in ``fork_servers.ForkServers`` an engine life looks
for one that fits; ``fork_client`` speaks with the program ``fork_server``; ``late_imports`` is what forked
engines still had to import, kept for the next one.
"""
