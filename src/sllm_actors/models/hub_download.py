"""The program that talks with a model hub, through ``huggingface_hub``: a child of the worker.

Run by path under sllm's own interpreter, with one JSON object as its argument; imports nothing of
sllm_actors. It says JSON lines on its standard output, of which the last is ``resolved``, ``fetched`` or
``failed``. It ends at once when its standard input does: the worker is gone, or does not want it any more.
``HF_TOKEN``, ``HF_ENDPOINT`` and what else the library knows are read from its environment.

``{"do": "resolve", "repo", "revision"}`` asks which commit that is and which files it has.

``{"do": "fetch", "repo", "commit", "files": [[name, size, sha256], ...], "folder", "partial"}`` brings files
into a folder. A file that is not whole is kept in ``partial``, and the next run goes on where this one ended,
which the library itself does only within a process. A whole one was compared with its SHA-256, is on the disk
for good, and appears in the folder at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from http import HTTPStatus
from pathlib import Path
from typing import Any

AT_A_TIME = 4
"""Files that are downloaded at the same time."""

TRIES = 5
"""How often in a row a connection may be lost before any byte has come."""

TELL_EVERY = 0.5
"""Seconds between two reports of progress."""

STEP = 1024 * 1024
"""Bytes between two writes: what a killed download loses at the most."""

TIMEOUT = 30.0
"""Seconds that the hub may be silent."""

MOST_BY_HTTP = 50_000_000_000
"""Bytes of the largest file that the hub serves by HTTP; what is larger comes by Xet."""


class Damaged(Exception):
    """A file came that has another size or SHA-256 than the hub says."""


def say(event: str, **more: object) -> None:
    """Tell the worker of an event, in one JSON line."""
    # The libraries may have left a line unfinished.
    sys.stdout.write("\n" + json.dumps({"event": event, **more}) + "\n")
    sys.stdout.flush()


def end_with_parent() -> None:
    """End this process when its standard input ends."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def resolve(job: dict[str, Any]) -> None:
    """Say which commit a revision is, and which files it has."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    info = HfApi().model_info(job["repo"], revision=job["revision"], files_metadata=True, timeout=TIMEOUT)
    files = []
    for each in info.siblings or ():
        size, sha256 = each.size, each.lfs.sha256 if each.lfs else ""
        if size is None:  # not every mirror of the hub tells it here
            url = hf_hub_url(job["repo"], each.rfilename, revision=info.sha)
            size = get_hf_file_metadata(url, timeout=TIMEOUT).size
        files.append([each.rfilename, size or 0, sha256])
    say("resolved", commit=info.sha, files=files)


class Incoming:
    """A file on its way: what is written to it is counted and hashed.

    Attributes:
        size: Bytes of it that are here.
    """

    def __init__(self, path: Path, expected: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        self._sha256 = hashlib.sha256()
        self._file.seek(0)
        self.size = 0
        while step := self._file.read(STEP):
            self._sha256.update(step)
            self.size += len(step)
        if self.size > expected:
            self.truncate()

    @property
    def sha256(self) -> str:
        """The hash of what is here."""
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        view = memoryview(data)
        while view:
            written = self._file.write(view) or 0
            self._sha256.update(view[:written])
            self.size += written
            view = view[written:]

    def truncate(self) -> None:
        """Forget everything."""
        self._file.truncate(0)
        self._sha256 = hashlib.sha256()
        self.size = 0

    def close(self) -> None:
        """Put it on the disk for good."""
        os.fsync(self._file.fileno())
        self._file.close()


class Fetch:
    """Brings the files of one job.

    Args:
        job: A ``fetch`` job, as the module describes it.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        # mypy cannot see what its __all__ has, which is made when it is imported.
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        self._repo, self._commit = job["repo"], job["commit"]
        self._folder, self._partial = Path(job["folder"]), Path(job["partial"])
        self._files: list[tuple[str, int, str]] = [tuple(each) for each in job["files"]]
        self._headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        self._incoming: dict[str, Incoming] = {}
        self._whole: dict[str, int] = {}

    def run(self) -> None:
        """Bring all, telling how far it is."""
        total = sum(size for _, size, _ in self._files)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            pending = {pool.submit(self._bring, *each) for each in self._files}
            while pending:
                done, pending = wait(pending, TELL_EVERY, FIRST_EXCEPTION)
                for each in done:
                    if error := each.exception():
                        fail(error)  # and do not wait for the others
                say("progress", done=self._done(), total=total)
        say("fetched")

    def _done(self) -> int:
        return sum(self._whole.values()) + sum(each.size for each in list(self._incoming.values()))

    def _bring(self, name: str, size: int, sha256: str) -> None:
        target = self._folder / name
        if not (target.is_file() and target.stat().st_size == size):
            partial = self._partial / name.replace("%", "%25").replace("/", "%2F")
            if size > MOST_BY_HTTP:
                self._bring_by_xet(name, size, partial)
            incoming = Incoming(partial, size)
            self._incoming[name] = incoming
            try:
                self._pour(name, size, incoming)
            finally:
                incoming.close()
            if incoming.size != size or (sha256 and incoming.sha256 != sha256):
                partial.unlink()
                raise Damaged(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
        self._whole[name] = size
        self._incoming.pop(name, None)

    def _pour(self, name: str, size: int, incoming: Incoming) -> None:
        """Fill a file, going on where it ends each time that the connection is lost."""
        import httpx2
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self._repo, name, revision=self._commit)
        lost = 0
        while incoming.size < size:
            before = incoming.size
            try:
                self._pour_once(url, incoming)
            except httpx2.TransportError:
                lost = 0 if incoming.size > before else lost + 1
                if lost == TRIES:
                    raise
                time.sleep(min(8, 2**lost))

    def _pour_once(self, url: str, incoming: Incoming) -> None:
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            hf_raise_for_status,
            http_stream_backoff,
        )

        headers = {**self._headers, "Range": f"bytes={incoming.size}-"} if incoming.size else self._headers
        with http_stream_backoff(
            "GET", url, headers=headers, timeout=TIMEOUT, retry_on_exceptions=()
        ) as answer:
            hf_raise_for_status(answer)
            if answer.status_code != HTTPStatus.PARTIAL_CONTENT:  # it is the whole file, whatever was asked
                incoming.truncate()
            for piece in answer.iter_bytes(STEP):
                incoming.write(piece)

    def _bring_by_xet(self, name: str, size: int, path: Path) -> None:
        """Bring a file that the hub does not serve by HTTP, unless it is there. It begins anew each time."""
        from huggingface_hub import hf_hub_download

        if not (path.is_file() and path.stat().st_size == size):
            folder = self._partial / f"xet-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier time
            whole = hf_hub_download(self._repo, name, revision=self._commit, local_dir=folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            Path(whole).replace(path)
            shutil.rmtree(folder)


def fail(error: BaseException) -> None:
    """Tell the worker what kind of failure an error is, and end this process."""
    import httpx2
    from huggingface_hub import errors

    kind, detail = "other", f"{type(error).__name__}: {error}".splitlines()[0][:500]
    match error:
        case errors.GatedRepoError():
            kind = "gated"
        case errors.RepositoryNotFoundError():
            kind = "no repository"
        case errors.RevisionNotFoundError():
            kind = "no revision"
        case errors.EntryNotFoundError():
            kind = "no file"
        case errors.HfHubHTTPError():
            status, detail = error.response.status_code, str(error.response.status_code)
            bad_token = "Invalid credentials" in error.response.headers.get("X-Error-Message", "")
            if status == 401 and not bad_token:  # the hub does not say which of the two
                kind = "no repository"
            else:
                kind = "refused" if status in (401, 403) else "status"
        case errors.OfflineModeIsEnabled():
            kind, detail = "offline", "HF_HUB_OFFLINE is set"
        case httpx2.TransportError():
            kind, detail = "offline", str(error) or type(error).__name__
        case Damaged():
            kind, detail = "damaged", str(error)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            kind = "disk full"
        case OSError(strerror=str(reason), filename=filename):
            kind, detail = "disk", f"{filename}: {reason}" if filename else reason
    say("failed", kind=kind, detail=detail)
    os._exit(0)


def main() -> None:
    """Do the job that the argument describes."""
    job = json.loads(sys.argv[1])
    os.umask(0o077)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        if job["do"] == "resolve":
            resolve(job)
        else:
            Fetch(job).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        fail(error)
    os._exit(0)  # not waiting for anybody's threads


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules are none of the library's
    main()
