"""The worker's side of a model hub: what is asked of it, and what its refusals mean to a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from sllm_actors.observe.redaction import without_secrets

from .errors import SourceProblem
from .hub_source import HubSource, RepoFile
from .program import ProgramEnded, run_model_program

PROGRAM = Path(__file__).with_name("hub_download.py")

OnProgress = Callable[[int, int], None]
"""Told how many bytes are here, and how many there are to be in all."""


@frozen
class Listing:
    """The files of a repository at a commit.

    Attributes:
        commit: The full hash of the commit.
        files: All files of the repository.
    """

    commit: str
    files: tuple[RepoFile, ...]


class UnknownRevision(SourceProblem):
    """The repository does not have the revision, or does not have it any more."""


@frozen
class Hub:
    """A hub as one worker reaches it.

    Attributes:
        environment: The worker's own: of its secrets, only those of the hub are handed on.
    """

    environment: Mapping[str, str] = field(repr=False)

    @property
    def endpoint(self) -> str:
        """The address of the hub, without a name and password that may be in it."""
        url = urlsplit(self.environment.get("HF_ENDPOINT") or "https://huggingface.co")
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}".rstrip("/")

    async def resolve(self, source: HubSource) -> Listing:
        """Ask which commit a revision is now, and which files it has.

        Raises:
            SourceProblem: The hub cannot be reached, refuses, or does not speak as a hub does.
            OSError: The program that asks cannot be started.
        """
        said = await self._run(source, {"do": "resolve", "repo": source.repo, "revision": source.revision})
        match said:
            case {"commit": str(commit), "files": list(files)} if commit:
                return Listing(commit, tuple(RepoFile(*each) for each in files))
            case _:
                raise SourceProblem(f"{self.endpoint} does not speak as a hub does: check HF_ENDPOINT")

    async def fetch(
        self,
        source: HubSource,
        listing: Listing,
        files: Sequence[RepoFile],
        folder: Path,
        partial: Path,
        on_progress: OnProgress,
    ) -> None:
        """Download files; those that are there already are left alone, and partial ones are continued.

        A download that is cancelled or fails keeps what it has for the next time. No process is left.

        Args:
            source: The repository and revision, for messages.
            listing: The commit to download from.
            files: The files that are wanted of it.
            folder: Where whole files go.
            partial: Where files are until they are whole.
            on_progress: See ``OnProgress``.

        Raises:
            SourceProblem: The hub cannot be reached or refuses, the disk is full, or a file came damaged.
            OSError: The program that downloads cannot be started.
        """
        job = {
            "do": "fetch",
            "repo": source.repo,
            "commit": listing.commit,
            "files": [(each.name, each.size, each.sha256) for each in files],
            "folder": str(folder),
            "partial": str(partial),
        }
        await self._run(source, job, on_progress)

    async def _run(
        self, source: HubSource, job: Mapping[str, object], on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Return the last thing that the program says."""
        argv = (sys.executable, "-I", str(PROGRAM), json.dumps(job))
        try:
            async with run_model_program(argv, self._env()) as program:
                while True:
                    match await program.next():
                        case {"event": "progress", "done": int(done), "total": int(total)}:
                            if on_progress is not None:
                                on_progress(done, total)
                        case {"event": "failed", "kind": str(kind), "detail": str(detail)}:
                            raise self._problem(source, kind, detail)
                        case said:
                            return said
        except ProgramEnded as ended:
            raise SourceProblem(f"the download of {source} was lost: {ended}") from None

    def _env(self) -> dict[str, str]:
        ours = self.environment.items()
        return {
            **without_secrets(self.environment),
            **{name: value for name, value in ours if name.startswith(("HF_", "HUGGING_FACE_"))},
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def _problem(self, source: HubSource, kind: str, detail: str) -> SourceProblem:
        repo, hub = source.repo, self.endpoint
        token = "HF_TOKEN" in self.environment
        match kind:
            case "gated":
                sentence = (
                    f"{repo} is gated: accept its terms at {hub}/{repo},"
                    " and start the worker with the HF_TOKEN of that account"
                )
            case "no repository":
                remedy = "its HF_TOKEN may not see it" if token else "start the worker with an HF_TOKEN"
                sentence = (
                    f"{hub} has no {repo}, or it is private: check its name; if it is private, {remedy}"
                )
            case "no revision":
                return UnknownRevision(
                    f"{repo} has no revision {source.revision}: name a branch, tag or commit"
                )
            case "no file":
                sentence = f"{hub} has lost a file of {repo} that it lists ({detail})"
            case "refused":
                remedy = "check its HF_TOKEN" if token else "start it with an HF_TOKEN"
                sentence = f"{hub} refuses {repo} to this worker (status {detail}): {remedy}"
            case "offline":
                sentence = (
                    f"{hub} cannot be reached from this worker ({detail}): check its network, or HF_ENDPOINT"
                )
            case "status":
                sentence = f"{hub} answered with status {detail} for {repo}; it is asked again later"
            case "damaged":
                sentence = (
                    f"{detail} of {repo} came damaged: its SHA-256 is not the hub's; it is fetched anew"
                )
            case "disk full":
                sentence = f"the disk of this worker became full while {source} came: make room on it"
            case _:
                sentence = f"{source} cannot be downloaded: {detail}"
        return SourceProblem(sentence)
