"""Loading deployments by hand, unloading them, putting them to sleep and waking them.

A person only says what is wanted now: what clients want afterwards, and how long replicas are kept, decides
as ever. So a deployment that is loaded is kept as if its last request had ended when it was ready, and one
that is unloaded is loaded by the next request.
"""
