"""Folders that another tool wrote are brought in: safely, once, each refusal with its reason."""

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote

import orjson
import pytest
from hostile import DISTINCT

from temporal_state import Compressed, ConfigurationError, Limits, StateBackend, StoreError

APPS = "persistent-artifacts/apps"


def write(root, id, state, *, app="app", type="workflows"):
    path = Path(root, APPS, app, type, id, "config.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(state if isinstance(state, bytes) else orjson.dumps(state))
    return path


def tree(root):
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(root).rglob("*"))
        if not path.is_symlink()
    }


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path):
    url = "memory://" if request.param == "memory" else tmp_path / "root"
    async with StateBackend.open(url, app="app") as opened:
        yield opened


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    return root


NAMES = ["plain", "Order-7", "with blank", "a%2Fb", "100%", "naïve", "日本語", "a/b/c", "=61", "!a"]


async def test_each_folders_name_becomes_the_id_of_its_document(backend, source):
    for number, name in enumerate(NAMES):
        write(source, name, {"n": number})
        write(source, name, {"credential_type": "x", "n": number}, type="credentials")
    before = tree(source)
    report = await backend.adopt(source)
    assert sorted(report.adopted) == sorted(
        f"{type}/{name}" for name in NAMES for type in ("workflows", "credentials")
    )
    assert (report.unchanged, report.conflicting, report.refused) == ([], {}, {})
    for number, name in enumerate(NAMES):
        assert await backend.documents.get(name) == {"n": number}
    assert tree(source) == before


async def test_adopting_again_changes_nothing(backend, source):
    for name in NAMES:
        write(source, name, {"n": 1})
    await backend.adopt(source)
    first = {key: (await backend.store.get(key)).etag for key in await backend.store.list()}
    report = await backend.adopt(source)
    assert (report.adopted, len(report.unchanged)) == ([], len(NAMES))
    assert first == {key: (await backend.store.get(key)).etag for key in await backend.store.list()}


async def test_what_is_or_was_there_is_never_overwritten(backend, source):
    write(source, "other", {"n": 1})
    write(source, "same", {"n": 1})
    write(source, "gone", {"n": 1})
    await backend.documents.set("other", "mine", True)
    await backend.documents.replace("same", {"n": 1})
    await backend.documents.set("gone", "k", 1)
    await backend.documents.delete("gone")
    for dry_run in (True, False):
        report = await backend.adopt(source, dry_run=dry_run)
        assert report.unchanged == ["workflows/same"]
        assert "another document" in report.conflicting["workflows/other"]
        assert "deleted" in report.conflicting["workflows/gone"]
    assert await backend.documents.get("other") == {"mine": True}
    assert await backend.documents.get("gone") == {}


REFUSED = {
    "no-json": (b"{", "not JSON"),
    "array": (b"[1]", "not an object"),
    "twice": (b'{"a": 1, "a": 2}', "twice"),
    "huge-integer": (b'{"a": 123456789012345678901234567890}', "64 bits"),
    "empty": (b"", "not JSON"),
    "large": (b'{"a": "%b"}' % (b"x" * 2000), "limit"),
    "reserved": (b'{"$temporal_state": {}}', "reserved"),
    "nested": (b"[" * 1000, "not JSON"),
}


async def test_what_can_be_no_document_is_refused_with_the_reason(source):
    for name, (data, _) in REFUSED.items():
        write(source, name, data)
    write(
        source,
        "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200 + "/" + "w" * 200 + "/" + "é" * 120,
        {},
    )
    write(source, "a", {}, type="Workflows")
    write(source, "raw", {"credential_type": "x", "password": "hunter2"}, type="credentials")
    write(source, "fine", {"n": 1})
    limits = Limits(document_bytes=1000)
    async with StateBackend.open("memory://", app="app", limits=limits) as backend:
        for dry_run in (True, False):
            report = await backend.adopt(source, dry_run=dry_run)
            for name, (_, reason) in REFUSED.items():
                assert reason in report.refused[f"workflows/{name}"]
            assert "credentials/raw" in report.refused
            assert "hunter2" not in str(report)
            assert len(report.refused) == len(REFUSED) + 3
            assert report.adopted == ["workflows/fine"]
        assert len(await backend.store.list()) == 1


async def test_a_name_that_is_no_text_is_refused(backend, source):
    write(source, os.fsdecode(b"\xff\xfe"), {})
    report = await backend.adopt(source)
    [(name, reason)] = report.refused.items()
    assert name == "workflows/\\udcff\\udcfe"
    assert "surrogate" in reason


async def test_no_link_and_no_special_file_is_followed(backend, source, tmp_path):
    outside = tmp_path / "outside"
    secret = write(outside, "secret", {"secret": 1})
    workflows = source / APPS / "app/workflows"
    write(source, "fine", {"n": 1})
    (workflows / "folder-link").symlink_to(secret.parent)
    (workflows / "file-link").mkdir()
    (workflows / "file-link/config.json").symlink_to(secret)
    (workflows / "fifo").mkdir()
    os.mkfifo(workflows / "fifo/config.json")
    (workflows / "loop").mkdir()
    (workflows / "loop/again").symlink_to(workflows)
    (workflows / "directory/config.json").mkdir(parents=True)
    (source / APPS / "app/linked-type").symlink_to(outside)
    report = await asyncio.wait_for(backend.adopt(source), 10)
    assert report.adopted == ["workflows/fine"]
    assert set(report.refused) == {
        "linked-type",
        "workflows/folder-link",
        "workflows/file-link",
        "workflows/fifo",
        "workflows/loop/again",
    }
    assert len(await backend.store.list()) == 1


