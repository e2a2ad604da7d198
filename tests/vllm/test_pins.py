"""The list of pins is whole: images install what is in it, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess

from sllm_actors.engines.installs.environments import PINS, RECIPES

INSTALLERS = {"pip", "wheel"}
"""What an environment may have of itself."""


def test_pins_name_every_package_of_an_environment_for_cpus(vllm_python: str) -> None:
    recipe = RECIPES["vllm", True]
    pinned = set(re.findall(r"^([\w.-]+)==", (PINS / recipe.pins).read_text(), re.MULTILINE))
    command = [vllm_python, "-m", "pip", "--disable-pip-version-check", "list", "--format=json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    installed = {canonical(package["name"]) for package in json.loads(listed)}
    assert installed - INSTALLERS - set(recipe.unwanted) <= set(map(canonical, pinned))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
