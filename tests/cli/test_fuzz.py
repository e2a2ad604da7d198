"""No command line, environment or deployment file makes ``sllm`` itself fail, whatever is in it.

``SLLM_FUZZ_EXAMPLES`` is how many command lines are tried (100; 20,000 take about half an hour).
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sllm_actors.cli import main, progress
from sllm_actors.cli.app import cli
from sllm_actors.cli.commands import delete, logs
from sllm_actors.cli.parameters import HostPortType, HostType, KeyValueType
from sllm_actors.loadgen.figures.generator_load import GeneratorLoad
from sllm_actors.loadgen.run import LoadEnded
from sllm_actors.nodes.launcher.plan import LauncherPlan

from .server import PlayedGateway, build_app, deployment, serving

EXAMPLES = int(os.environ.get("SLLM_FUZZ_EXAMPLES", "100"))

# What can be in an argument or variable: anything but NUL. Bytes that are no UTF-8 come as surrogates.
characters = st.one_of(
    st.characters(min_codepoint=1, exclude_categories=["Cs"]),
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]),
)
TELLING = [
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "2",
        "1e309",
        "nan",
        "inf",
        "-inf",
        "1" * 400,
        "٣",
        "0x10",
        "1_000",
    ),
    *("a", "a:vllm", "a/b", "hf:a/b", "demo:smollm2-135m", "=", "a=", "=b", "a==b", "x=[1", "x={}", "x=NaN"),
    *(
        "é",
        "模型",
        "\udce9",
        "caf\udce9=\udce9",
        "\x1b[31m",
        "a\nb",
        "a\tb",
        "\u202e",
        "\ufeff",
        "[bold]",
        "[/]",
    ),
    *("~", "~nosuchuser/x", "~/x", "./x", "x" * 5000, "x/" * 300, "/dev/null/x", "/proc/self/mem"),
    *("http://", "http://[::1", "http://a:b", "http://a:99999", "https://é", "http://a b", "http://\udce9"),
    *("::1", "[::1]:80", "[", "a..b", "a" * 70 + ":80", "file:///etc/passwd", "http://u:p@h", "127.0.0.1:1"),
    *("200GB", "1.5XB", "-1GB", "9" * 30 + "TB", "auto", "vllm", "llamacpp", "external", "true", "null"),
    *("--shell='", '"', "a 'b", "$HOME", "%s", "{}", "{0}", "\\", "*", "?"),
]
texts = st.one_of(
    st.sampled_from(TELLING), st.text(characters, max_size=20).filter(lambda text: "/" not in text)
)

FILES = {
    "empty.json": b"",
    "list.json": b"[]",
    "nul.json": b'{"model": "a\\u0000b"}',
    "surrogate.json": b'{"model": "\\udce9"}',
    "deep.json": b"[" * 100_000,
    "nan.json": b'{"model": "a", "num_gpus": NaN}',
    "huge.json": b'{"model": "a", "num_gpus": ' + b"9" * 5000 + b"}",
    "bom.json": b'\xef\xbb\xbf{"model": "a"}',
    "latin.json": b'{"model": "caf\xe9"}',
    "good.json": b'{"model": "a", "backend": "vllm", "source": "~nosuchuser/x"}',
    "args.json": b'{"model": "a", "backend_config": {"extra_args": "a \'b"}}',
    "odd.json": b'{"model": {}, "source": 1, "backend_config": {"extra_args": 3}, "endpoints": {}}',
    "dates.toml": b'model = "a"\nwhen = 2020-01-01T00:00:00Z\n',
    "inf.toml": b'model = "a"\nnum_gpus = inf\n',
    "good.toml": b'model = "a"\n[backend_config]\nextra_args = [1, "b"]\n',
    "wrong.toml": b"model = \xff",
    "secret": b"caf\xe9 " * 5,
    "admin-key": b"caf\xc3\xa9",
    "cert.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}

VARIABLES = [
    *("LLM_SERVER_URL", "SLLM_API_KEY", "SLLM_DATA_DIR", "STORAGE_PATH", "SLLM_DATABASE_URL"),
    *("SLLM_CLUSTER_SECRET", "HOME", "XDG_DATA_HOME", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "TZ", "LANG"),
]


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = [(path, command) for path, command in commands(cli) if path != ("engines", "install")]


anything = st.one_of(texts, st.sampled_from(sorted(FILES)))
numbers = st.one_of(
    st.integers(-2, 5).map(str), st.sampled_from(["65535", "65536", "0.5", "nan", "inf", "1e309"])
)


def fitting(option: click.Parameter) -> st.SearchStrategy[str]:
    """Return values of which many are good, so that what comes after the check of an option is reached."""
    match option.type:
        case click.Choice() as choice:
            return st.sampled_from([str(each) for each in choice.choices])
        case click.IntRange() | click.FloatRange():
            return numbers
        case click.Path():
            return st.sampled_from([*sorted(FILES), ".", "folder", "folder/\udce9", "~nosuchuser/x"])
        case HostPortType() | HostType():
            return st.sampled_from(["127.0.0.1", "::1", "localhost", "h:1", "[::1]:1", "é.example", "\udce9"])
        case KeyValueType():
            return texts.map(lambda text: f"a={text}")
        case _:
            return texts


def values(parameter: click.Parameter) -> st.SearchStrategy[str]:
    return st.one_of(fitting(parameter), fitting(parameter), anything)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    path, command = draw(st.sampled_from(COMMANDS))
    line = list(path)
    options = [each for each in command.params if isinstance(each, click.Option) and each.name != "python"]
    chosen = draw(st.lists(st.sampled_from(options), max_size=5)) if options else []
    for option in [*chosen, *(each for each in options if each.required and each not in chosen)]:
        name = draw(st.sampled_from([*option.opts, *option.secondary_opts]))
        if option.is_flag:
            line.append(name)
        else:
            line += (
                [f"{name}={draw(values(option))}"] if name.startswith("--") else [name, draw(values(option))]
            )
    for argument in command.params:
        if isinstance(argument, click.Argument):
            value = draw(st.one_of(st.just("a"), anything))
            line += ["--", value] if value.startswith("-") else [value]
    if draw(st.integers(0, 19)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(anything))
    return line


environments = st.dictionaries(st.sampled_from(VARIABLES), texts, max_size=4)


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedGateway]:
    gateway = PlayedGateway()
    gateway.add(deployment("a:vllm", detail="模 [bold]"))
    with serving(build_app(gateway)) as gateway.url:
        yield gateway


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with files of every kind, to run in."""
    with tempfile.TemporaryDirectory() as path, contextlib.chdir(path):
        for name, content in FILES.items():
            Path(name).write_bytes(content)
        yield Path(path)


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(line=command_lines(), environment=environments, said=texts)
@pytest.mark.allow_blocking  # a command has no event loop
def test_no_command_line_and_no_environment_makes_sllm_itself_fail(
    played: PlayedGateway, folder: Path, line: list[str], environment: dict[str, str], said: str
) -> None:
    played.deployments.clear()
    played.add(deployment("a:vllm", detail="模 [bold]"))
    code, err = run(line, {"LLM_SERVER_URL": played.url, "HOME": "home", **environment}, said)
    assert "itself failed" not in err, err
    assert "Traceback" not in err, err
    assert code in (0, 1, 2), err
    assert code == 0 or err


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_is_set_for_reaching_other_machines_fails_in_a_sentence(variable: str) -> None:
    scheme = "https" if variable.startswith("SSL") else "http"
    for text in random.sample(TELLING, min(len(TELLING), EXAMPLES // 5)):
        elsewhere = {"LLM_SERVER_URL": f"{scheme}://a.invalid", "HOME": "home"}
        code, err = run(["status"], {**elsewhere, variable: text}, "")
        assert code == 1
        assert err.startswith("error: ")
        assert "itself failed" not in err, ascii(text)


def run(line: list[str], environment: dict[str, str], said: str) -> tuple[int, str]:
    """Run a command in this process, but no node; return its exit status and what it said of errors."""

    def run_nothing(plan: LauncherPlan) -> None:
        for listener in plan.sockets:
            listener.close()

    def load_nothing(*_: object, **__: object) -> LoadEnded:
        return LoadEnded(GeneratorLoad(0.0, 0.0, 0.0, 1.0, 0, 1), interrupted=False, seconds=0.0)

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(said.encode(errors="surrogateescape")), "utf-8", "surrogateescape")
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, kept | environment, clear=True))
        stack.enter_context(patch("sllm_actors.nodes.launcher.launcher.run", run_nothing))
        stack.enter_context(patch("sllm_actors.loadgen.run.run_load", load_nothing))
        stack.enter_context(patch("pwd.getpwuid", side_effect=KeyError))
        for module in (delete, logs, progress):
            stack.enter_context(patch.object(module, "POLL_SECONDS", 0.001))
        for name, stream in (("stdin", given), ("stdout", out), ("stderr", err)):
            stack.enter_context(patch.object(sys, name, stream))
        with pytest.raises(SystemExit) as ended:
            main(line)
    code = ended.value.code
    assert isinstance(code, int)
    err.flush()
    data = err.buffer
    assert isinstance(data, io.BytesIO)
    return code, data.getvalue().decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "environment"),
    [
        (["deploy", "--model", b"caf\xe9"], {}),
        (["status", b"caf\xe9"], {"LLM_SERVER_URL": b"http://caf\xe9"}),
        (["up", "--host", "a" * 70], {"HOME": b""}),
        (["head", "--data-dir", "/dev/null/x"], {"SLLM_DATABASE_URL": b"caf\xe9://"}),
        (["worker", "--head", "h", "--secret-file", "/proc/self/mem"], {"SLLM_CLUSTER_SECRET": b"\xe9"}),
    ],
)
def test_real_processes_end_in_a_sentence_too(
    tmp_path: Path, line: list[str | bytes], environment: dict[str, bytes]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sllm_actors", *line],
        env={b"PATH": os.environb[b"PATH"], b"HOME": os.fsencode(tmp_path)}
        | {name.encode(): value for name, value in environment.items()},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in (1, 2)
    assert b"error" in ended.stderr.lower()
    assert b"itself failed" not in ended.stderr
    assert b"Traceback" not in ended.stderr
