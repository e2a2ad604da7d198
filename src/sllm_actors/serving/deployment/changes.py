"""What an update of a deployment changes, and what follows from that: another engine, or only another policy.

A *revision* numbers the engine's part of a deployment, which a running engine cannot change: source,
settings, GPUs, endpoints, variables. The rest is *policy*: it has a generation of its own and restarts
nothing. Model and backend are the id; they never change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from .document import MAX_DOCUMENT, open_secrets, structured, write_document
from .json_text import plain_key, scan_object, shown
from .names import Renaming
from .problem import DeploymentProblem, Mistake
from .spec import DeploymentSpec

IDENTITY: Final = ("model", "backend")
"""The attributes that are the id of a deployment."""

ENGINE: Final = ("source", "num_gpus", "settings", "endpoints", "env", "secret_env", "gpu_memory")
"""The attributes that a revision numbers."""

POLICY: Final = (
    "scaling",
    "startup_timeout",
    "drain_timeout",
    "hold_limit",
    "hold_timeout",
    "queue_timeout",
    "routing_policy",
    "max_concurrency",
    "aliases",
    "memory",
    "node_selector",
    "priority",
    "pinned",
    "preload",
)
"""The attributes that a generation numbers."""

SHOWN_KEYS = 12
"""How many keys a sentence names."""

_TABLES = (
    "auto_scaling_config",
    "backend_config",
    "env",
    "secret_env",
    "node_selector",
)  # by the names of ``write_document``


def engine_part(spec: DeploymentSpec) -> dict[str, Any]:
    """Return what engines are started with, as a JSON object: the id and the engine's part."""
    document = attrs.asdict(spec, recurse=False)
    part = {name: document[name] for name in (*IDENTITY, *ENGINE)}
    if part["gpu_memory"] is None:  # what was started before this attribute was is still the same
        del part["gpu_memory"]
    return part


def engine_hash(spec: DeploymentSpec) -> str:
    """Return the SHA-256, in hex, of ``engine_part`` in canonical form (sorted keys, no blanks, ASCII).

    It is the same in every process and on every machine, whatever the order of keys was. 1, 1.0 and true
    are three different values, as they are to an engine.
    """
    return hashlib.sha256(_canonical(engine_part(spec)).encode()).hexdigest()


def is_engine_change(old: DeploymentSpec, new: DeploymentSpec) -> bool:
    """Say whether engines have to be started anew in order to get from one specification to the other."""
    return _canonical(engine_part(old)) != _canonical(engine_part(new))


def with_policy(engine_of: DeploymentSpec, policy_of: DeploymentSpec) -> DeploymentSpec:
    """Return the id and the engine's part of one specification with the policy of the other."""
    return attrs.evolve(engine_of, **{name: getattr(policy_of, name) for name in POLICY})


def differing_keys(old: DeploymentSpec, new: DeploymentSpec) -> tuple[str, ...]:
    """Return the keys whose values differ, sorted: as ``backend_config.max_model_len``, never with values.

    The names are those of ``write_document``. What is in a table of settings or variables is named by the
    first key in it.
    """
    before, after = write_document(old), write_document(new)
    different: list[str] = []
    for name in before:
        if name in _TABLES:
            different += [f"{name}.{plain_key(key)}" for key in _differing(before[name], after[name])]
        else:
            different += _differing({name: before[name]}, {name: after[name]})
    return tuple(sorted(different))


def shown_keys(keys: Sequence[str]) -> str:
    """Return keys for a sentence: the first ``SHOWN_KEYS``, and how many more there are."""
    more = len(keys) - SHOWN_KEYS
    return ", ".join(keys[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def read_patch(spec: DeploymentSpec, patch: str) -> tuple[DeploymentSpec, list[str]]:
    """Return a deployment as a patch changes it, and warnings (sentences) for the author of the patch.

    The patch is a JSON merge patch (RFC 7396) for the deployment's document: a key that is not in it stays as
    it is, a null brings back the default, tables are merged key by key, lists are replaced. A key may be
    called by any of the names that documents have for it.

    Args:
        spec: The deployment before the change.
        patch: The JSON text of the patch.

    Raises:
        DeploymentProblem: The patch or what it makes of the deployment is not valid, or has another model or
            backend, or the deployment would have more than ``MAX_DOCUMENT`` bytes. It names every mistake
            with its key.
    """
    given, mistakes = scan_object(patch, "the patch")
    names = Renaming(mistakes, keeps_null=True)
    changes = names.document(given)
    for name in IDENTITY:
        if name in changes and changes[name] != getattr(spec, name):
            sentence = (
                f"{name} cannot be changed to {shown(changes[name])}, since it is part of the id {spec.id}: "
                "deploy another one, and delete this one"
            )
            names.mistakes.append(Mistake(sentence, name))
            del changes[name]
    before = attrs.asdict(spec)
    before["endpoints"] = list(spec.endpoints)
    names.know(before)
    changed = structured(merged(before, changes), names)
    if len(json.dumps(write_document(changed), ensure_ascii=False).encode()) > MAX_DOCUMENT:
        raise DeploymentProblem(f"the deployment would have more than {MAX_DOCUMENT} bytes")
    known = set(open_secrets(spec))
    return changed, [each for each in names.warnings if each not in known]


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object as a merge patch (RFC 7396) changes it."""
    result = dict(target)
    for key, value in patch.items():
        below = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        key
        for key in old.keys() | new.keys()
        if key not in old or key not in new or _canonical(old[key]) != _canonical(new[key])
    ]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
