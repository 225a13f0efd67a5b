"""From a URL or a path to a store, without touching either."""

import os
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from temporal_state.errors import ConfigurationError
from temporal_state.storage._local import LocalStore
from temporal_state.storage._location import SCHEMES as OBJECT_STORAGE
from temporal_state.storage._memory import MemoryStore
from temporal_state.storage._object_storage import ObjectStorage
from temporal_state.storage._postgresql import PostgresStore
from temporal_state.storage._protocol import ObjectStore

TIMEOUT = timedelta(seconds=10)
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://|(file|memory):", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_SCHEMES = (
    "a path, file:///absolute/path, memory://name, s3://bucket/prefix, gs://bucket/prefix, "
    "az://container/prefix or postgresql://user@host/database"
)


def open_store(url: str | os.PathLike[str], *, timeout: timedelta = TIMEOUT) -> ObjectStore:
    """Return the store that a URL or a path names, not yet opened: ``await store.open()``.

    Args:
        url: A path (``~`` is the home directory), ``file:///absolute/path`` (percent-encoded, ``~``
            is a character like any other), ``memory://`` (a new store each time),
            ``memory://name`` (shared by name within the process), a bucket or container
            (``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``; see
            `ObjectStorage`), or ``postgresql://user@host/database?schema=name`` with any parameter
            of libpq.
        timeout: How long one call of object storage or PostgreSQL may go on trying.

    Raises:
        ConfigurationError: No store can be made of it.
    """
    text = os.fspath(url)
    match = _URL.match(text) if isinstance(url, str) else None
    if match is None:
        return _at_path(text)
    scheme = (match[1] or match[2]).lower()
    if scheme == "file":
        return _at_file_url(text)
    if scheme == "memory":
        return _in_memory(text)
    if scheme in OBJECT_STORAGE:
        return ObjectStorage(text, timeout=timeout)
    if scheme in {"postgresql", "postgres"}:
        return PostgresStore(text, timeout=timeout)
    raise _refusal(text, f"the scheme {scheme!r} is unknown")


def _at_path(path: str) -> LocalStore:
    if not path or "\0" in path:
        raise ConfigurationError(f"{path!r} is no path; name a directory, '.' for the current one")
    try:
        return LocalStore(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigurationError(f"cannot expand '~' in {path!r}: {error}") from error


def _at_file_url(url: str) -> LocalStore:
    parts = _split(url)
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.netloc.lower() not in {"", "localhost"}:
        raise _refusal(url, "it names a host, where a file URL has three slashes")
    if not path.startswith("/") or "\0" in path:
        raise _refusal(url, "it has no absolute path")
    return LocalStore(path)


def _in_memory(url: str) -> MemoryStore:
    parts = _split(url)
    name = parts.netloc
    if not url.lower().startswith("memory://") or parts.path or not _NAME.fullmatch(name):
        raise _refusal(url, "a name in memory is made of letters, digits, '_', '.' and '-'")
    return MemoryStore(name)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _refusal(url, str(error)) from None
    if parts.query or parts.fragment:
        raise _refusal(url, "it has no use for '?' and '#'; in a path write %3F and %23")
    return parts


def _refusal(url: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"cannot open {_masked(url)!r}: {reason}; use {_SCHEMES}")


def _masked(url: str) -> str:
    # Greedy, because a password may hold an unescaped '/' or '@'; too much hidden does no harm.
    return re.sub(r"\?.*", "?***", re.sub(r"//.*@", "//***@", url))
