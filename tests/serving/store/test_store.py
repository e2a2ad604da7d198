"""What the head was told is on disk when it has said so, and comes back after any end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve
from structlog.testing import capture_logs
from tests.serving.store.stored import Place, change, deployed, record, reopened, revision

from sllm_actors import __version__
from sllm_actors.serving.deployment.document import read_kept_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.store import journal, records
from sllm_actors.serving.store import store as module
from sllm_actors.serving.store.applying import MEASURED_KEPT
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.journal_filter import JournalFilter
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import (
    ApiKeyRecord,
    DeletionRecord,
    JournalEntry,
    MeasuredRecord,
    NodeKey,
    NodeRecord,
    PausesRecord,
    StoredState,
)
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import (
    AddJournal,
    DropApiKey,
    DropDeletion,
    DropNode,
    DropNodeKey,
    DropRevision,
    PutApiKey,
    PutDeletion,
    PutDeployment,
    PutMeasured,
    PutNode,
    PutPauses,
    PutRevision,
    RaiseEpoch,
    RemoveDeployment,
    StoreWrite,
)

NO_TABLE = r"(no such table|relation .* does not exist)"
"""What the databases say of a table that is not there."""


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """An open store, in a database of each kind in turn."""
    opened = place.open()
    yield opened
    opened.close()


def entries(first: int, last: int) -> list[JournalEntry]:
    return [JournalEntry(float(n), "m:vllm", "noted", f"entry {n}", n) for n in range(first, last + 1)]


def test_what_was_acknowledged_is_there_after_a_restart(store: Store, place: Place) -> None:
    leaving = record("2", "b:vllm", deleting=True, paused="a person asked", target=2, allow_downtime=True)
    wanted = [
        *deployed("1", "a:vllm", generation=3, reserved=64, recovered=True),
        PutDeployment(leaving),
        PutRevision(revision("2", "b:vllm", 1)),
        PutRevision(revision("2", "b:vllm", 2, failed="it did not start")),
        PutNode(NodeRecord("w1", "worker", "gpu-box", 2.5, draining=True)),
        PutMeasured(MeasuredRecord("f", "w1", "stopped", 1.5, 9.0)),
        PutMeasured(MeasuredRecord("f", "", "memory", 5.0, 8.0)),
        PutMeasured(MeasuredRecord("f", "", "memory", 6.0, 8.5)),
        RaiseEpoch(7),
        PutApiKey(ApiKeyRecord("batch", "6e", 1.0, 3.0)),
        PutApiKey(ApiKeyRecord("lost", "7d", 1.0, 3.0)),
        PutApiKey(ApiKeyRecord("chat", "5f", 1.0, 4.0)),
        PutApiKey(ApiKeyRecord("batch", "6e", 0.25, 3.0)),
        DropApiKey("lost"),
        DropApiKey("never there"),
    ]
    store.apply(wanted)
    # Not closed: the process was killed.
    after = place.open()
    assert after.load() == StoredState(
        fresh=False,
        epoch=7,
        deployments=(record("1", "a:vllm", generation=3, reserved=64, recovered=True), leaving),
        revisions=(
            revision("1", "a:vllm", 1),
            revision("2", "b:vllm", 1),
            revision("2", "b:vllm", 2, failed="it did not start"),
        ),
        nodes=(NodeRecord("w1", "worker", "gpu-box", 2.5, draining=True),),
        last_revisions={"a:vllm": 1, "b:vllm": 2},
        measured=(
            MeasuredRecord("f", "", "memory", 6.0, 8.5),
            MeasuredRecord("f", "w1", "stopped", 1.5, 9.0),
        ),
        api_keys=(ApiKeyRecord("batch", "6e", 0.25, 3.0), ApiKeyRecord("chat", "5f", 1.0, 4.0)),
    )
    after.close()


def test_what_was_measured_long_ago_is_forgotten(store: Store) -> None:
    old, recent = MeasuredRecord("e", "", "memory", 1.0, 0.0), MeasuredRecord("f", "", "memory", 2.0, 5.0)
    store.apply([PutMeasured(old), PutMeasured(recent)])
    assert store.load().measured == (old, recent)
    late = MeasuredRecord("g", "", "memory", 3.0, MEASURED_KEPT + 5.0)
    store.apply([PutMeasured(late)])
    assert store.load().measured == (recent, late)


@pytest.mark.parametrize(
    "damage",
    [
        "bins = '{'",
        "bins = '[]'",
        """bins = '{"x": 1}'""",
        """bins = '{"-1": 1}'""",
        """bins = '{"3": 1e999}'""",
        """bins = '{"3": null}'""",
        "longer = -1",
    ],
)
def test_pauses_that_cannot_be_read_are_learned_anew_as_one_line_of_the_log_says(
    place: Place, damage: str
) -> None:
    check_that_pauses_are_learned_anew(place, damage)


def test_pauses_of_another_type_are_learned_anew(path: Path) -> None:
    check_that_pauses_are_learned_anew(Place(sqlite_url(path)), "halved = 'noon'")  # PostgreSQL refuses that


def check_that_pauses_are_learned_anew(place: Place, damage: str) -> None:
    store = place.open()
    whole = {uid: PausesRecord(uid, '{"3": 1.5, "17": 2}', 4.0, 9.5) for uid in ("1", "2", "3")}
    store.apply([*deployed("1", "a:vllm"), *deployed("2", "b:vllm"), *map(PutPauses, whole.values())])
    store.close()
    assert whole["1"].counts == {3: 1.5, 17: 2.0}
    place.change(f"UPDATE pauses SET {damage} WHERE uid = '2'")  # noqa: S608 - it is the test's own
    with capture_logs() as logs:
        after = place.open()
        state = after.load()
    assert state.pauses == {"1": whole["1"]}, "and the third one has no deployment"
    (line,) = [each for each in logs if each["event"] == "store.pauses_unread"]
    assert (line["log_level"], line["deployments"], line["first"]) == ("warning", 1, "2")
    after.apply([RemoveDeployment("1", 5.0)])
    assert after.load().pauses == {}
    after.close()


def test_an_answer_waits_for_the_disk(store: Store, place: Place) -> None:
    is_file = place.url.startswith("sqlite")
    settings = {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2}  # FULL
    with store._database.writing() as connection:
        for question, wanted in (settings if is_file else {"SHOW synchronous_commit": "on"}).items():
            assert connection.exec_driver_sql(question).scalar() == wanted


def test_a_later_deployment_of_an_id_can_go_on_behind_every_revision_that_was_used(store: Store) -> None:
    store.apply(deployed("1", "a:vllm"))
    store.apply([PutRevision(revision("1", "a:vllm", number)) for number in (5, 3)])
    store.apply([DropRevision("1", 5), DropRevision("1", 9)])
    assert store.load().last_revisions == {"a:vllm": 5}
    store.apply([PutRevision(revision("1", "a:vllm", 6)), RemoveDeployment("1", 9.0)])
    state = store.load()
    assert (state.deployments, state.revisions) == ((), ())
    assert state.last_revisions == {"a:vllm": 6}
    store.apply(deployed("2", "a:vllm", current=2))
    assert store.load().last_revisions == {"a:vllm": 6}


def test_a_deletion_is_remembered_until_it_is_dropped(store: Store) -> None:
    store.apply([*deployed("1", "a:vllm"), *deployed("2", "b:vllm")])
    store.apply([RemoveDeployment("2", 9.0), RemoveDeployment("1", 8.0), RemoveDeployment("never", 1.0)])
    assert store.load().deletions == (DeletionRecord("1", "a:vllm", 8.0), DeletionRecord("2", "b:vllm", 9.0))
    store.apply([RemoveDeployment("1", 10.0)])  # said again
    store.apply([DropDeletion("2"), DropDeletion("never")])
    assert store.load().deletions == (DeletionRecord("1", "a:vllm", 8.0),)


def test_a_deletion_of_what_was_never_in_the_store_is_remembered_like_any_other(store: Store) -> None:
    rival = DeletionRecord("other", "a:vllm", 7.0)
    store.apply([PutDeletion(rival), PutDeletion(rival)])
    assert store.load().deletions == (rival,)
    store.apply([DropDeletion("other")])
    assert store.load().deletions == ()


def test_writes_are_applied_in_their_order(store: Store) -> None:
    node = NodeRecord("w1", "worker")
    store.apply([PutNode(node), DropNode("w1"), PutNode(evolve(node, name="b")), DropNode("w2")])
    store.apply([PutNode(NodeRecord("g1", "gateway")), PutNode(evolve(node, name="c"))])
    assert store.load().nodes == (NodeRecord("g1", "gateway"), evolve(node, name="c"))


def test_the_epoch_only_rises(store: Store) -> None:
    for epoch, kept in ((3, 3), (2, 3), (2**60, 2**60)):
        store.apply([RaiseEpoch(epoch)])
        assert store.load().epoch == kept


def test_a_new_store_is_fresh_until_somebody_deploys(store: Store, place: Place) -> None:
    assert store.load() == StoredState(fresh=True)
    store.apply(
        [RaiseEpoch(1), PutNode(NodeRecord("w1", "worker")), *deployed("1", "a:vllm", recovered=True)]
    )
    after = place.open()
    assert after.load().fresh, "what workers brought back may not be all that they run"
    after.apply([PutDeployment(record("1", "a:vllm", reserved=64))])
    assert not after.load().fresh
    after.close()
    assert not store.load().fresh


def test_the_journal_is_read_in_pages_from_either_end(store: Store) -> None:
    assert store.journal(10) == []
    store.apply([AddJournal(tuple(entries(1, 3))), AddJournal(()), AddJournal(tuple(entries(4, 6)))])
    assert store.journal(4) == entries(3, 6)
    assert store.journal(4, until=4) == entries(1, 4)
    assert store.journal(2, after=0) == entries(1, 2)
    assert store.journal(9, after=2, until=5) == entries(3, 5)
    assert store.journal(9, after=6) == []


def test_an_entry_that_is_written_again_is_not_there_twice(store: Store) -> None:
    store.apply([AddJournal(tuple(entries(1, 3)))])
    store.apply([AddJournal(tuple(entries(2, 5)))])  # the answer to the first write was lost, say
    assert store.journal(10) == entries(1, 5)


def test_the_database_lets_the_same_entries_pass_as_the_filter(store: Store) -> None:
    subjects = ["m:vllm", "m:8b:vllm", "M:vllm", "w", "x%:vllm", "xy:vllm", "m"]
    kinds = ["node.up", "node", "replica.placed", "Node.up", "nodes.up"]
    everything = [
        JournalEntry(1.0, about, what, "a sentence", number, 3, f"{about}@3.1", "w" if number % 2 else "")
        for number, (about, what) in enumerate(itertools.product(subjects, kinds), 1)
    ]
    store.apply([AddJournal(tuple(everything))])
    asked = itertools.product(
        ["", "m", "m:vllm", "M", "m:8b", "w", "x%", "x%:vllm", "_", "nobody"],
        ["", "node", "node.up", "replica", "rep"],
    )
    for wanted in itertools.starmap(JournalFilter, asked):
        passed = [each for each in everything if wanted.passes(each)]
        assert store.journal(100, wanted=wanted) == passed, wanted


def test_the_journal_keeps_its_newest_entries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "JOURNAL_KEPT", 20)
    monkeypatch.setattr(module, "JOURNAL_CHUNK", 5)
    store.apply([AddJournal(tuple(entries(1, 23)))])
    assert store.journal(99) == entries(4, 23), "the first write drops what an earlier life has left"
    store.apply([AddJournal(tuple(entries(24, 28)))])
    assert store.journal(99) == entries(4, 28), "nothing is dropped in between"
    store.apply([AddJournal(tuple(entries(29, 29)))])
    assert store.journal(99) == entries(10, 29)


def test_the_journal_forgets_what_is_old(store: Store) -> None:
    now = 1_800_000_000 * journal.MICRO
    aged = [
        JournalEntry(1.0, "m:vllm", "noted", "x", now - days * 86400 * journal.MICRO) for days in (31, 29)
    ]
    store.apply([AddJournal((*aged, evolve(aged[0], number=now)))])
    assert [each.number for each in store.journal(9)] == [aged[1].number, now]


def test_a_key_is_bound_to_a_node_with_its_role_and_outlives_it(store: Store, place: Place) -> None:
    store.bind_key("w1", "worker", b"\x00" * 32, 1.0)
    store.bind_key("g1", "gateway", b"\xff" * 32, 2.0)
    store.bind_key("w1", "worker", b"\x01" * 32, 3.0)
    store.apply([PutNode(NodeRecord("w1", "worker")), DropNode("w1")])
    after = place.open()
    assert after.node_keys() == {
        "w1": NodeKey("worker", b"\x01" * 32),
        "g1": NodeKey("gateway", b"\xff" * 32),
    }
    after.close()


def test_a_key_that_is_dropped_leaves_its_id_free(store: Store, place: Place) -> None:
    store.bind_key("w1", "worker", b"\x00" * 32, 1.0)
    store.bind_key("w2", "worker", b"\x01" * 32, 1.0)
    store.apply([DropNodeKey("w1"), DropNodeKey("never")])
    assert set(store.node_keys()) == {"w2"}
    store.bind_key("w1", "gateway", b"\x02" * 32, 2.0)
    after = place.open()
    assert after.node_keys()["w1"] == NodeKey("gateway", b"\x02" * 32)
    after.close()


def test_the_store_names_the_program_that_last_wrote_to_it(store: Store, place: Place) -> None:
    store.close()
    place.change("UPDATE about SET program = '0.0.1'")
    after = place.open()
    after.load()
    after.apply([RaiseEpoch(1)])
    after.close()
    assert place.ask("SELECT program FROM about") == [(__version__,)]


def test_nothing_of_what_failed_in_the_middle_is_kept(store: Store, place: Place) -> None:
    store.apply(deployed("1", "a:vllm"))
    before = store.load()
    place.change("ALTER TABLE nodes RENAME TO nodes_elsewhere")
    with pytest.raises(StoreProblem, match=rf"cannot be written: {NO_TABLE}"):
        store.apply([*deployed("2", "b:vllm"), PutNode(NodeRecord("w1", "worker")), RaiseEpoch(3)])
    place.change("ALTER TABLE nodes_elsewhere RENAME TO nodes")
    assert store.load() == before
    store.apply([PutNode(NodeRecord("w1", "worker"))])


def test_a_revision_of_no_deployment_is_refused_with_all_that_came_with_it(store: Store) -> None:
    with pytest.raises(StoreProblem, match=r"(?i)foreign key constraint"):
        store.apply([RaiseEpoch(3), PutRevision(revision("1", "a:vllm", 1))])
    assert store.load() == StoredState()
    store.apply([PutRevision(revision("1", "a:vllm", 1)), PutDeployment(record("1", "a:vllm"))])


def test_a_database_that_breaks_is_a_problem_for_whoever_reads_or_writes(store: Store, place: Place) -> None:
    store.apply(deployed("1", "a:vllm"))
    for table in ("revisions", "deployments", "nodes", "node_keys", "journal"):
        place.change(f"ALTER TABLE {table} RENAME TO {table}_elsewhere")
    actions: list[Callable[[], object]] = [
        store.load,
        store.node_keys,
        lambda: store.journal(1),
        lambda: store.apply(deployed("2", "b:vllm")),
        lambda: store.apply([RemoveDeployment("1", 1.0)]),
        lambda: store.apply([PutNode(NodeRecord("w1", "worker"))]),
        lambda: store.apply([AddJournal(tuple(entries(1, 1)))]),
        lambda: store.bind_key("w1", "worker", b"k", 1.0),
    ]
    problems = []
    for action in actions:
        with pytest.raises(StoreProblem, match=NO_TABLE) as raised:
            action()
        problems.append(raised.value)  # and with it all that it was raised from
    store.apply([RaiseEpoch(2)])
    for table in ("journal", "node_keys", "nodes", "deployments", "revisions"):
        place.change(f"ALTER TABLE {table}_elsewhere RENAME TO {table}")
    assert [each.id for each in store.load().deployments] == ["a:vllm"], "what failed holds nothing up"
    assert len(problems) == len(actions)


def test_a_write_of_nothing_needs_no_database(store: Store) -> None:
    store.close()
    store.apply([])


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_a_database_that_is_read_only_is_a_problem_for_whoever_writes(path: Path, mode: str) -> None:
    reopened(path).close()
    change(path, "PRAGMA journal_mode=DELETE")
    writes: list[StoreWrite] = [RaiseEpoch(5)]
    if mode == "rw":
        store = Store.open(f"sqlite:///file:{path}?mode=rw&uri=true")
        store.apply(writes)
        assert store.load().epoch == 5
        store.close()
        return
    try:
        store = Store.open(f"sqlite:///file:{path}?mode=ro&uri=true")
    except StoreProblem as refused:
        sentence = str(refused)
    else:
        with pytest.raises(StoreProblem) as raised:
            store.apply(writes)
        sentence = str(raised.value)
        store.close()
    assert "attempt to write a readonly database" in sentence


def test_a_start_reads_each_document_once(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        store.apply(deployed(str(number), f"m{number}:vllm"))
    read: list[str] = []

    def read_and_note(text: str) -> DeploymentSpec:
        read.append(text)
        return read_kept_document(text)

    monkeypatch.setattr(records, "read_kept_document", read_and_note)
    after = place.open()
    state = after.load()
    assert len({each.spec.id for each in state.revisions}) == len(read) == 5
    after.close()


def test_what_was_changed_since_the_opening_is_loaded(store: Store, place: Place) -> None:
    store.apply(deployed("1", "a:vllm"))
    after = place.open()
    after.apply(deployed("2", "b:vllm"))
    assert [each.id for each in after.load().deployments] == ["a:vllm", "b:vllm"]
    after.apply(deployed("3", "c:vllm"))
    assert [each.id for each in after.load().deployments] == ["a:vllm", "b:vllm", "c:vllm"]
    after.close()
