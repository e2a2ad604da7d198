"""The same work on other actor systems, each in an environment of its own (``make bench-peers``)."""
