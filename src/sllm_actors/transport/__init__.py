"""The wire between nodes: authenticated links with control, data and tunnel lanes, over TCP or TLS."""

from __future__ import annotations

from .dialer import Dial as Dial
from .errors import NodeFull as NodeFull
from .errors import RemoteProtocolError as RemoteProtocolError
from .errors import TransportError as TransportError
from .errors import TunnelRefused as TunnelRefused
from .handshake import credential_hash as credential_hash
from .hello import Lane as Lane
from .peer import ACCEPT as ACCEPT
from .peer import NodeHello as NodeHello
from .peer import NodeIdentity as NodeIdentity
from .peer import NoLink as NoLink
from .peer import Peer as Peer
from .peer import PeerLost as PeerLost
from .peer import PeerUp as PeerUp
from .peer import Verdict as Verdict
from .references import reference_hooks as reference_hooks
from .settings import TransportSettings as TransportSettings
from .statistics import LinkStatistics as LinkStatistics
from .statistics import TransportStatistics as TransportStatistics
from .tls import TlsContexts as TlsContexts
from .transport import Transport as Transport
