"""A second opinion on a tree: counted in one go, by code that shares nothing with the workflow."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote


def recount(tree: Path, exclude: list[str]) -> dict[str, Any]:
    """Return what the report of an inventory must say of the tree."""
    lines, skipped = dict[str, str](), 0
    extensions = dict[str, dict[str, int]]()
    for path in _walk(tree, exclude):
        try:
            size, digest = _read(path)
        except OSError:
            skipped += 1
            continue
        name = quote(str(path.relative_to(tree)), errors="surrogateescape")
        lines[name] = f"{digest}  {name}\n"
        sums = extensions.setdefault(Path(name).suffix, {"files": 0, "bytes": 0})
        sums["files"] += 1
        sums["bytes"] += size
    return {
        "files": len(lines),
        "bytes": sum(sums["bytes"] for sums in extensions.values()),
        "skipped": skipped,
        "digest": hashlib.sha256(
            "".join(lines[name] for name in sorted(lines)).encode()
        ).hexdigest(),
        "extensions": extensions,
    }


def _walk(tree: Path, exclude: list[str]) -> Iterator[Path]:
    # Links to folders, and folders that cannot be listed, come too: reading them fails.
    unlisted: list[OSError] = []
    for folder, folders, files in os.walk(tree, onerror=unlisted.append):
        yield from (Path(folder, name) for name in files)
        yield from (path for name in folders if (path := Path(folder, name)).is_symlink())
        folders[:] = [name for name in folders if not {name, str(Path(folder, name))} & {*exclude}]
    yield from (Path(error.filename) for error in unlisted)


def _read(path: Path) -> tuple[int, str]:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError("no regular file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
