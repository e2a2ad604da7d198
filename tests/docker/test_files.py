"""The files that containers and services are made of: lint, published schemas, and what they promise."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
UNITS = sorted((DOCKER / "systemd").glob("*.service"))
SCHEMA = Path(__file__).with_name("compose-spec.json")
"""Of the Compose Specification, as it publishes it."""

LOCKS = ROOT / "requirements"
PINNED = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def run(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


@pytest.mark.parametrize("arguments", [("hadolint", "Dockerfile"), ("shellcheck", "entrypoint.sh")])
def test_linters_find_nothing(arguments: tuple[str, str]) -> None:
    program, file = arguments
    done = run(BIN / program, DOCKER / file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def names(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", COMPOSE, ids=names)
def test_compose_files_are_what_the_specification_has(path: Path) -> None:
    schema = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    schema.validate(yaml.safe_load(path.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        schema.validate({"services": {"head": {"imag": "sllm:head"}}})


@pytest.mark.parametrize("path", COMPOSE, ids=names)
def test_every_service_of_a_compose_file_can_lose_its_machine_s_trust(path: Path) -> None:
    """No capabilities, a root that is read only, no new privileges; and time to stop well."""
    document = yaml.safe_load(path.read_text())
    assert document["services"]
    for service in document["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["stop_grace_period"] == "15s"  # a launcher takes less than ten


@pytest.mark.parametrize("path", COMPOSE, ids=names)
def test_every_service_of_a_compose_file_is_built_from_a_target(path: Path) -> None:
    targets = re.findall(r"^FROM .* AS (\S+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    for service in yaml.safe_load(path.read_text())["services"].values():
        build = service["build"]
        assert (path.parent / build["context"]).resolve() == ROOT
        assert (path.parent / build["context"] / build["dockerfile"]).is_file()
        assert build["target"] in targets
        assert service["image"].endswith(":" + build["target"])


def test_every_base_image_can_be_another_one() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM .* AS (\S+)$", text, re.MULTILINE))
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert base in stages | {"${BASE_PYTHON}", "${BASE_CUDA}"}


def test_every_image_ends_as_a_user_that_is_not_root() -> None:
    stages = re.split(r"^FROM ", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    users = {
        stage.split()[2]: (stage.split()[0], re.findall(r"^USER (\S+)", stage, re.MULTILINE))
        for stage in stages[1:]
    }
    for target in ("head", "worker", "worker-cpu"):
        base, own = users[target]
        assert [*users.get(base, ("", []))[1], *own][-1] == "10001:0"


@pytest.mark.parametrize("name", ["build", "head", "worker"])
def test_images_have_the_versions_that_the_tests_run_with(name: str) -> None:
    tested = dict(PINNED.findall((LOCKS / "dev.txt").read_text()))
    pinned = dict(PINNED.findall((LOCKS / f"{name}.txt").read_text()))
    assert pinned
    assert pinned.items() <= tested.items()


def test_what_is_sent_to_a_build_has_no_secrets_and_no_environments() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line.strip("!").split("/")[0] for line in lines[1:] if line.startswith("!")} <= set(
        os.listdir(ROOT)  # noqa: PTH208 - names, not paths
    )


@pytest.mark.parametrize("path", UNITS, ids=names)
def test_services_are_what_systemd_understands(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / path.name
    program = tmp_path / "sllm"
    program.touch(0o755)
    unit.write_text(path.read_text().replace("/opt/sllm/bin/sllm", str(program)))
    done = run("systemd-analyze", "verify", "--man=no", unit, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("path", UNITS, ids=names)
def test_services_start_a_command_that_there_is(path: Path) -> None:
    found = re.search(r"^ExecStart=/opt/sllm/bin/sllm (\w+) (.*)$", path.read_text(), re.MULTILINE)
    assert found is not None
    options = [each for each in found[2].split() if each.startswith("--")]
    known = run(sys.executable, "-m", "sllm_actors", found[1], "--help", timeout=120)
    assert known.returncode == 0
    assert all(option in known.stdout for option in options)
