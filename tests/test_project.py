"""House rules that a machine can check: short files, and nothing of one machine in the project."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 500
MOST_MODULES = 18
CROWDED = ("actors", "transport")  # each is one idea, in many small files

# Written in two halves, so that this file may be checked as well.
FORBIDDEN = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "/root" + "/",
    "/wo" + "rk/",
    "../" + "shared",
]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files that git tracks; the test is skipped where the project is not a git checkout."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


TOP = {
    ".ci",
    ".dockerignore",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "bench",
    "docker",
    "docs",
    "examples",
    "pyproject.toml",
    "requirements",
    "src",
    "tests",
}


def test_nothing_lies_at_the_top_that_does_not_belong_there(tracked: list[Path]) -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked} <= TOP


def test_no_source_file_is_longer_than_one_idea_needs(tracked: list[Path]) -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_bytes().count(b"\n")
        for path in tracked
        if path.suffix == ".py"
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_a_public_class_name_means_one_thing(tracked: list[Path]) -> None:
    places: dict[str, list[str]] = {}
    for path in tracked:
        if path.suffix == ".py" and path.is_relative_to(ROOT / "src"):
            for name in re.findall(r"^class ([A-Z]\w*)", path.read_text(), re.MULTILINE):
                places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_a_folder_of_modules_can_be_taken_in_at_a_glance(tracked: list[Path]) -> None:
    counts = Counter(path.parent.relative_to(ROOT) for path in tracked if path.suffix == ".py")
    crowded = {
        str(folder): count
        for folder, count in counts.items()
        if folder.parts[0] == "src" and count > MOST_MODULES and folder.name not in CROWDED
    }
    assert crowded == {}


def test_no_file_names_a_package_registry_or_a_developers_machine(tracked: list[Path]) -> None:
    found = [
        f"{path.relative_to(ROOT)} mentions {word}"
        for path in tracked
        for word in FORBIDDEN
        if word.encode() in path.read_bytes()
    ]
    assert found == []


def test_links_between_the_pages_lead_somewhere(tracked: list[Path]) -> None:
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in tracked
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
