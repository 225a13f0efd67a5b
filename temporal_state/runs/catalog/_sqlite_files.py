"""Catalogs in files of SQLite, which the processes of one machine share.

Each database has a name of its own, and a small file says which one is the present one. A database
that is replaced, damaged or deleted is so never confused with its successor, neither by us nor by
SQLite, which finds a database's log by the database's name.
"""

import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from temporal_state.errors import ConfigurationError, StorePermissionError
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._link import CatalogDamagedError, Link
from temporal_state.runs.catalog._sqlite import WORDS, SqliteLink, make_tables

if sys.platform != "win32":
    import fcntl

ORPHAN_AFTER = 24 * 3600.0
LONGEST = 256
"""No file can have a longer name."""


class FileHome:
    """A catalog in files of one folder, shared by the processes of one machine.

    Args:
        folder: The folder; made if need be.
        name: What the names of all its files begin with.
        patience: Seconds for which a locked database is waited for.
    """

    def __init__(self, folder: Path, name: str, patience: float) -> None:
        self._folder, self._patience = folder, patience
        self._all, self._name = f"{name}.v", f"{name}.v{_sql.SCHEMA}"
        self._pointer = folder / f"{self._name}.current"

    def open(self) -> Link | None:
        """Return a connection to the present database, or ``None`` if there is none."""
        path = self._present()
        if path is None:
            return None
        self._remove_former_versions()
        try:
            link = SqliteLink(path, self._patience)
        except CatalogDamagedError:
            self._remove(path)
            return None
        if not path.exists() or link.path != self._present():
            link.close()
            return None
        return link

    def is_present(self, link: Link) -> bool:
        """Return whether the connection is to the database that the small file names."""
        if not isinstance(link, SqliteLink) or link.path is None:
            return False
        return link.path.name == self._named() and _is_file(link.path)

    def fresh(self) -> Link:
        """Return a connection to a new database, not yet named by the small file."""
        self._make_folder()
        path = self._folder / f"{self._name}.{secrets.token_hex(8)}.sqlite"
        link = SqliteLink(path, self._patience)
        make_tables(link, **WORDS)
        return link

    def publish(self, link: Link) -> Link:
        """Let the small file name a fresh database, and remove the former one."""
        assert isinstance(link, SqliteLink)
        assert link.path is not None
        with self._alone():
            former = self._present()
            draft = self._pointer.with_suffix(f".{secrets.token_hex(8)}")
            draft.write_text(link.path.name)
            draft.replace(self._pointer)
            if former is not None:
                self._remove(former)
            self._remove_orphans(link.path)
            self._remove_former_versions()
        return link

    def discard(self, link: Link) -> None:
        """Remove a database; who else uses it finds that it is no longer there."""
        link.close()
        if isinstance(link, SqliteLink) and link.path is not None:
            self._remove(link.path)

    def release(self, link: Link) -> None:
        """Let go of a connection."""
        link.close()

    def _present(self) -> Path | None:
        name = self._named()
        path = self._folder / name
        known = name.startswith(f"{self._name}.") and name.endswith(".sqlite") and "/" not in name
        return path if known and _is_file(path) else None

    def _named(self) -> str:
        """Return what the small file says; each question asks; `Path` takes ten times as long."""
        try:
            file = os.open(self._pointer, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        try:
            return os.read(file, LONGEST).decode()
        except UnicodeDecodeError:
            return ""
        finally:
            os.close(file)

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorePermissionError(
                f"the folder {self._folder} of the catalog cannot be made ({error}); give catalog= "
                "another place"
            ) from error
        if self._folder.is_symlink():
            raise ConfigurationError(
                f"{self._folder}, where the catalog would lie, is a symbolic link; remove it, or "
                "give catalog= where it leads"
            )
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise StorePermissionError(
                f"the folder {self._folder} of the catalog is not writable; give catalog= another"
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if sys.platform == "win32":
            yield  # two that publish at once may leave a file behind, for the orphans' end
            return
        descriptor = os.open(
            self._folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _remove_orphans(self, present: Path) -> None:
        """Remove what builders left behind that died."""
        files: Sequence[Path] = sorted(self._folder.glob(f"{self._name}.*.sqlite"))
        for path in files:
            with suppress(OSError):
                if path != present and time.time() - path.stat().st_mtime > ORPHAN_AFTER:
                    self._remove(path)

    def _remove_former_versions(self) -> None:
        """Remove catalogs of former versions of the tables that nobody has used for long."""
        by_version: dict[int, list[Path]] = {}
        for path in self._folder.glob(f"{self._all}*"):
            version = path.name.removeprefix(self._all).partition(".")[0]
            if version.isdecimal() and int(version) < _sql.SCHEMA:
                by_version.setdefault(int(version), []).append(path)
        for paths in by_version.values():
            with suppress(OSError):  # another process is removing them
                if time.time() - max(path.stat().st_mtime for path in paths) > ORPHAN_AFTER:
                    for path in paths:
                        path.unlink(missing_ok=True)

    @staticmethod
    def _remove(path: Path) -> None:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
