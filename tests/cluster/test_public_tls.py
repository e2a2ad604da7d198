"""The certificate of the OpenAI API is found wanting before a client is, and a renewed one is taken."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
import trustme
from anyio import to_thread
from attrs import evolve

from sllm_actors.cluster.pem import TlsProblem
from sllm_actors.cluster.public_tls import PublicTls, make_public_context, public_host
from sllm_actors.cluster.tls_files import PublicTlsFiles

AUTHORITY = trustme.CA()
NOW = datetime.now(UTC)


def write(files: PublicTlsFiles, leaf: trustme.LeafCert) -> None:
    files.certificate.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    files.key.write_bytes(leaf.private_key_pem.bytes())
    files.key.chmod(0o600)


@pytest.fixture
def files(tmp_path: Path) -> PublicTlsFiles:
    made = PublicTlsFiles(tmp_path / "site.pem", tmp_path / "site.key")
    write(made, AUTHORITY.issue_cert("llm.example.com", "*.example.org"))
    return made


def seen(server: ssl.SSLContext, *protocols: str) -> tuple[str | None, str]:
    """Let a client shake hands; return the protocol that was agreed upon, and the certificate's number."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    context.set_alpn_protocols(list(protocols))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="llm.example.com")
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for end in (client, other):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = client.getpeercert()
    assert certificate
    return client.selected_alpn_protocol(), str(certificate["serialNumber"])


def problem(files: PublicTlsFiles) -> str:
    with pytest.raises(TlsProblem) as raised:
        make_public_context(files)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("http2", "offered", "agreed"),
    [
        (False, ("h2", "http/1.1"), "http/1.1"),
        (True, ("h2", "http/1.1"), "h2"),
        (True, ("http/1.1",), "http/1.1"),
        (True, (), None),
    ],
)
def test_clients_choose_among_what_is_offered(
    files: PublicTlsFiles, http2: bool, offered: tuple[str, ...], agreed: str | None
) -> None:
    assert seen(make_public_context(evolve(files, http2=http2)), *offered)[0] == agreed


@pytest.mark.parametrize(
    ("name", "flag"), [("certificate", "--public-tls-cert"), ("key", "--public-tls-key")]
)
def test_a_file_that_is_missing_unreadable_or_no_pem_is_named(
    files: PublicTlsFiles, name: str, flag: str
) -> None:
    path: Path = getattr(files, name)
    path.write_text("something else")
    assert problem(files) == f"the {name} {path} ({flag}) holds no {name} in PEM form"
    path.unlink()
    assert problem(files) == f"the {name} {path} ({flag}) cannot be read: No such file or directory"
    path.mkdir()
    assert problem(files) == f"the {name} {path} ({flag}) cannot be read: Is a directory"


def test_a_key_of_another_certificate_is_named(files: PublicTlsFiles) -> None:
    files.key.write_bytes(AUTHORITY.issue_cert("llm.example.com").private_key_pem.bytes())
    assert problem(files) == (
        f"the key {files.key} does not belong to the certificate {files.certificate}: "
        "name two files that do with --public-tls-cert and --public-tls-key"
    )


def test_a_key_that_everyone_may_read_is_refused(files: PublicTlsFiles) -> None:
    files.key.chmod(0o644)
    assert problem(files).endswith(f"chmod o= {files.key}")


def test_a_certificate_out_of_its_time_is_refused(files: PublicTlsFiles) -> None:
    write(files, AUTHORITY.issue_cert("a.example", not_after=datetime(2020, 1, 2, 3, 4, tzinfo=UTC)))
    assert problem(files) == (
        f"the certificate {files.certificate} (--public-tls-cert) has expired on 2020-01-02 03:04 UTC: "
        "have it renewed"
    )
    write(files, AUTHORITY.issue_cert("a.example", not_before=NOW + timedelta(days=2)))
    assert "is valid only from" in problem(files)


def test_the_url_for_people_names_what_the_certificate_is_for(files: PublicTlsFiles) -> None:
    assert public_host(files, "127.0.0.1") == "llm.example.com"
    write(files, AUTHORITY.issue_cert("llm.example.com", "127.0.0.1"))
    assert public_host(files, "127.0.0.1") == "127.0.0.1"
    write(files, AUTHORITY.issue_cert("*.example.org"))
    assert public_host(files, "10.0.0.1") == "10.0.0.1"
    write(files, AUTHORITY.issue_cert(common_name="old-fashioned"))
    assert public_host(files, "10.0.0.1") == "10.0.0.1"


@pytest.mark.slow
@pytest.mark.anyio
async def test_renewed_files_are_taken_and_broken_ones_are_not(files: PublicTlsFiles) -> None:
    public = await to_thread.run_sync(PublicTls, files)
    _, first = seen(public.context)
    renewed = AUTHORITY.issue_cert("llm.example.com")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: public.renew_forever(interval=0.02))
        await anyio.sleep(0.1)
        files.key.write_bytes(renewed.private_key_pem.bytes())  # half of a renewal
        await anyio.sleep(0.2)
        assert seen(public.context)[1] == first
        write(files, renewed)
        with anyio.fail_after(60):
            while seen(public.context)[1] == first:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
