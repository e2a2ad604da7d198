"""The lists of what pinned versions import late: they fit the pins, and are of no harm to other versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from sllm_actors.engines.installs.environments import RECIPES
from sllm_actors.engines.warm.known_imports import (
    KNOWN,
    NOTHING,
    KnownImports,
    known_list,
    read_known_imports,
    write_known_imports,
)
from sllm_actors.engines.warm.late_imports import MOST_MODULES, Learned


def pinned(backend: str, *, cpu: bool) -> str:
    """Return the version that is installed for a backend."""
    return RECIPES[backend, cpu].requirements[0].partition("==")[2]


def test_the_pinned_build_for_cpus_has_a_list_and_no_other_version_has_one() -> None:
    path = known_list("vllm", pinned("vllm", cpu=True), cpu=True)
    assert list(KNOWN.iterdir()) == [path], "make known-imports renews it; remove that of the version before"
    known = read_known_imports(path, "")
    assert len(known.modules) > 100
    assert known.count > len(known.modules)


def test_what_a_list_names_can_be_learned() -> None:
    for path in KNOWN.iterdir():
        known = read_known_imports(path, "")
        learned = Learned().merge(known.modules)
        assert learned.modules == known.modules, "not the name of a module, or named twice"
        assert len(known.modules) < MOST_MODULES


@pytest.mark.parametrize("preload", ["", "/env/torch/lib/a.so", "/env/torch/lib/a.so:/env/b.so"])
def test_a_list_is_read_as_it_was_written_but_for_where_the_package_is(tmp_path: Path, preload: str) -> None:
    packages = tmp_path / "site packages"
    path = tmp_path / "known" / "list.txt"
    known = KnownImports(("a", "b.c"), preload, 6000)
    write_known_imports(path, known, "/env", "what an engine imports")
    assert "/env" not in path.read_text()
    for library in filter(None, preload.split(":")):
        file = packages / Path(library).relative_to("/env")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    moved = preload.replace("/env", str(packages))
    assert read_known_imports(path, str(packages)) == KnownImports(("a", "b.c"), moved, 6000)


def test_a_library_that_is_not_there_is_not_preloaded(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    write_known_imports(path, KnownImports(("a",), "/env/a.so", 2), "/env", "")
    (tmp_path / "other").mkdir()
    assert read_known_imports(path, str(tmp_path / "other")) == KnownImports(("a",), "", 2)
    assert read_known_imports(path, "").preload == ""


def test_of_other_versions_and_builds_nothing_is_known() -> None:
    assert read_known_imports(known_list("vllm", "0.0.1", cpu=True), "/env") == NOTHING
    assert known_list("vllm", "0.32.0", cpu=False) != known_list("vllm", "0.32.0", cpu=True)
    assert known_list("vllm", "0.32.0+cpu", cpu=True) == known_list("vllm", "0.32.0", cpu=True)
    assert known_list("vllm", "", cpu=True).parent == KNOWN
