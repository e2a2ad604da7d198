"""A program that writes to a store, and says of each operation when it is acknowledged.

Arguments: the folder of the store, the seed, the operations that are there already, how many to do.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

import cattrs
from tests.serving.store.operations import Bind, Model, operations
from tests.serving.store.stored import reopened

from sllm_actors.serving.store.records import StoredState

ACKNOWLEDGED = "acknowledged "


def main(folder: Path, seed: int, done: int, count: int) -> None:
    begun = cattrs.structure(json.loads((folder / "begun.json").read_text()), StoredState)
    model = Model.of(begun)
    chance = random.Random(seed)
    store = reopened(folder / "state.db", beside=folder)
    for number, operation in enumerate(itertools.islice(operations(seed, model), count), 1):
        model.apply(operation)
        write_file = chance.random() < 0.1
        if number <= done:
            continue
        if isinstance(operation, Bind):
            store.bind_key(operation.node, operation.key.role, operation.key.public_key, 1.0)
        else:
            store.apply(operation)
        sys.stdout.write(f"{ACKNOWLEDGED}{number}\n")
        sys.stdout.flush()
        if write_file:
            store.write_files()
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
