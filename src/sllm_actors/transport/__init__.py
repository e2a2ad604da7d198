"""The wire between nodes: authenticated links with control, data and tunnel lanes, over TCP or TLS."""

from __future__ import annotations

from .credential import Credential as Credential
from .credential import decode_credential as decode_credential
from .credential import issue_credential as issue_credential
from .dialer import Dial as Dial
from .errors import NodeFull as NodeFull
from .errors import RemoteProtocolError as RemoteProtocolError
from .errors import TransportError as TransportError
from .errors import TunnelBroken as TunnelBroken
from .errors import TunnelRefused as TunnelRefused
from .hello import Lane as Lane
from .identification import HEAD as HEAD
from .identification import KEY_REMEDY as KEY_REMEDY
from .identification import Identification as Identification
from .key_pair import SEED_SIZE as SEED_SIZE
from .key_pair import KeyPair as KeyPair
from .peer import ACCEPT as ACCEPT
from .peer import NodeHello as NodeHello
from .peer import NodeIdentity as NodeIdentity
from .peer import NoLink as NoLink
from .peer import Peer as Peer
from .peer import PeerDoubted as PeerDoubted
from .peer import PeerLost as PeerLost
from .peer import PeerTrusted as PeerTrusted
from .peer import PeerUp as PeerUp
from .peer import Verdict as Verdict
from .references import reference_hooks as reference_hooks
from .settings import TransportSettings as TransportSettings
from .sockets import connect as connect
from .statistics import LinkStatistics as LinkStatistics
from .statistics import TransportStatistics as TransportStatistics
from .streams import Target as Target
from .streams import TunnelStream as TunnelStream
from .tls import TlsContexts as TlsContexts
from .transport import Transport as Transport
from .unreachable import why_unreachable as why_unreachable
