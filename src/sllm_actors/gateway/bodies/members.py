"""The members of a body, by the bytes that they have there: how some are replaced and dropped. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec


class Member(msgspec.Struct, frozen=True, gc=False):
    """A key of a JSON object with its value, or a field of a form.

    Attributes:
        key: The key, decoded.
        start: Where the member begins, in bytes from the beginning of the body.
        value: Where its value begins.
        end: Where its value, and so the member, ends.
    """

    key: str
    start: int
    value: int
    end: int


def changed(
    body: bytes, members: Sequence[Member], new: Mapping[str, bytes], drop: Collection[str]
) -> list[bytes | memoryview]:
    """Return the body from its first to its last member, in pieces; none if no member is left.

    Args:
        body: The body.
        members: All its members, in their order.
        new: New values by key, as bytes of the body; other bytes stay as they are.
        drop: Keys of members that are left out, with what parts them from others, unless they are in ``new``.
    """
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    at = end = members[0].start if members else 0  # up to where the body is copied; where a member ended
    left = False
    for member in members:
        if member.key in drop and member.key not in new:
            if left:
                pieces.append(view[at:end])
            at = member.end
        else:
            if not left:
                at = member.start
            if member.key in new:
                pieces += view[at : member.value], new[member.key]
                at = member.end
            left = True
        end = member.end
    if left:
        pieces.append(view[at:end])
    return pieces
