"""The fork server: a process per backend that has imported everything, and forks engines that need not.

``keeper.ForkServerKeeper`` is the actor that keeps one; in ``fork_servers.ForkServers`` an engine life looks
for one that fits, and ``waiting`` decides whether it waits for one that still imports. ``fork_client`` speaks
with the program ``fork_server``, whose forks become what ``forked_engine`` says. ``late_imports`` is what
engines still had to import, kept for the next server; ``known_imports`` is what is known of pinned versions.
"""
