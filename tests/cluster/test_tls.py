"""Files for TLS are found wanting before any node is refused for them, and renewed ones are taken."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
import trustme
from attrs import evolve, frozen

from sllm_actors.cluster.pem import TlsProblem
from sllm_actors.cluster.tls import make_tls_contexts, renew_forever
from sllm_actors.cluster.tls_files import TlsFiles
from sllm_actors.transport import TlsContexts

OURS = trustme.CA()
THEIRS = trustme.CA()
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@frozen
class Written:
    files: TlsFiles

    def certificate(self, leaf: trustme.LeafCert) -> None:
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        self.files.certificate.write_bytes(chain)

    def key(self, leaf: trustme.LeafCert) -> None:
        self.files.key.write_bytes(leaf.private_key_pem.bytes())
        self.files.key.chmod(0o600)

    def authority(self, authority: trustme.CA) -> None:
        self.files.authority.write_bytes(authority.cert_pem.bytes())


@pytest.fixture
def written(tmp_path: Path) -> Written:
    made = Written(TlsFiles(tmp_path / "node.pem", tmp_path / "node.key", tmp_path / "ca.pem"))
    leaf = OURS.issue_cert("node-1")
    made.certificate(leaf)
    made.key(leaf)
    made.authority(OURS)
    return made


def problem(files: TlsFiles) -> str:
    with pytest.raises(TlsProblem) as raised:
        make_tls_contexts(files)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def met(server: TlsContexts, client: TlsContexts) -> str:
    """Let two nodes shake hands; return the serial number that the client has seen."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    dialler = client.client.wrap_bio(to_client, to_server, server_hostname="10.0.0.7")
    acceptor = server.server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for end in (dialler, acceptor):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = dialler.getpeercert()
    assert seen
    assert acceptor.getpeercert()
    assert dialler.version() == "TLSv1.3"
    serial = seen["serialNumber"]
    assert isinstance(serial, str)
    return serial


def test_nodes_of_one_authority_trust_each_other_under_any_host_name(
    written: Written, tmp_path: Path
) -> None:
    first = make_tls_contexts(written.files)
    other = evolve(written.files, certificate=tmp_path / "b.pem", key=tmp_path / "b.key")
    leaf = OURS.issue_cert("node-2")
    Written(other).certificate(leaf)
    Written(other).key(leaf)
    second = make_tls_contexts(other)
    met(first, second)
    met(second, first)


def test_nothing_but_the_given_authority_is_trusted(written: Written) -> None:
    contexts = make_tls_contexts(written.files)
    for context in (contexts.server, contexts.client):
        assert len(context.get_ca_certs()) == 1
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_an_authority_that_is_no_root_is_enough(written: Written) -> None:
    between = OURS.create_child_ca()
    leaf = between.issue_cert("node-1")
    written.certificate(leaf)
    written.key(leaf)
    make_tls_contexts(written.files)  # by the root, through the chain
    written.authority(between)
    make_tls_contexts(written.files)


@pytest.mark.parametrize(
    ("name", "what", "flag"),
    [
        ("certificate", "certificate", "--tls-cert"),
        ("key", "key", "--tls-key"),
        ("authority", "authority", "--tls-ca"),
    ],
)
def test_a_file_that_is_missing_or_no_pem_is_named(written: Written, name: str, what: str, flag: str) -> None:
    path: Path = getattr(written.files, name)
    path.write_bytes(b"\x30\x82 DER, or something else entirely")
    assert problem(written.files) == f"the {what} {path} ({flag}) holds no {what} in PEM form"
    path.write_bytes(path.read_bytes() * 100_000)
    assert problem(written.files) == f"the {what} {path} ({flag}) holds no {what} in PEM form"
    path.unlink()
    assert problem(written.files) == f"the {what} {path} ({flag}) cannot be read: No such file or directory"
    path.mkdir()
    assert problem(written.files) == f"the {what} {path} ({flag}) cannot be read: Is a directory"


def test_a_key_of_another_certificate_is_named(written: Written) -> None:
    written.key(OURS.issue_cert("node-2"))
    files = written.files
    assert problem(files).startswith(
        f"the key {files.key} does not belong to the certificate {files.certificate}: "
    )


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_a_file_that_is_broken_behind_its_first_line_is_named(written: Written, name: str) -> None:
    path: Path = getattr(written.files, name)
    text = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([text[0], b"AAAA", text[-1]]))
    assert "cannot be used (" in problem(written.files)


def test_an_authority_that_is_broken_is_named(written: Written) -> None:
    written.files.authority.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert problem(written.files).startswith(
        f"the authority {written.files.authority} (--tls-ca) cannot be used ("
    )


def test_a_key_with_a_passphrase_is_named_and_never_asked_for(written: Written) -> None:
    key = written.files.key
    for cipher in (["pkcs8", "-topk8", "-v2", "aes256"], ["ec", "-aes256"]):
        plain = key.with_name("plain")
        plain.write_bytes(OURS.issue_cert("x").private_key_pem.bytes())
        command = ["openssl", *cipher, "-in", str(plain), "-out", str(key), "-passout", "pass:hunter2"]
        subprocess.run(command, check=True, capture_output=True)
        key.chmod(0o600)
        assert problem(written.files).startswith(
            f"the key {key} has a passphrase, and nodes start unattended: remove it (openssl pkey -in {key}"
        )


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_key_that_everybody_can_get_at_is_refused(written: Written, mode: int) -> None:
    key = written.files.key
    key.chmod(mode)
    assert problem(written.files) == f"every user of this machine can get at the key {key}: chmod o= {key}"
    key.chmod(0o640)  # a group that is there for it
    make_tls_contexts(written.files)


def renewed(written: Written, leaf: trustme.LeafCert) -> None:
    written.certificate(leaf)
    written.key(leaf)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda written: written.authority(THEIRS), "certificate verify failed|unable to get"),
        (
            lambda written: renewed(
                written,
                OURS.issue_cert("x", not_before=datetime.now(UTC) - timedelta(days=9), not_after=YESTERDAY),
            ),
            "certificate has expired",
        ),
        (
            lambda written: renewed(
                written, OURS.issue_cert("x", not_before=datetime.now(UTC) + timedelta(days=1))
            ),
            "certificate is not yet valid",
        ),
    ],
    ids=["another authority", "expired", "not yet valid"],
)
def test_a_certificate_that_no_peer_would_accept_is_found_out_at_once(
    written: Written, spoil: Callable[[Written], None], words: str
) -> None:
    spoil(written)
    with pytest.raises(TlsProblem, match=rf"does not pass the authority .* \({words}.*\): each node needs"):
        make_tls_contexts(written.files)


@pytest.mark.anyio
async def test_renewed_files_are_used_when_they_are_whole(written: Written) -> None:
    contexts = await anyio.to_thread.run_sync(make_tls_contexts, written.files)
    before = met(contexts, contexts)
    leaf = OURS.issue_cert("node-1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: renew_forever(contexts, written.files, interval=0.01))
        await anyio.sleep(0.05)
        written.certificate(leaf)  # the key is not there yet
        await anyio.sleep(0.1)
        assert met(contexts, contexts) == before
        written.key(leaf)
        with anyio.fail_after(60):
            while met(contexts, contexts) == before:  # noqa: ASYNC110 - files have no event
                await anyio.sleep(0.01)
        written.files.certificate.unlink()
        await anyio.sleep(0.05)
        assert met(contexts, contexts) != before
        tasks.cancel_scope.cancel()
