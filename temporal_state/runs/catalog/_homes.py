"""Where a catalog lies, if nobody says otherwise: near what it is derived from, and never in it.

Beside local files, in the folder that no key can spell; of other stores in the user's cache folder;
of a store in memory, in memory.
"""

import hashlib
import os
import re
from pathlib import Path

from temporal_state.documents import Layout
from temporal_state.errors import ConfigurationError
from temporal_state.runs.catalog._link import Home
from temporal_state.runs.catalog._sqlite import MemoryHome
from temporal_state.runs.catalog._sqlite_files import FileHome
from temporal_state.storage import ObjectStore, root_of

FOLDER = ".temporal_state/catalog"
_READABLE = 40


def home_of(
    store: ObjectStore, layout: Layout, wanted: str | os.PathLike[str] | None, patience: float
) -> Home:
    """Return where the catalog of an application (and tenant) in a store lies.

    Args:
        store: What it is derived from.
        layout: Of which part.
        wanted: ``postgresql://...``, ``memory://`` or a folder; ``None``: the default.
        patience: Seconds for which a locked database is waited for.

    Raises:
        ConfigurationError: ``wanted`` is something else.
    """
    text = None if wanted is None else os.fspath(wanted)
    root = root_of(store)
    if text is None and root is not None:
        return FileHome(_beside(root), _name(layout, ""), patience)
    if text == "memory://" or (text is None and store.url.startswith("memory:")):
        return MemoryHome(patience)
    name = _name(layout, store.url)
    if text is not None and re.match("postgres(ql)?://", text):
        from temporal_state.runs.catalog._postgresql import PostgresHome  # noqa: PLC0415 an extra

        return PostgresHome(text, f"temporal_state_catalog_{name.rpartition('-')[2]}", patience)
    if text is not None and ("://" in text or not text):
        raise ConfigurationError(
            f"catalog={text.partition('://')[0]!r} is no place for a catalog; give a folder, "
            "memory:// or postgresql://..., or nothing for the default"
        )
    return FileHome(_cache() if text is None else Path(text).expanduser(), name, patience)


def _beside(root: Path) -> Path:
    folder = root / FOLDER
    return folder if os.access(_existing(folder), os.W_OK) else _cache()


def _existing(folder: Path) -> Path:
    return folder if folder.exists() or folder == folder.parent else _existing(folder.parent)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "temporal_state"


def _name(layout: Layout, url: str) -> str:
    digest = hashlib.sha256(f"{url}\n{layout.base}".encode()).hexdigest()[:24]
    parts = [layout.app, layout.tenant or ""]
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return f"{readable[:_READABLE]}-{digest}"
