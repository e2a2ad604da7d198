"""What is wrong with a deployment document: each mistake with its key, and all of them as one error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

MAX_MISTAKES = 16
"""The most mistakes that are told; of any further ones only the number is."""

MAX_SENTENCE = 400
"""The most characters of one mistake's sentence."""


@frozen
class Mistake:
    """One thing that is wrong with a document.

    Attributes:
        message: One sentence for its author.
        param: The key that is wrong, with dots from the top of the document, as its author typed it; None for
            the document itself.
    """

    message: str
    param: str | None = None


class DeploymentProblem(ValueError):
    """A document cannot be deployed. The text is one sentence for its author that tells every mistake.

    Args:
        message: The sentence of the first mistake.
        param: Its key.
        others: Further mistakes.

    Attributes:
        found: All of them.
        mistakes: The first ``MAX_MISTAKES``, each with a sentence of at most ``MAX_SENTENCE`` characters, in
            one line.
    """

    def __init__(self, message: str, param: str | None = None, others: Iterable[Mistake] = ()) -> None:
        self.found = (Mistake(message, param), *others)
        self.mistakes = tuple(_told(each) for each in self.found[:MAX_MISTAKES])
        super().__init__(_in_one_sentence(self.mistakes, self.count))

    @property
    def count(self) -> int:
        """How many mistakes there are."""
        return len(self.found)

    @property
    def param(self) -> str | None:
        """The key of the first mistake that has one."""
        return next((each.param for each in self.mistakes if each.param is not None), None)


def _in_one_sentence(mistakes: tuple[Mistake, ...], count: int) -> str:
    """Return the sentence that tells mistakes, of which there are ``count`` in all: a single one as it is."""
    if count == 1:
        return mistakes[0].message
    more = [f"and {count - len(mistakes)} more"] if count > len(mistakes) else []
    return f"{count} mistakes: " + "; ".join([*(each.message for each in mistakes), *more])


def refuse(mistakes: Sequence[Mistake]) -> None:
    """Raise ``DeploymentProblem`` if there are mistakes."""
    if mistakes:
        raise DeploymentProblem(mistakes[0].message, mistakes[0].param, mistakes[1:])


def _told(mistake: Mistake) -> Mistake:
    """Return a mistake whose sentence is one line and not too long, whatever it quotes."""
    plain = "".join(each if each.isprintable() else repr(each)[1:-1] for each in mistake.message)
    cut = plain if len(plain) <= MAX_SENTENCE else plain[: MAX_SENTENCE - 3] + "..."
    return Mistake(cut, mistake.param)
