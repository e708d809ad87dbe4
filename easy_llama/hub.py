"""Names of files on the Hugging Face hub, and the files behind them, by its own library (extra ``hub``).

Downloads resume where they stopped and show a progress bar; a file that is in the cache is taken from there,
and no network is asked.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .errors import MissingExtraError, ModelFileError
from .files import is_model, model_name, part_names

__all__ = ["CachedFile", "HubName", "cached", "exact", "fetch", "is_hub_name", "parse"]

_ID = r"[A-Za-z0-9][\w.-]*"
_REPO = rf"(?P<repo>{_ID}/{_ID})"
# owner/repo:file.gguf, with a quantization instead of a file or without; so is hf.co/owner/repo:...
_NAME = re.compile(
    rf"(?:(?:www\.)?(?:huggingface\.co|hf\.co)/)?{_REPO}(?:@(?P<revision>[^:@]+))?(?::(?P<file>[^:]+))?"
)
_SCHEME = re.compile(rf"hf://{_REPO}(?:@(?P<revision>[^:@/]+))?(?:[:/](?P<file>[^:]*))?")
_PAGE = re.compile(rf"/{_REPO}(?:/(?:resolve|blob|raw|tree)/(?P<revision>[^/]+)(?:/(?P<file>.*))?)?/?")
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_NOT_OWNERS = ("datasets", "spaces", "models", "docs", "blog", "papers", "collections")
_OTHER = re.compile(r"\.(safetensors|bin|pt|pth|onnx|json|txt|md|zip)$", re.IGNORECASE)
_SHOWN = 8


@dataclass(frozen=True)
class HubName:
    """A file of a repository of models.

    ``file`` is a path in the repository that ends in .gguf; or a quantization such as Q4_K_M; or None where
    the repository has one model only. ``revision`` is a branch, tag or commit; None is the main branch.
    """

    repo: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}" + (f":{self.file}" if self.file else "")


@dataclass(frozen=True)
class CachedFile:
    """A model in the hub's cache: the name to load it by, where it is, and its size with all parts."""

    name: HubName
    path: Path
    n_bytes: int


def parse(name: str) -> HubName | None:
    """Return what ``name`` says of the hub, or None where it is something else, such as a path.

    >>> parse("hf://owner/repo/file.gguf") == parse("https://huggingface.co/owner/repo/blob/main/file.gguf")
    True
    """
    try:
        url = urlsplit(name) if re.match(r"https?://", name, re.IGNORECASE) else None
    except ValueError:  # no address, such as http://[
        return None
    if url is not None:
        match = _PAGE.fullmatch(url.path) if (url.hostname or "") in _hosts() else None
    else:
        match = _SCHEME.fullmatch(name) or _NAME.fullmatch(name)
    if match is None or match["repo"].split("/")[0] in _NOT_OWNERS:
        return None
    file, revision = match["file"] or "", match["revision"] or "main"
    if not _NAME.fullmatch(name):  # in addresses %20 is a space
        file, revision = unquote(file), unquote(revision)
    return HubName(match["repo"], file.strip("/") or None, None if revision == "main" else revision)


def _hosts() -> tuple[str, ...]:
    """The hosts whose addresses are files of the hub: its own, and a mirror that its library was told of."""
    mirror = urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname
    return (*_HOSTS, mirror) if mirror else _HOSTS


def is_hub_name(name: str) -> bool:
    """Whether ``name`` names a file on the hub and not a path.

    >>> is_hub_name("unsloth/Llama-3.2-1B-Instruct-GGUF:Llama-3.2-1B-Instruct-Q4_K_M.gguf")
    True
    >>> is_hub_name("models/some.gguf")
    False
    """
    found = parse(name)
    return found is not None and found.file is not None


def fetch(name: str | HubName, *, refresh: bool = False) -> Path:
    """Return the local path of the file behind a name, downloading it, and its other parts, if need be.

    ``refresh`` asks the hub also for what is in the cache, and takes what is newer there.
    Raises MissingExtraError without the extra, ModelFileError where the hub has no such file or can't be
    reached, or where the name fits none or several of its files; these are listed.
    """
    hub = parse(name) if isinstance(name, str) else name
    if hub is None:
        raise ModelFileError(f"{name!r} is not of the form owner/repo:file.gguf")
    file = exact(hub).file or ""
    parts = {part: _download(replace(hub, file=part), refresh) for part in part_names(file)}
    return parts[file]


def _library(wanted: object) -> Any:
    """The hub's own library; MissingExtraError that names what is ``wanted`` where it is not installed."""
    try:
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingExtraError(
            f"{wanted} needs huggingface-hub, which is not installed: pip install huggingface-hub"
        ) from error
    return huggingface_hub


# --- which file ----------------------------------------------------------------------------------------


def exact(hub: HubName) -> HubName:
    """Return ``hub`` with the file that it means; the cache is asked first, then the hub.

    Raises as ``fetch`` does.
    """
    if hub.file is not None and hub.file.lower().endswith(".gguf"):
        return hub
    if hub.file is not None and _OTHER.search(hub.file):
        raise ModelFileError(
            f"{hub} is no GGUF file, and easy_llama loads no others from the hub; look for a repository "
            "with GGUF in its name, or load the model with transformers and ez.TransformersProvider"
        )
    here = [
        one.name.file
        for one in cached()
        if (one.name.repo, one.name.revision) == (hub.repo, hub.revision) and one.name.file
    ]
    fitting = _fitting(hub, here)
    if len(fitting) == 1:
        return replace(hub, file=fitting[0])
    try:
        there = _models_of(hub)
    except ModelFileError:
        if fitting:
            raise _none_or_several(hub, fitting, here, "in the cache") from None
        raise
    fitting = _fitting(hub, there)
    if len(fitting) == 1:
        return replace(hub, file=fitting[0])
    raise _none_or_several(hub, fitting, there, "on the hub")


