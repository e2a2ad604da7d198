"""What is needed to reach a server that somebody else runs: its address, a key, authorities, and words.

Workers, which watch such servers, and gateways, which send requests to them, use the same: ``ServerAccess``
says how one server is reached, ``address`` mends what people write, ``Keys`` reads secrets where they are
used, ``ClientContexts`` makes each context once, ``why_unreachable`` says what is the matter.
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
