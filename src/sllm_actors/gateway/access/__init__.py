"""Who may use the gateway, and whose request each is.

``guard.Guard`` judges each request that is new to it, by the keys that the gateway's actor has heard of
(``routing.memory.keys``) and by what clients send (``sent_key``).
"""