def _fitting(hub: HubName, files: list[str]) -> list[str]:
    """The files that ``hub`` may mean: all of them, or those whose names say its quantization."""
    if hub.file is None:
        return files
    # a whole word of the name: Q4_K is not in Q4_K_M
    word = re.compile(rf"(?<![a-z0-9]){re.escape(hub.file.lower())}(?![a-z0-9_])")
    return [file for file in files if word.search(model_name(file).lower())]


def _none_or_several(hub: HubName, fitting: list[str], files: list[str], where: str) -> ModelFileError:
    """The error for a name that fits none or several of the ``files``."""
    if not files:
        return ModelFileError(
            f"{hub.repo} has no GGUF file {where}; look for a repository with GGUF in its name, or load the "
            "model with transformers and ez.TransformersProvider"
        )
    fits = f"{len(fitting)} GGUF files" if fitting else f"no GGUF file {hub.file}"
    return ModelFileError(f"{hub.repo} has {fits} {where}; write one of {_listed(hub, fitting or files)}")


def _listed(hub: HubName, files: Iterable[str]) -> str:
    names = [str(replace(hub, file=file)) for file in files]
    more = f" or {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# --- the hub -------------------------------------------------------------------------------------------


def _models_of(hub: HubName) -> list[str]:
    """The models that the repository has, on the hub."""
    library = _library(hub)
    try:
        _look_up_host(library)
        files = library.HfApi().list_repo_files(hub.repo, revision=hub.revision)
    except Exception as error:  # the library and what it stands on raise many kinds
        raise _not_to_be_had(hub, error) from error
    return sorted(filter(is_model, files))


def _download(hub: HubName, refresh: bool) -> Path:
    library = _library(hub)

    def get(*, here: bool) -> Path:
        return Path(
            library.hf_hub_download(hub.repo, hub.file or "", revision=hub.revision, local_files_only=here)
        )

    if not refresh:
        with suppress(library.errors.LocalEntryNotFoundError):
            return get(here=True)
    try:
        _look_up_host(library)
        return get(here=False)
    except Exception as error:  # as above; all mean "not to be had"
        for one in cached():  # of an older state of the repository than the newest that is known here
            if one.name == hub:
                return one.path
        raise _not_to_be_had(hub, error) from error


def _look_up_host(library: Any) -> None:
    """OSError where the hub's name is not known: its library would try six times, which takes 23 seconds."""
    url = urlsplit(library.constants.ENDPOINT)
    is_direct = not (urllib.request.getproxies().keys() & {url.scheme, "all"})
    if is_direct and url.hostname and not library.constants.HF_HUB_OFFLINE:
        socket.getaddrinfo(url.hostname, None)


def _not_to_be_had(hub: HubName, error: Exception) -> ModelFileError:
    """Say in a line why the hub's library failed, and what to do."""
    errors = _library(hub).errors
    if isinstance(error, errors.GatedRepoError):
        why = f"accept its terms at https://huggingface.co/{hub.repo}, then log in: hf auth login"
        return ModelFileError(f"{hub} is gated: {why}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelFileError(
            f"the hub has no repository {hub.repo}, or it is private; is the name right? If it is private, "
            "log in: hf auth login"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelFileError(f"{hub.repo} has no branch, tag or commit {hub.revision!r}")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        files = _models_of(hub)
        near = difflib.get_close_matches(hub.file or "", files, n=_SHOWN, cutoff=0.4) or files
        has = f"it has {_listed(hub, near)}" if files else "it has no GGUF file at all"
        return ModelFileError(f"{hub.repo} has no file {hub.file}; {has}")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        offline = os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off")
        reason = "it is not in the cache" + (", and HF_HUB_OFFLINE is set" if offline else "")
    return ModelFileError(
        f"{hub} can't be had from the hub: {reason} (is the name right, and is there a network?)"
    )


# --- the cache -----------------------------------------------------------------------------------------


def cached() -> list[CachedFile]:
    """Return the models in the hub's cache, by name; a file of several revisions is named by the main one.

    Raises MissingExtraError without the extra.
    """
    library = _library("what lies in the hub's cache")
    try:
        repos = library.scan_cache_dir().repos
    except library.errors.CacheNotFound:
        return []
    found: dict[str, CachedFile] = {}
    for repo in repos:
        if repo.repo_type != "model":
            continue
        for revision in sorted(repo.revisions, key=lambda one: ("main" in one.refs, one.last_modified)):
            ref = None if "main" in revision.refs or not revision.refs else min(revision.refs)
            sizes = {
                file.file_path.relative_to(revision.snapshot_path).as_posix(): file for file in revision.files
            }
            for path, file in sizes.items():
                if is_model(path):
                    size = sum(sizes[part].size_on_disk for part in part_names(path) if part in sizes)
                    name = HubName(repo.repo_id, path, ref)
                    found[str(name)] = CachedFile(name, file.file_path, size)  # the newest stays
    return sorted(found.values(), key=lambda one: str(one.name).casefold())
