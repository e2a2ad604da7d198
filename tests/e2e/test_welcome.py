"""What ``sllm up --demo`` prints can be pasted into a shell as it is, and works."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from .cluster import Cluster

pytestmark = pytest.mark.allow_blocking


def paste(text: str) -> str:
    """Run a piece of the terminal's text in a shell, as a person would."""
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_snippets_work_as_pasted(cluster: Cluster) -> None:
    cluster.sllm.wait_for(r"\^C stops everything")
    output = cluster.sllm.output
    curl = re.search(r"^curl .*?\}\'$", output, re.DOTALL | re.MULTILINE)
    assert curl is not None, output
    answer = json.loads(paste(curl[0].replace("curl ", "curl --silent --show-error --noproxy '*' ", 1)))
    assert "gravity" in answer["choices"][0]["message"]["content"].lower()
    python = re.search(r"^\S+ - <<'END'$.*?^END$", output, re.DOTALL | re.MULTILINE)
    assert python is not None, output
    assert "gravity" in paste(python[0]).lower()


def test_it_says_what_is_going_on_from_start_to_ready(cluster: Cluster) -> None:
    cluster.sllm.wait_for(r"\^C stops everything")
    said = cluster.sllm.output
    for step in ("head: ready", "OpenAI API: http://", "joined the head", "smollm2-135m:llamacpp: ready"):
        assert step in said
    assert "Traceback" not in said
