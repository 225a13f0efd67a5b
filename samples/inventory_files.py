"""What an inventory does with files: find them, hash them, add them up, report.

Nothing here knows of Temporal or of the store. Names of files are percent-encoded, as in a URL,
since a file system takes bytes that neither JSON nor UTF-8 can hold.
"""

import errno
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

BATCHES = 300
"""Into so many batches a tree is cut, if none gets too large by that."""

MAX_FILES = 1000
MAX_NAMES = 256 * 1024
"""So many characters of names a batch has at most: its document must stay small."""

CHUNK = 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block us

Hash = tuple[str, int, str]
"""One hashed file: its name, the bytes that were read, their SHA-256."""


@dataclass
class Found:
    """The files of a tree, in the order of their names, and what was passed over, by reason."""

    files: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass
class Hashed:
    """The hashes of some files, and which could not be read, by reason."""

    hashes: list[Hash] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass
class Sum:
    """Files, and the bytes in them."""

    files: int = 0
    bytes: int = 0


@dataclass
class Summary:
    """The whole tree.

    Attributes:
        files: Files hashed.
        bytes: Bytes read.
        digest: SHA-256 over the lines that ``sha256sum`` prints for the files, in order.
        skipped: How many files and folders were passed over, by reason.
        extensions: The same sums for each extension.
    """

    files: int
    bytes: int
    digest: str
    skipped: dict[str, int]
    extensions: dict[str, Sum]


def find_files(tree: str, exclude: Iterable[str]) -> Found:
    """Return all regular files below a folder.

    Links are not followed. A folder that cannot be listed is passed over, but not the first one.

    Args:
        tree: The folder.
        exclude: Names of folders anywhere, and absolute paths, that are left out.
    """
    found, left_out, folders = Found(), frozenset(exclude), [tree]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    _sort_in(entry, found, folders, left_out)
        except OSError as error:
            if folder == tree:
                raise
            found.skipped[_reason(error)] += 1
    start = len(tree.rstrip("/")) + 1
    found.files = sorted(quote(path[start:], errors="surrogateescape") for path in found.files)
    return found


def _sort_in(
    entry: os.DirEntry[str], found: Found, folders: list[str], left_out: frozenset[str]
) -> None:
    if entry.is_symlink():
        found.skipped["symbolic link"] += 1
    elif entry.is_dir(follow_symlinks=False):
        if left_out.isdisjoint({entry.name, entry.path}):
            folders.append(entry.path)
    elif entry.is_file(follow_symlinks=False):
        found.files.append(entry.path)
    else:
        found.skipped["special file"] += 1


def in_batches(files: Sequence[str]) -> Iterator[list[str]]:
    """Cut a list of files into batches, in order."""
    most = min(MAX_FILES, max(1, -(-len(files) // BATCHES)))
    batch: list[str] = []
    length = 0
    for name in files:
        if batch and (len(batch) == most or length + len(name) > MAX_NAMES):
            yield batch
            batch, length = [], 0
        batch.append(name)
        length += len(name)
    if batch:
        yield batch


def hash_files(tree: str, files: Iterable[str]) -> Hashed:
    """Read files and hash them; one that vanished or cannot be read is passed over."""
    result = Hashed()
    for name in files:
        try:
            size, digest = _hash_file(Path(tree, unquote(name, errors="surrogateescape")))
        except OSError as error:
            result.skipped[_reason(error)] += 1
        else:
            result.hashes.append((name, size, digest))
    return result


def _hash_file(path: Path) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with open(os.open(path, _FLAGS), "rb", buffering=0) as file:  # noqa: PTH123 a descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "became a special file")
        while chunk := file.read(CHUNK):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def summarize(hashes: Iterable[Hash], skipped: Mapping[str, int]) -> Summary:
    """Add up hashed files, given in order."""
    digest, extensions = hashlib.sha256(), dict[str, Sum]()
    for name, size, file_digest in hashes:
        digest.update(f"{file_digest}  {name}\n".encode())
        extension = extensions.setdefault(PurePosixPath(name).suffix, Sum())
        extension.files += 1
        extension.bytes += size
    return Summary(
        files=sum(extension.files for extension in extensions.values()),
        bytes=sum(extension.bytes for extension in extensions.values()),
        digest=digest.hexdigest(),
        skipped=dict(sorted(skipped.items())),
        extensions=dict(sorted(extensions.items())),
    )


def write_summary(path: str, tree: str, summary: Summary) -> None:
    """Write a report; whoever reads it meanwhile sees the former one or the whole new one."""
    text = json.dumps({"tree": tree, **asdict(summary)}, indent=2)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    draft.write_text(f"{text}\n")
    draft.replace(target)
