"""What ``hf:ORG/NAME[@REVISION][:FILE]`` means, and which files of a repository an engine needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import PurePosixPath

from attrs import frozen

from .errors import SourceProblem, list_names
from .shards import shard_of

_SOURCE = re.compile(
    r"(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[^:@\s]+))?(?::(?P<file>[^:\s][^:]*))?", re.ASCII
)
_SMALL = (".json", ".txt", ".model", ".tiktoken", ".jinja", ".py", ".yaml", ".vocab", ".spm")
_OTHER_FORMATS = {"original", "onnx", "openvino", "coreml", "gguf", "metal", "runs", "flax", "tf"}
_MODULE = re.compile(r"\d+_\w+")  # a folder of sentence-transformers, as 1_Pooling


class Wanted(StrEnum):
    """What a backend loads: one GGUF file (or all parts of one), or a folder as transformers write it."""

    GGUF = "gguf"
    FOLDER = "folder"


WANTED = {"llamacpp": Wanted.GGUF, "vllm": Wanted.FOLDER, "sglang": Wanted.FOLDER}
"""What each backend that reads model files loads."""


def nothing_to_pull(backend: str) -> str:
    """Return as a sentence that engines of a backend load no files that could be brought; "" if they do."""
    if backend in WANTED:
        return ""
    *others, last = sorted(WANTED)
    known = f"{', '.join(others)} and {last}"
    return f"there is nothing to pull for the backend {backend}: only engines of {known} load files of models"


@frozen
class HubSource:
    """A model on a hub.

    Attributes:
        repo: ``ORG/NAME``, or ``NAME`` alone.
        revision: A branch, a tag or a commit.
        file: One file of it, or a word that only one file has in its name; "" for what the engine needs.
    """

    repo: str
    revision: str = "main"
    file: str = ""

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf:{self.repo}{revision}" + (f":{self.file}" if self.file else "")

    @property
    def folder_name(self) -> str:
        """The name of the folder that this repository and revision have on a worker."""
        # Neither occurs in names of repositories, which may have no "--"; "%" makes the rest unambiguous.
        name = f"{self.repo.replace('/', '--')}@{self.revision}"
        return name.replace("%", "%25").replace("/", "%2F")


@frozen
class RepoFile:
    """A file of a repository.

    Attributes:
        name: The file's path in the repository.
        size: Bytes.
        sha256: The hash in hexadecimal; "" where the hub does not tell it, as for small files.
    """

    name: str
    size: int
    sha256: str = ""


def read_hub_source(source: str) -> HubSource | None:
    """Return what a source names on a hub; None when it does not begin with ``hf:``.

    Raises:
        SourceProblem: What follows ``hf:`` is not written like a model on a hub.
    """
    if not source.startswith("hf:"):
        return None
    match = _SOURCE.fullmatch(source[3:])
    if match is None or not _is_repo(match["repo"]) or not _is_inside(match["file"] or "x"):
        raise SourceProblem(f"{source} does not name a model on a hub: write hf:ORG/NAME[@REVISION][:FILE]")
    return HubSource(match["repo"], match["revision"] or "main", match["file"] or "")


def _is_repo(repo: str) -> bool:
    return (
        len(repo) <= 96
        and not repo.endswith(".git")
        and ".." not in repo
        and "--" not in repo
        and all(part[0] not in ".-" and part[-1] not in ".-" for part in repo.split("/"))
    )


def _is_inside(name: str) -> bool:
    """Say whether a file's name stays within the folder that it is put into."""
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and str(path) == name
        and ".." not in path.parts
        and not any(ord(letter) < 32 for letter in name)
        and "\\" not in name
    )


def needed_files(source: HubSource, wanted: Wanted, files: Iterable[RepoFile]) -> tuple[RepoFile, ...]:
    """Return what an engine needs of a repository; of a GGUF in parts, the first part comes first.

    Raises:
        SourceProblem: The repository has no such files, or several models to choose from.
    """
    safe = sorted((each for each in files if _is_inside(each.name)), key=lambda each: each.name)
    if wanted is Wanted.GGUF:
        return _gguf(source, safe)
    if source.file:
        raise SourceProblem(f"{source}: this backend loads whole repositories: leave :{source.file} out")
    return _folder(source, safe)


def _gguf(source: HubSource, files: list[RepoFile]) -> tuple[RepoFile, ...]:
    models: dict[str, list[RepoFile]] = {}
    for each in files:
        if each.name.lower().endswith(".gguf"):
            shard = shard_of(each.name)
            models.setdefault(f"{shard.stem}.gguf" if shard else each.name, []).append(each)
    if source.file:
        chosen = {
            name: parts
            for name, parts in models.items()
            if source.file == name or any(source.file == part.name for part in parts)
        } or {name: parts for name, parts in models.items() if _has_word(name, source.file)}
    else:
        chosen = {name: p for name, p in models.items() if not PurePosixPath(name).name.startswith("mmproj")}
    if len(chosen) != 1:
        raise SourceProblem(_which_gguf(source, sorted(chosen) or sorted(models), found=bool(chosen)))
    parts = next(iter(chosen.values()))
    shard = shard_of(parts[0].name)
    if shard and shard.count != len(parts):
        raise SourceProblem(f"{source}: the repository has {len(parts)} of the {shard.count} parts of it")
    return tuple(parts)


def _has_word(name: str, word: str) -> bool:
    """Say whether a file's name has a word in it, as ``model-Q4_K_M.gguf`` has ``q4_k_m``."""
    return re.search(rf"(?<![a-z0-9_]){re.escape(word.lower())}(?![a-z0-9_])", name.lower()) is not None


def _which_gguf(source: HubSource, names: list[str], *, found: bool) -> str:
    if not names:
        return f"{source} has no GGUF file: deploy it with --backend vllm, or name a repository that has one"
    listed = list_names(names)
    if source.file and not found:
        return f"{source} does not exist; the repository has {listed}"
    bare = str(HubSource(source.repo, source.revision))
    return f"{source} could be any of {len(names)} GGUF files: name one as {bare}:FILE; it has {listed}"


def _folder(source: HubSource, files: list[RepoFile]) -> tuple[RepoFile, ...]:
    here = [each for each in files if _belongs(PurePosixPath(each.name))]
    weights = [each for each in here if each.name.endswith(".safetensors")]
    standard = [each for each in weights if not each.name.startswith("consolidated")]
    # The same weights in Mistral's own format lie beside the others, under this name.
    weights = standard or weights
    if not weights:
        weights = [each for each in here if PurePosixPath(each.name).match("pytorch_model*.bin")]
    if not weights:
        if any(each.name.lower().endswith(".gguf") for each in files):
            raise SourceProblem(f"{source} has GGUF files only: deploy it with --backend llamacpp")
        raise SourceProblem(f"{source} has no weights: no .safetensors and no pytorch_model.bin is in it")
    small = [each for each in here if each.name.endswith(_SMALL)]
    return (*small, *weights)


def _belongs(path: PurePosixPath) -> bool:
    """Say whether a file is of the model itself, and not of another format of it or of its training."""
    if path.name == "training_args.bin" or path.name.startswith("."):
        return False
    if len(path.parts) == 1:
        return True
    top = path.parts[0]
    if path.suffix == ".safetensors":
        return len(path.parts) == 2 and _MODULE.fullmatch(top) is not None
    return top not in _OTHER_FORMATS and not top.startswith((".", "checkpoint-"))
