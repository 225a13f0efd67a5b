"""One system call opens what a walk would, and nothing else; where it cannot, the walk does."""

import os
import sys

import pytest

from temporal_state.errors import DamagedObjectError
from temporal_state.storage import LocalStore, _files
from temporal_state.storage._glance import Glance
from temporal_state.storage._openat2 import open_below


@pytest.fixture(params=["one call", "walk"])
def way(request, monkeypatch):
    monkeypatch.setattr(Glance, "read", lambda *_: None)  # it never walks
    if request.param == "walk":
        monkeypatch.setattr(_files, "open_below", lambda *_: None)


@pytest.mark.usefixtures("way")
async def test_both_ways_read_and_write_the_same(tmp_path):
    store = LocalStore(tmp_path / "root")
    await store.open()
    assert await store.get("a/b/c.json") is None
    await store.put("a/b/c.json", b"1")
    assert (await store.get("a/b/c.json")).data == b"1"
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root" / "a")
    (tmp_path / "root" / "a" / "to.json").symlink_to(tmp_path / "root" / "a" / "b" / "c.json")
    for key in ("link/b/c.json", "a/to.json"):
        with pytest.raises(DamagedObjectError):
            await store.get(key)
        if key != "a/to.json":
            with pytest.raises(DamagedObjectError):
                await store.put(key, b"2")
    await store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
def test_a_link_on_the_way_is_never_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        assert open_below(root, "link/file", os.O_RDONLY) is None
        with pytest.raises(FileNotFoundError):
            open_below(root, "real/none", os.O_RDONLY)
    finally:
        os.close(root)
