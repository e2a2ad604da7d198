"""Which machines are here, and how each proves who it is.

``home`` is a node's own directory: its id, its key and its present life. ``join`` finds the head;
``registrar`` (on the head) gives each node a signed credential, which ``credential_keeper`` keeps.
``roles`` says which node dials which, ``tls`` and ``public_tls`` hold certificates of nodes and of
gateways, and ``inventory`` reads what hardware a machine has.
"""
