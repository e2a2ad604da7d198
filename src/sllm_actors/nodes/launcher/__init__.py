"""The parent process of the nodes of one command, such as ``sllm up``.

``plan`` decides which nodes there are and binds their sockets; ``launcher`` starts each in a session of its
own, restarts one that ends, and ends all with itself. ``health`` and ``liveness`` find a gateway that
hangs. ``orphans`` reaps what it inherits as the first process of a container.
"""