async def test_the_application_may_not_be_a_link_or_lead_elsewhere(backend, source, tmp_path):
    write(tmp_path / "outside", "x", {"n": 1}, app="other")
    (source / APPS).mkdir(parents=True)
    (source / APPS / "app").symlink_to(tmp_path / "outside" / APPS / "other")
    with pytest.raises(StoreError):
        await backend.adopt(source)
    for app in ("..", "../..", "/etc", "a/../.."):
        with pytest.raises(ValueError, match="leave its place"):
            await backend.adopt(source, app=app)
    assert await backend.store.list() == []


async def test_another_application_and_its_encoded_folder_are_found(source):
    write(source, "One", {"n": 1}, app="appName")
    write(source, "Two", {"n": 2}, app="app!name")
    write(source, "Three", {"n": 3}, app="foreign")
    async with StateBackend.open("memory://", app="appName") as backend:
        assert sorted((await backend.adopt(source)).adopted) == ["workflows/One", "workflows/Two"]
        assert (await backend.adopt(source, app="foreign")).adopted == ["workflows/Three"]
        assert (await backend.adopt(source, app="none")).adopted == []
        assert (await backend.adopt(source / "missing")).adopted == []


async def test_ids_can_be_read_from_names_in_another_way(backend, source):
    write(source, "a%2Fb%20c", {"n": 1})
    write(source, "%2e%2e%2fx", {"n": 1})
    report = await backend.adopt(source, id_of=unquote)
    assert report.adopted == ["workflows/a/b c"]
    assert "leave its place" in report.refused["workflows/%2e%2e%2fx"]


async def test_a_dry_run_says_the_same_and_writes_nothing(backend, source):
    for name in NAMES:
        write(source, name, {"n": 1})
    dry = await backend.adopt(source, dry_run=True)
    assert await backend.store.list() == []
    assert dry == await backend.adopt(source)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_progress_is_told(backend, source, kind):
    for n in range(70):
        write(source, f"Order {n}", {"n": n})
    told = []

    async def later(done, total):
        told.append((done, total))

    def at_once(done, total):
        told.append((done, total))

    await backend.adopt(source, progress=later if kind == "async" else at_once)
    assert told == [(32, 70), (64, 70), (70, 70)]


@pytest.mark.parametrize("transform", [None, Compressed(threshold=1)], ids=["plain", "compressed"])
async def test_a_root_of_ones_own_is_adopted_in_place(tmp_path, transform):
    root = tmp_path / "root"
    async with StateBackend.open(root, app="appName", transform=transform) as backend:
        await backend.documents.set("Ours", "k", 1)
        await backend.documents.set("x" * 300, "k", 1)
        await backend.keys.set("Key", 1)
        for app in ("appName", "app!name"):
            for name in ("plain", "Order 7", "naïve"):
                write(root, f"{name}-{len(app)}", {"n": 1}, app=app)
        source = tree(root)
        report = await backend.adopt()
        names = ("plain-7", "Order 7-7", "naïve-7", "Order 7-8", "naïve-8")
        assert sorted(report.adopted) == sorted(f"workflows/{name}" for name in names)
        assert (report.conflicting, report.refused) == ({}, {})
        after = tree(root)
        assert {path: after[path] for path in source if "/apps/" in path} == {
            path: data for path, data in source.items() if "/apps/" in path
        }
        again = await backend.adopt()
        assert (again.adopted, len(again.unchanged)) == ([], 5)
        assert again.refused == again.conflicting == {}
        ids = (await backend.documents.list(limit=1000)).ids
        assert len(ids) == len(set(ids)) == 8  # "plain-8" is where it belongs


async def test_a_store_of_files_can_be_the_source_and_others_cannot(backend, source):
    write(source, "Order", {"n": 1})
    async with StateBackend.open(source) as other:
        assert (await backend.adopt(other.store)).adopted == ["workflows/Order"]
    async with StateBackend.open("memory://") as other:
        with pytest.raises(ConfigurationError, match="folder"):
            await backend.adopt(other.store)


async def test_hostile_names_that_a_file_system_can_hold_are_each_adopted_apart(backend, source):
    names = []
    for id in DISTINCT:
        segments = id.split("/")
        if all(len(os.fsencode(part)) <= 255 and part not in {"", ".", ".."} for part in segments):
            write(source, id, {"id": id})
            names.append(id)
    report = await backend.adopt(source)
    assert (report.refused, report.conflicting) == ({}, {})
    assert sorted(report.adopted) == sorted(f"workflows/{name}" for name in names)
    for name in names:
        assert await backend.documents.get(name) == {"id": name}
    assert len(names) > 60


async def test_a_store_that_fails_ends_the_adoption_and_it_can_go_on(backend, source, monkeypatch):
    for n in range(40):
        write(source, f"Order {n}", {"n": n})
    update, calls = backend.store.update, []

    async def failing(key, change):
        calls.append(key)
        if len(calls) == 35:
            raise StoreError("the disk is gone")
        await update(key, change)

    monkeypatch.setattr(backend.store, "update", failing)
    with pytest.raises(StoreError, match="the disk is gone"):
        await backend.adopt(source)
    monkeypatch.undo()
    report = await backend.adopt(source)
    assert len(report.adopted) + len(report.unchanged) == 40
