"""Runs the proofs one after the other: ``python -m bench.proofs [NAME …]``; exit status 1 when one fails.

Each is a program of somebody else's. What it needs is installed into ``.bench-peers/proofs``; a proof whose
program cannot be had here is skipped, with a sentence.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from .cluster import MODEL, get, idle, two_replicas

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / ".bench-peers" / "proofs"
VLLM = ROOT / ".engines/engines/vllm/bin/python"
TOKENIZER = ROOT / f".engines/models/demo--{MODEL}/files"
SECONDS = 600


class Skipped(Exception):
    """A proof cannot be run here; the text says why."""


def python_program(package: str, program: str) -> str:
    """Return a program of an environment that has the package, and is made if it is not there."""
    folder = PEERS / package
    if not (folder / "bin" / program).exists():
        venv.create(folder, with_pip=True)
    python = str(folder / "bin/python")
    quiet = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    installed = subprocess.run([python, *quiet, "show", package], capture_output=True, check=False)
    if installed.returncode:
        install = [python, *quiet, "install", package]
        if subprocess.run(install, capture_output=True, check=False).returncode:
            raise Skipped(f"{package} could not be installed")
    return str(folder / "bin" / program)


def node_script(name: str) -> list[str]:
    """Return the command for a script of Node, in a folder that has the packages."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Skipped("node and npm are not here")
    folder = PEERS / "node"
    if not (folder / "node_modules/openai").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--silent", "--prefix", str(folder), "openai", "@anthropic-ai/sdk"]
        if subprocess.run(install, capture_output=True, check=False).returncode:
            raise Skipped("the packages for Node could not be installed")
    shutil.copy(HERE / name, folder)
    return [node, str(folder / name)]


def run(command: Sequence[str], *shown: str, cwd: Path | None = None) -> list[str]:
    """Run a command; return the lines of its output that have one of the words ``shown``, or its last one.

    Raises:
        subprocess.CalledProcessError: It failed; what it said is printed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=cwd, env=environment
    )
    lines = done.stdout.splitlines()
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)
    return [line.strip() for line in lines if any(word in line for word in shown)] or lines[-1:]


def anthropic_python(url: str) -> list[str]:
    """Anthropic's package for Python."""
    return run([python_program("anthropic", "python"), str(HERE / "anthropic_client.py"), url, MODEL])


def openai_node(url: str) -> list[str]:
    """OpenAI's package for Node."""
    return run([*node_script("openai_client.mjs"), url, MODEL])


def anthropic_node(url: str) -> list[str]:
    """Anthropic's package for Node."""
    return run([*node_script("anthropic_client.mjs"), url, MODEL])


def schemathesis(url: str) -> list[str]:
    """Bad requests of all kinds, made from the OpenAPI document: none is answered with a 500.

    First to everything, with made-up models; then to the engine. llama.cpp itself answers 500 to a message
    without ``messages``, so its ``/v1/messages`` takes no part in the second.
    """
    program = python_program("schemathesis", "schemathesis")
    begin = (program, "--config-file", str(HERE / "schemathesis.toml"), "run")
    checks = "not_a_server_error,content_type_conformance,response_schema_conformance"
    few = ("--max-examples", "25", "--phases", "examples,coverage,fuzzing")
    document = get(url, "/openapi.json")
    document["components"]["schemas"]["Inference"]["properties"] |= {
        "model": {"const": MODEL},
        "max_tokens": {"enum": [1, 2]},
    }
    paths = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
    document["paths"] = {path: document["paths"][path] for path in paths}
    with tempfile.TemporaryDirectory() as folder:  # where it keeps what it has found, too
        cwd = Path(folder)
        said = run([*begin, f"{url}/openapi.json", "--checks", checks, *few], " generated, ", cwd=cwd)
        (cwd / "inference.json").write_text(json.dumps(document))
        to = ("inference.json", "--url", url, "--checks", "not_a_server_error")
        return said + run([*begin, *to, *few], " generated, ", cwd=cwd)


def vllm_bench(url: str) -> list[str]:
    """``vllm bench serve``: 60 streamed chats that come in bursts, with a coefficient of variation of 8."""
    if not VLLM.exists() or not TOKENIZER.exists():
        raise Skipped("there is no vLLM: make test-vllm installs it")
    load = (
        "--dataset-name",
        "random",
        "--random-input-len",
        "32",
        "--random-output-len",
        "16",
        "--ignore-eos",
    )
    arrivals = ("--num-prompts", "60", "--request-rate", "2", "--burstiness", str(1 / 8**2), "--seed", "1")
    to = (
        "--backend",
        "openai-chat",
        "--base-url",
        url,
        "--endpoint",
        "/v1/chat/completions",
        "--model",
        MODEL,
    )
    command = [str(VLLM), str(HERE / "vllm_bench.py"), "bench", "serve", "--tokenizer", str(TOKENIZER)]
    said = run([*command, *to, *load, *arrivals], "requests:", "Peak concurrent", "Median TTFT")
    assert any(line.split() == ["Failed", "requests:", "0"] for line in said), said
    return said


def aiperf(url: str) -> list[str]:
    """``aiperf``: 60 streamed chats, of which it hangs up on about a third after 0.4 s."""
    if not TOKENIZER.exists():
        raise Skipped(f"there is no {TOKENIZER.relative_to(ROOT)}: make test-vllm fetches it")
    with tempfile.TemporaryDirectory() as folder:
        to = (
            "--model",
            MODEL,
            "--url",
            url,
            "--endpoint-type",
            "chat",
            "--streaming",
            "--tokenizer",
            str(TOKENIZER),
        )
        load = ("--concurrency", "6", "--request-count", "60", "--synthetic-input-tokens-mean", "40")
        hang_up = ("--request-cancellation-rate", "30", "--request-cancellation-delay", "0.4")
        more = ("--output-tokens-mean", "40", "--ui", "none", "--random-seed", "1", "--artifact-dir", folder)
        run([python_program("aiperf", "aiperf"), "profile", *to, *load, *hang_up, *more])
        result = json.loads(Path(folder, "profile_export_aiperf.json").read_text())
    errors = {each["error_details"]["type"]: each["count"] for each in result.get("error_summary") or ()}
    answered = int(result["request_count"]["avg"])
    assert set(errors) <= {"RequestCancellationError"}, errors
    assert answered + sum(errors.values()) == 60, (answered, errors)
    return [f"{answered} answered, {errors}"]


PROOFS: tuple[Callable[[str], list[str]], ...] = (
    anthropic_python,
    openai_node,
    anthropic_node,
    schemathesis,
    aiperf,
    vllm_bench,
)


def main(names: Sequence[str]) -> int:
    """Run those proofs, or all of them; return the exit status.

    Raises:
        SystemExit: No proof has one of the names.
    """
    known = [proof.__name__ for proof in PROOFS]
    for name in names:
        if name not in known:
            raise SystemExit(f"there is no proof {name!r}: there are {', '.join(known)}")
    failed = False
    with two_replicas() as url:
        for proof in PROOFS:
            if names and proof.__name__ not in names:
                continue
            try:
                said = "; ".join(" ".join(line.split()) for line in proof(url))
                good = idle(url)
                print(f"{proof.__name__}: {said if good else 'requests are left in flight'}", flush=True)
            except Skipped as reason:
                print(f"{proof.__name__}: skipped, {reason}")
                continue
            except (subprocess.SubprocessError, AssertionError) as error:
                print(f"{proof.__name__}: failed: {error}")
                good = False
            failed = failed or not good
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
