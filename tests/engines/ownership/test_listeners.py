"""Who gets the connections with a port, read from tables as the kernel prints them."""

from __future__ import annotations

import sys
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.ownership.listeners import answering_sockets

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"


def line(address: str, port: int, inode: int, state: str = "0A") -> str:
    packed = ip_address(address).packed
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    local = "".join(f"{word:08X}" for word in words)
    return (
        f"   0: {local}:{port:04X} {'0' * len(local)}:0000 {state} 00000000:00000000 00:00000000 00000000 "
        f"    0        0 {inode} 1 000000006ab4ffc3 100 0 0 10 0"
    )


@pytest.mark.parametrize(
    ("sockets", "answering"),
    [
        ([], set()),
        ([("127.0.0.1", 80, 1)], {1}),
        ([("127.0.0.1", 81, 1), ("127.0.0.2", 80, 2), ("10.0.0.1", 80, 3), ("::1", 80, 4)], set()),
        ([("0.0.0.0", 80, 1)], {1}),
        ([("::", 80, 1)], {1}),
        ([("::ffff:127.0.0.1", 80, 1)], {1}),
        ([("0.0.0.0", 80, 1), ("127.0.0.1", 80, 2), ("::", 80, 3)], {2}),
        ([("0.0.0.0", 80, 1), ("::", 80, 3)], {1}),
        ([("127.0.0.1", 80, 1), ("127.0.0.1", 80, 2)], {1, 2}),
        ([("127.0.0.1", 80, 1), ("::ffff:127.0.0.1", 80, 2)], {1, 2}),
    ],
)
def test_the_socket_that_is_nearest_to_the_address_answers(
    sockets: list[tuple[str, int, int]], answering: set[int]
) -> None:
    tcp = [HEADING, *(line(*each) for each in sockets if ":" not in each[0])]
    tcp6 = [HEADING, *(line(*each) for each in sockets if ":" in each[0])]
    assert answering_sockets(tcp, tcp6, 80) == answering


def test_a_connection_is_no_listener_and_the_table_is_read_no_further() -> None:
    def tcp() -> object:
        yield HEADING
        yield line("127.0.0.1", 80, 1)
        yield line("127.0.0.1", 80, 0, "06")
        raise AssertionError("read on")

    assert answering_sockets(tcp(), [], 80) == {1}  # type: ignore[arg-type]
    assert answering_sockets([HEADING, line("127.0.0.1", 80, 1, "01")], [], 80) == set()


@given(st.integers(1, 65535), st.integers(0, 2**32 - 1), st.ip_addresses())
def test_only_what_listens_for_the_address_counts(port: int, inode: int, address: object) -> None:
    text = str(address)
    rows = [HEADING, line(text, port, inode)]
    found = answering_sockets(*((rows, []) if ":" not in text else ([], rows)), port)
    reaches = text in ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1")
    assert found == ({inode} if reaches else set())
