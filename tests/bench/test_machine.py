"""A result says on what it was measured."""

from __future__ import annotations

import json

from bench.harness.machine import cpu_model, load, machine_facts, versions


def test_the_model_is_the_first_one_named() -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU @ 3: GHz\nmodel name\t: Another\n"
    assert cpu_model(text) == "Some CPU @ 3: GHz"
    assert cpu_model("processor\t: 0\n") == ""


def test_a_package_that_is_not_installed_is_left_out() -> None:
    assert set(versions(["anyio", "no-such-package-at-all"])) == {"anyio"}


def test_the_facts_are_plain_json() -> None:
    facts = machine_facts(["anyio"])
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cores"] >= 1
    assert len(load()) == 3
