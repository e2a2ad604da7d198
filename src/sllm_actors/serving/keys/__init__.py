"""API keys: who may send requests to models, and with which share of what there is.

The head keeps them in its store (``changes``, by the rules of ``requests``) and publishes them to gateways as
a stream of differences; the key itself is known to its owner alone (``secret``). ``messages`` has what
gateways ask of the head, and what it tells them.
"""
