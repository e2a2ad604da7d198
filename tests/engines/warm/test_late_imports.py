"""What engines teach a fork server: names only, within bounds, and only of the engine that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sllm_actors.engines.warm.late_imports import (
    MOST_MODULES,
    SETTLED,
    Learned,
    Look,
    read_imports,
    read_learned,
    write_learned,
)

ENGINE = "vllm 1.0 of /python"


def test_modules_are_learned_once_and_in_their_order() -> None:
    learned = Learned(ENGINE).merge(["b", "a.c"]).merge(["a.c", "d"])
    assert learned == Learned(ENGINE, modules=("b", "a.c", "d"))


@pytest.mark.parametrize(
    "line", ["", "a b", "a/b", ".a", "a..b", "x" * 201, "transformers_modules.mine", "__main__"]
)
def test_what_is_no_module_of_the_engine_is_not_learned(line: str) -> None:
    assert Learned().merge([line, "good"]).modules == ("good",)


def test_the_last_preloaded_library_and_the_oldest_modules_are_kept() -> None:
    many = [f"m{number}" for number in range(MOST_MODULES + 1)]
    learned = Learned().merge(["LD_PRELOAD=/a.so", *many, "LD_PRELOAD=/b.so"])
    assert learned.preload == "/b.so"
    assert learned.modules == tuple(many[:-1])


def test_after_an_unfit_server_nothing_more_is_learned() -> None:
    unfit = Learned(ENGINE).merge(["a", "LD_PRELOAD=/a.so"]).found_unfit("threads run in it")
    assert unfit == Learned(ENGINE, preload="/a.so", unfit="threads run in it")
    assert unfit.merge(["b"]) == unfit


def test_what_is_known_comes_before_what_was_learned() -> None:
    learned = Learned(ENGINE).merge(["c", "a"])
    assert learned.knowing(["a", "b"], "/k.so", 600) == Learned(
        ENGINE, modules=("a", "b", "c"), preload="/k.so", count=600
    )
    later = learned.merge(["LD_PRELOAD=/l.so"]).took(700, 8.123)
    assert later.knowing(["a", "b"], "/k.so", 600) == Learned(
        ENGINE, modules=("a", "b", "c"), preload="/l.so", count=700, seconds=8.12
    )


def test_what_is_known_is_not_tried_again_where_a_server_was_unfit() -> None:
    unfit = Learned(ENGINE).knowing(["a"], "/k.so", 600).found_unfit("threads run in it")
    assert unfit.knowing(["a"], "/k.so", 600) == unfit
    assert unfit.modules == ()


def test_a_record_is_read_again_but_not_for_another_engine(tmp_path: Path) -> None:
    record = tmp_path / "vllm.json"
    assert read_learned(record, ENGINE) == Learned(ENGINE)
    for learned in (
        Learned(ENGINE).merge(["a", "b.c"]).took(600, 8.0),
        Learned(ENGINE).found_unfit("threads run in it"),
    ):
        write_learned(record, learned)
        assert read_learned(record, ENGINE) == learned
        assert read_learned(record, "vllm 1.1 of /python") == Learned("vllm 1.1 of /python")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"modules": 1}', '{"modules": ["a"]}', "\udcff"])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    record = tmp_path / "vllm.json"
    record.write_bytes(text.encode(errors="surrogateescape"))
    assert read_learned(record, ENGINE) == Learned(ENGINE)


def test_an_engine_has_imported_everything_when_nothing_further_comes_or_it_ended() -> None:
    look = Look().then(("a",)).then(("a", "b"))
    for _ in range(SETTLED):
        assert not look.is_settled
        look = look.then(("a", "b"))
    assert look.is_settled
    assert not look.then(("a", "b")).is_settled, "it has been so before"
    assert Look().then(("a",)).then(None) == Look(("a",), SETTLED)
    assert not Look().then(None).is_settled, "it taught nothing"


def test_the_file_of_an_engine_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    file = tmp_path / "late-imports"
    assert read_imports(file) is None
    file.write_text("a\nb.c\nhal")
    assert read_imports(file) == ("a", "b.c")
