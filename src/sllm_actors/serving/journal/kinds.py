"""The kinds of entries that the journal has: all of them, and what each one means. Pure."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

EventKind: TypeAlias = Literal[
    "deployment.created",
    "deployment.changed",
    "deployment.recovered",
    "deployment.scaled",
    "deployment.swapped",
    "deployment.no_place",
    "deployment.refused",
    "deployment.loaded",
    "deployment.unloaded",
    "deployment.deleting",
    "deployment.deleted",
    "rollout.started",
    "rollout.paused",
    "rollout.resumed",
    "rollout.finished",
    "rollout.rolled_back",
    "replica.placed",
    "replica.ready",
    "replica.failed",
    "replica.stays",
    "replica.moved",
    "replica.evicted",
    "replica.slept",
    "replica.woken",
    "replica.kept",
    "replica.stopped",
    "node.linked",
    "node.lost",
    "node.down",
    "node.missing",
    "node.draining",
    "node.undrained",
    "journal.lost",
    "journal.limited",
]
"""A kind of entry: what it is about, and what happened."""

MEANINGS: Final[dict[EventKind, str]] = {
    "deployment.created": "Somebody has deployed it.",
    "deployment.changed": "Somebody has changed its settings, and no engine is started anew for that.",
    "deployment.recovered": "The store did not know it: it was taken back from the workers that run it.",
    "deployment.scaled": "It is to have another number of replicas.",
    "deployment.swapped": "It was given the place of another deployment, or has given its place to one.",
    "deployment.no_place": "A replica of it found no place within the start-up timeout; it goes on waiting.",
    "deployment.refused": "Workers refused what somebody wanted to deploy, or to change of it.",
    "deployment.loaded": "Somebody has asked for it to be loaded.",
    "deployment.unloaded": "Somebody has asked for it to be unloaded.",
    "deployment.deleting": "Somebody has deleted it: its replicas end.",
    "deployment.deleted": "All of it is gone.",
    "rollout.started": "A new revision of it is being rolled out.",
    "rollout.paused": "The rollout starts and stops nothing until it is resumed.",
    "rollout.resumed": "The rollout goes on.",
    "rollout.finished": "The new revision serves, and the one before it is gone.",
    "rollout.rolled_back": "The new revision failed: the one before it goes on.",
    "replica.placed": "A worker was told to run it.",
    "replica.ready": "It serves, after it was started.",
    "replica.failed": "It has failed; its worker tries it again.",
    "replica.stays": "It fails again and again, and stays where it is, as no other worker has a place.",
    "replica.moved": "It is to be replaced on another worker.",
    "replica.evicted": "It has to make room for another deployment: it sleeps, or stops.",
    "replica.slept": "It was told to sleep, or its worker was asked to: it keeps its place and frees memory.",
    "replica.woken": "It was told to wake, or its worker was asked to.",
    "replica.kept": "Its worker did not stop it or put it to sleep, as it has requests: it goes on.",
    "replica.stopped": "It was told to end its requests and stop.",
    "node.linked": "A node has come, or come back.",
    "node.lost": "The link with a node is lost; what it runs counts as running for a while.",
    "node.down": "A node was lost for too long: what it runs counts no longer.",
    "node.missing": "A node that was known before the head started has not come back.",
    "node.draining": "Somebody has asked for it to be drained: its replicas move away.",
    "node.undrained": "Somebody lets replicas be placed on it again.",
    "journal.lost": "Entries were lost: too many waited while the store was away.",
    "journal.limited": "Entries were left out: there were too many about one thing.",
}
"""What each kind means, in a sentence."""

FAMILIES: Final = tuple(dict.fromkeys(kind.partition(".")[0] for kind in get_args(EventKind)))
"""What entries are about: the first words of their kinds."""
