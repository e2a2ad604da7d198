"""The writes of a store are what their definition says, and killing the writer at any moment loses none.

``SLLM_SOAK_ROUNDS`` says how many writers are killed again and again, ``SLLM_SOAK_SEED`` which random
operations they do.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import cattrs
import pytest
from attrs import evolve
from tests.children import child
from tests.serving.store.operations import Bind, Model, operations
from tests.serving.store.stored import Place, reopened
from tests.serving.store.writing_child import ACKNOWLEDGED

from sllm_actors.serving.store.deployments_file import read_deployments
from sllm_actors.serving.store.journal import JOURNAL_CHUNK, JOURNAL_KEPT
from sllm_actors.serving.store.records import StoredState
from sllm_actors.serving.store.store import Store

ROOT = Path(__file__).parents[3]
DUMP = Path(__file__).with_name("schema_1.sql")
OPERATIONS = 200
ROUNDS = int(os.environ.get("SLLM_SOAK_ROUNDS", "2"))
SEED = int(os.environ.get("SLLM_SOAK_SEED") or random.randrange(2**31))


def holds(store: Store, model: Model) -> bool:
    """Return whether a store holds what it should."""
    if (store.load(), store.node_keys()) != (model.state, model.keys):
        return False
    journal = store.journal(JOURNAL_KEPT + JOURNAL_CHUNK)
    return journal == (model.journal[-len(journal) :] if journal else []) and len(journal) >= min(
        len(model.journal), JOURNAL_KEPT
    )


def modelled(seed: int, begun: StoredState, done: int) -> Model:
    model = Model.of(begun)
    for operation in itertools.islice(operations(seed, model), done):
        model.apply(operation)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "seed"),
    [("sqlite", 0), ("sqlite", 1), ("sqlite", 2), ("postgresql", 3)],
    indirect=["place"],
)
def test_writes_do_what_their_definition_says(place: Place, seed: int) -> None:
    model, store = Model.of(StoredState()), place.open()
    for number, operation in enumerate(itertools.islice(operations(seed, model), OPERATIONS)):
        if isinstance(operation, Bind):
            store.bind_key(operation.node, operation.key.role, operation.key.public_key, 1.0)
        else:
            store.apply(operation)
        model.apply(operation)
        assert store.load() == model.state, (number, operation)
        assert number % 20 or holds(store, model), number
    store.close()


def kill_at_random(chance: random.Random, folder: Path, seed: int, done: int) -> tuple[int, bool]:
    """Let a writer go on, and kill it; return the operations that it acknowledged, and whether it ended."""
    command = [sys.executable, "-m", "tests.serving.store.writing_child"]
    arguments = [str(each) for each in (folder, seed, done, OPERATIONS)]
    acknowledged = done
    with child([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        if chance.random() < 0.3:  # while it opens the store; it may be done before that
            time.sleep(chance.uniform(0.1, 0.8))
            writer.kill()
        until = done + chance.randint(0, OPERATIONS // 3)
        for line in writer.stdout:
            if line.startswith(ACKNOWLEDGED):
                acknowledged = int(line.removeprefix(ACKNOWLEDGED))
            if acknowledged >= until:
                time.sleep(chance.uniform(0.0, 0.02))  # it does not wait meanwhile
                writer.kill()
        return acknowledged, writer.wait(60) == 0


def older(folder: Path) -> StoredState:
    """Make a database of an older schema; return what it holds once it is migrated."""
    with closing(sqlite3.connect(folder / "state.db")) as database:
        database.executescript(DUMP.read_text())
    (folder / "copy").mkdir()
    shutil.copy(folder / "state.db", folder / "copy" / "state.db")
    store = reopened(folder / "copy" / "state.db")
    try:
        return store.load()
    finally:
        store.close()


@pytest.mark.slow
@pytest.mark.timeout(60 + 60 * ROUNDS)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_writer_that_is_killed_at_any_moment_loses_nothing_that_it_acknowledged(
    tmp_path: Path, round_: int
) -> None:
    seed = SEED + round_
    chance = random.Random(seed)
    begun = older(tmp_path) if round_ % 2 else StoredState()
    (tmp_path / "begun.json").write_text(json.dumps(cattrs.unstructure(begun)))
    done, ended = 0, False
    while not ended:
        acknowledged, ended = kill_at_random(chance, tmp_path, seed, done)
        done = check(tmp_path, seed, begun, acknowledged)
    assert done == OPERATIONS, f"seed {seed}"


def check(folder: Path, seed: int, begun: StoredState, acknowledged: int) -> int:
    """Check that a store holds all that was acknowledged, and at most one operation more; return how many."""
    store = reopened(folder / "state.db")
    try:
        found = [n for n in (acknowledged, acknowledged + 1) if holds(store, modelled(seed, begun, n))]
    finally:
        store.close()
    assert found, f"seed {seed}: what {acknowledged} operations left is not what the store holds"
    assert was_held(folder / "deployments.json", seed, begun, found[0]), f"seed {seed}"
    return found[0]


def was_held(path: Path, seed: int, begun: StoredState, done: int) -> bool:
    """Return whether the file is not there yet, or holds whole what the store held at some time."""
    found = read_deployments(path)
    if found is None:
        return not path.with_name(f"{path.name}.damaged").exists()
    content = StoredState(
        deployments=found.deployments,
        revisions=found.revisions,
        deletions=found.deletions,
        last_revisions=found.last_revisions,
    )
    held = Model.of(content).state  # in its order
    model = Model.of(begun)
    for operation in itertools.islice(operations(seed, model), done):
        if evolve(model.state, fresh=True, epoch=0, nodes=(), measured=(), pauses={}, api_keys=()) == held:
            return True
        model.apply(operation)
    return evolve(model.state, fresh=True, epoch=0, nodes=(), measured=(), pauses={}, api_keys=()) == held
