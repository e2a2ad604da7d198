"""The order of the files of tests."""

from __future__ import annotations

from pathlib import Path

from tests.order import ALONE_IN, CLUSTERS, dealt_out, of_clusters

ROOT = Path(__file__).parent.parent


def files(name: str, count: int) -> list[Path]:
    return [Path(f"{name}{number}") for number in range(count)]


def test_files_of_clusters_come_evenly_among_the_others_and_none_at_the_end() -> None:
    clusters, others = files("cluster", 4), files("other", 40)
    order = dealt_out(clusters, others)
    assert [file for file in order if file in clusters] == clusters
    assert [file for file in order if file in others] == others
    places = [order.index(file) for file in clusters]
    assert places == [0, 10, 20, 30]


def test_one_kind_alone_stays_as_it_is() -> None:
    some = files("file", 3)
    assert dealt_out(some, []) == some
    assert dealt_out([], some) == some


def test_the_folders_of_clusters_are_there() -> None:
    assert all(any(folder.rglob("test_*.py")) for folder in CLUSTERS)
    assert of_clusters(Path(__file__).parent / "sim" / "control" / "test_control.py")
    assert not of_clusters(Path(__file__))


def test_tests_that_run_alone_are_where_they_are_looked_for() -> None:
    marked = [file for file in (ROOT / "tests").rglob("*.py") if "pytest.mark." + "alone" in file.read_text()]
    assert marked
    for file in marked:
        assert any(file.is_relative_to(ROOT / folder) for folder in ALONE_IN), f"name the folder of {file}"
