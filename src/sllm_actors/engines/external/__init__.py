"""Reaching servers that somebody else runs: their address, key and TLS, and why one cannot be reached.

Workers, which watch such servers, and gateways, which send requests to them, both use this. ``ServerAccess``
says how one server is reached; ``server_url`` mends an address that a person wrote; ``Keys`` reads the key;
``ClientContexts`` makes TLS contexts; ``why_unreachable`` tells a person what went wrong.
"""

from __future__ import annotations

from .access import ServerAccess as ServerAccess
from .address import AddressProblem as AddressProblem
from .address import server_url as server_url
from .keys import KeyProblem as KeyProblem
from .keys import Keys as Keys
from .keys import read_key as read_key
from .reasons import why_unreachable as why_unreachable
from .tls import ClientContexts as ClientContexts
from .tls import make_context as make_context
