"""What a launcher is to start, and which sockets it binds for whom."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from attrs import evolve

from sllm_actors.cluster.loopback import is_loopback
from sllm_actors.cluster.tls_files import PublicTlsFiles, TlsFiles
from sllm_actors.host_port import HostPort
from sllm_actors.nodes.launcher.launcher import GATEWAYS_FIRST, STOP_BUDGET
from sllm_actors.nodes.launcher.listening import LauncherProblem, advertised_by_default, every_address
from sllm_actors.nodes.launcher.plan import LauncherPlan, make_plan
from sllm_actors.nodes.options import (
    GatewayOptions,
    HeadOptions,
    NodeOptions,
    UpOptions,
    WorkerOptions,
)
from sllm_actors.nodes.settings import GatewayNodeSettings, HeadNodeSettings, WorkerNodeSettings
from sllm_actors.nodes.worker import ENGINES_STOP


@pytest.fixture
def plans() -> Iterator[list[LauncherPlan]]:
    made: list[LauncherPlan] = []
    yield made
    for plan in made:
        plan.close()


def up(tmp_path: Path, **more: object) -> UpOptions:
    ports = {"port": 0, "cluster_port": 0, "transport_port": 0, "worker_port": 0}
    return UpOptions(data_dir=tmp_path, **{**ports, **more})  # type: ignore[arg-type]


def test_the_flag_to_trust_a_new_head_reaches_the_nodes_that_join_it(
    tmp_path: Path, plans: list[LauncherPlan]
) -> None:
    for trusts in (False, True):
        plans.append(plan := make_plan(up(tmp_path, trust_new_head=trusts)))
        _, worker, gateway = (node.settings for node in plan.nodes)
        assert isinstance(worker, WorkerNodeSettings)
        assert isinstance(gateway, GatewayNodeSettings)
        assert (worker.trust_new_head, gateway.trust_new_head) == (trusts, trusts)


def test_gateways_that_serve_https_are_told_the_files_and_people_a_name(
    tmp_path: Path, plans: list[LauncherPlan]
) -> None:
    leaf = trustme.CA().issue_cert("llm.example.com")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "site.pem"))
    (tmp_path / "site.pem").chmod(0o600)
    files = PublicTlsFiles(tmp_path / "site.pem", tmp_path / "site.pem", http2=True)
    plans.append(plan := make_plan(up(tmp_path / "data", public_tls=files, gateways=2, cors_origins=("*",))))
    gateways = [node.settings for node in plan.nodes if isinstance(node.settings, GatewayNodeSettings)]
    assert [each.public_tls for each in gateways] == [files, files]
    assert [each.cors_origins for each in gateways] == [("*",), ("*",)]
    assert gateways[0].listeners == gateways[1].listeners
    assert [(each.seats, each.seat) for each in gateways] == [(plan.seats, 0), (plan.seats, 1)]
    assert plan.seats in gateways[0].inherited
    assert evolve(gateways[0], health=77).inherited == (*gateways[0].inherited, 77)
    assert plan.gateway_patience == 30
    port = gateways[0].ports["gateway"]
    assert plan.gateway_url == f"https://127.0.0.1:{port}"
    assert plan.public_url == f"https://llm.example.com:{port}"
    assert plan.certificate == files.certificate
    with pytest.raises(LauncherProblem, match="cannot be read"):
        make_plan(up(tmp_path / "data", public_tls=evolve(files, key=tmp_path / "none.key")))


def test_up_is_a_head_a_worker_and_a_gateway_for_this_machine_only(
    tmp_path: Path, plans: list[LauncherPlan]
) -> None:
    plans.append(plan := make_plan(up(tmp_path, demo=True, gpus=1)))
    assert [node.settings.name for node in plan.nodes] == ["head", "worker", "gateway-0"]
    head, worker, gateway = (node.settings for node in plan.nodes)
    assert isinstance(head, HeadNodeSettings)
    assert isinstance(worker, WorkerNodeSettings)
    assert isinstance(gateway, GatewayNodeSettings)
    assert all(node.settings.loopback for node in plan.nodes)
    assert (worker.head_host, worker.head_port) == ("127.0.0.1", head.ports["cluster"])
    assert (gateway.head_host, gateway.head_port) == ("127.0.0.1", head.ports["cluster"])
    assert plan.gateway_url == plan.public_url == f"http://127.0.0.1:{gateway.ports['gateway']}"
    assert (plan.key, plan.demo, worker.gpus, plan.seats, gateway.seats) == (None, True, 1, None, None)
    descriptors = [fd for node in plan.nodes for fd in node.settings.listeners.values()]
    assert sorted(descriptors) == sorted(listener.fileno() for listener in plan.sockets)
    assert all(listener.getsockname()[0] == "127.0.0.1" for listener in plan.sockets)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_gateways_of_a_head_share_one_socket_and_want_a_key(
    tmp_path: Path, plans: list[LauncherPlan]
) -> None:
    options = HeadOptions(data_dir=tmp_path, gateways=2, port=0, cluster_port=0, transport_port=0)
    plans.append(plan := make_plan(options))
    assert [node.settings.name for node in plan.nodes] == ["head", "gateway-0", "gateway-1"]
    first, second = (node.settings.listeners for node in plan.nodes[1:])
    assert first == second
    assert not any(node.settings.loopback for node in plan.nodes)
    assert plan.key == (tmp_path / "admin-key").read_text().strip()
    assert plan.key not in repr(plan)


def test_a_head_without_gateways_has_no_address_for_clients(
    tmp_path: Path, plans: list[LauncherPlan]
) -> None:
    options = HeadOptions(data_dir=tmp_path, gateways=0, port=0, cluster_port=0, transport_port=0)
    plans.append(plan := make_plan(options))
    assert (plan.gateway_url, plan.key, len(plan.nodes)) == ("", None, 1)


def test_a_worker_makes_no_secret_of_its_own(tmp_path: Path, plans: list[LauncherPlan]) -> None:
    plans.append(make_plan(WorkerOptions(head=HostPort("head", 8000), port=0, data_dir=tmp_path)))
    plans.append(make_plan(GatewayOptions(head=HostPort("head", 8000), port=0, data_dir=tmp_path)))
    assert list(tmp_path.iterdir()) == []
    assert not plans[0].nodes[0].settings.loopback
    assert plans[1].nodes[0].settings.loopback


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("port", "--port"),
        ("cluster_port", "--cluster-port"),
        ("transport_port", "--transport-port"),
        ("worker_port", "--worker-port"),
    ],
)
def test_a_taken_port_names_its_flag_and_closes_what_was_bound(tmp_path: Path, name: str, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LauncherProblem, match=rf"port {port} .* is taken: .* {flag}$"):
            make_plan(up(tmp_path, **{name: port}))


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    with pytest.raises(LauncherProblem, match=r"cannot listen on 192\.0\.2\.1:0"):
        make_plan(up(tmp_path, host="192.0.2.1"))


def test_an_ipv6_address_is_served_and_shown_in_brackets(tmp_path: Path, plans: list[LauncherPlan]) -> None:
    plans.append(plan := make_plan(up(tmp_path, host="::1")))
    gateway = plan.nodes[-1].settings
    assert isinstance(gateway, GatewayNodeSettings)
    assert gateway.loopback
    assert (gateway.head_host, plan.gateway_url) == ("::1", f"http://[::1]:{gateway.ports['gateway']}")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LauncherProblem, match=f"port {port} .* is taken"):
            make_plan(up(tmp_path, host="::1", port=port))
    with pytest.raises(LauncherProblem, match=r"cannot listen on \[2001:db8::1\]:0"):
        make_plan(up(tmp_path, host="2001:db8::1"))


def test_every_address_of_ipv6_is_every_one_of_ipv4_too(tmp_path: Path, plans: list[LauncherPlan]) -> None:
    plans.append(plan := make_plan(up(tmp_path, host="::")))
    gateway = plan.nodes[-1].settings
    assert not gateway.loopback
    assert plan.gateway_url == f"http://127.0.0.1:{gateway.ports['gateway']}"
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, gateway.ports["gateway"]), 10).close()


@pytest.mark.parametrize(
    ("advertised", "sentence"),
    [
        ("0.0.0.0", "--advertise 0.0.0.0 is no address that can be reached"),
        ("::", "--advertise :: is no address that can be reached"),
        ("localhost", "--advertise localhost would lead every other machine to itself"),
        ("::1", "--advertise ::1 would lead every other machine to itself"),
    ],
)
def test_what_leads_nobody_here_cannot_be_advertised(tmp_path: Path, advertised: str, sentence: str) -> None:
    with pytest.raises(LauncherProblem, match=sentence):
        make_plan(HeadOptions(advertise=advertised, data_dir=tmp_path / "data"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("head", "options", "told"),
    [
        ("192.0.2.1", {"host": "127.0.0.1"}, "listens on 127.0.0.1, so gateways on other machines cannot"),
        ("192.0.2.1", {"host": "127.0.0.1", "advertise": "192.0.2.9"}, ""),  # something forwards to it
        ("192.0.2.1", {}, ""),
        ("127.0.0.1", {"host": "127.0.0.1"}, ""),
        ("localhost", {"advertise": "127.0.0.1"}, "advertises 127.0.0.1, so only gateways on this machine"),
    ],
)
def test_a_worker_that_other_machines_cannot_reach_says_so(
    tmp_path: Path, plans: list[LauncherPlan], head: str, options: dict[str, str], told: str
) -> None:
    chosen = WorkerOptions(data_dir=tmp_path, port=0, head=HostPort(head, 8000), **options)  # type: ignore[arg-type]
    plans.append(plan := make_plan(chosen))
    assert len(plan.notes) == bool(told)
    assert told in "".join(plan.notes)
    assert plan.nodes[0].settings.advertise == options.get("advertise", "")


def test_a_worker_of_another_machine_cannot_advertise_loopback(tmp_path: Path) -> None:
    chosen = WorkerOptions(data_dir=tmp_path, port=0, head=HostPort("192.0.2.1", 8000), advertise="127.0.0.1")
    with pytest.raises(LauncherProblem, match="would lead every other machine to itself"):
        make_plan(chosen)


def test_who_waits_for_requests_when_it_stops_is_the_worker_without_gateways_before_it(
    tmp_path: Path, plans: list[LauncherPlan]
) -> None:
    alone = WorkerOptions(data_dir=tmp_path / "w", port=0, head=HostPort("127.0.0.1", 8000))
    plans += [make_plan(up(tmp_path / "up")), make_plan(alone)]
    beside, apart = (
        node.settings
        for plan in plans
        for node in plan.nodes
        if isinstance(node.settings, WorkerNodeSettings)
    )
    assert isinstance(beside, WorkerNodeSettings)
    assert isinstance(apart, WorkerNodeSettings)
    assert 0 < beside.stop_patience < apart.stop_patience
    assert GATEWAYS_FIRST + beside.stop_patience + ENGINES_STOP < STOP_BUDGET
    assert apart.stop_patience + ENGINES_STOP < STOP_BUDGET


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": "127.0.0.1"}, ""),
        ({"host": "127.0.0.1", "advertise": "127.0.0.1"}, "127.0.0.1"),
        ({"host": "127.0.0.1", "advertise": "192.0.2.1"}, "192.0.2.1"),  # something forwards to it
        ({"host": "127.0.0.1", "advertise": "head.example"}, "head.example"),
        ({"host": "0.0.0.0"}, ""),
        ({"host": "0.0.0.0", "advertise": "2001:db8::1"}, "2001:db8::1"),
        ({}, ""),
    ],
)
def test_every_node_is_told_what_it_advertises(
    tmp_path: Path, plans: list[LauncherPlan], given: dict[str, str], told: str
) -> None:
    chosen = HeadOptions(data_dir=tmp_path, port=0, cluster_port=0, transport_port=0, **given)  # type: ignore[arg-type]
    plans.append(plan := make_plan(chosen))
    assert {node.settings.advertise for node in plan.nodes} == {told}
    port = plan.nodes[-1].settings.ports["gateway"]
    assert plan.gateway_url == f"http://127.0.0.1:{port}"
    assert plan.public_url == f"http://{HostPort(told or '127.0.0.1', port)}"


@pytest.mark.parametrize(
    ("listening", "told"),
    [("192.0.2.1", "192.0.2.1"), ("head.example", "head.example"), ("0.0.0.0", ""), ("::", ""), ("::1", "")],
)
def test_the_only_address_that_is_listened_on_is_advertised(listening: str, told: str) -> None:
    assert advertised_by_default(listening) == told


def test_a_head_listens_on_every_address_unless_it_is_told_otherwise(
    tmp_path: Path, plans: list[LauncherPlan]
) -> None:
    plans.append(
        plan := make_plan(HeadOptions(data_dir=tmp_path, gateways=0, cluster_port=0, transport_port=0))
    )
    port = plan.nodes[0].settings.ports["cluster"]
    families = [("127.0.0.1", True), ("::1", every_address() == "::")]
    for host in [host for host, is_listened_on in families if is_listened_on]:
        socket.create_connection((host, port), 10).close()


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LauncherProblem, match="data directory"):
        make_plan(up(tmp_path / "file"))


def test_every_node_gets_the_files_for_tls_under_absolute_paths(
    tmp_path: Path, plans: list[LauncherPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("node")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "node.pem")
    (tmp_path / "node.pem").chmod(0o600)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.chdir(tmp_path)
    both = Path("node.pem")
    plans.append(plan := make_plan(up(tmp_path / "data", tls=TlsFiles(both, both, Path("ca.pem")))))
    for node in plan.nodes:
        assert node.settings.tls == TlsFiles(
            tmp_path / "node.pem", tmp_path / "node.pem", tmp_path / "ca.pem"
        )


def test_files_for_tls_that_cannot_be_used_start_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(LauncherProblem, match=r"missing\.pem \(--tls-cert\) cannot be read: No such file"):
        make_plan(up(tmp_path / "data", tls=TlsFiles(missing, missing, missing)))
    assert not (tmp_path / "data").exists()


def test_options_of_no_command_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="NodeOptions"):
        make_plan(NodeOptions(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("address", "only_here"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)],
)
def test_loopback_is_known(address: str, only_here: bool) -> None:
    assert is_loopback(address) is only_here
