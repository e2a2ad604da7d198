"""What goes wrong with the head's store, in one sentence for a person."""

from __future__ import annotations

from sllm_actors.cluster.home import SetupProblem


class StoreProblem(SetupProblem):
    """The store cannot be used. The text is one sentence that says why and what to do."""


def unreadable(what: str, store: str, why: object) -> StoreProblem:
    """Return the problem of something in the store that is not what this program writes there.

    Args:
        what: What it is, with its name: ``the deployment m:vllm``.
        store: The name of the store.
        why: What is wrong with it; cut to 200 characters.
    """
    reason = " ".join(str(why).split())
    return StoreProblem(
        f"{what} in the state store {store} cannot be read ({reason:.200}): "
        "use the version that wrote it, or another --data-dir"
    )


def cause(error: Exception) -> str:
    """Return what the database's driver said, in one line."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0].rstrip(" .")
