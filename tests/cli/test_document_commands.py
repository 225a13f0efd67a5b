"""``get``, ``set``, ``delete``, ``documents``, ``keys``, ``snapshot`` and ``restore``."""

import json

import pytest

from temporal_state import StateBackend
from temporal_state.cli._models import (
    DocumentName,
    DocumentShape,
    KeyName,
    SnapshotName,
    SnapshotShape,
)


async def value_of(backend, id, type="workflows"):
    return await backend.documents.get(id, type)


async def test_a_document_is_printed_as_json_that_can_be_piped(cli, filled):
    answer = await cli("get", "doc-1")
    assert json.loads(answer.out) == {"status": "loading", "total": 3}
    document = (await cli("get", "doc-1", "--json")).json(DocumentShape)
    assert (document["version"], document["value"]) == (1, {"status": "loading", "total": 3})
    assert (await cli("get", "Other", "--type", "settings", "--json")).json(DocumentShape)


async def test_set_keeps_the_other_keys(cli, filled):
    document = (await cli("set", "doc-1", '{"total": 4, "new": [1]}', "--json")).json(DocumentShape)
    assert document["value"] == {"status": "loading", "total": 4, "new": [1]}
    assert document["version"] == 2
    assert await value_of(filled, "doc-1") == document["value"]


@pytest.mark.parametrize(
    ("options", "given", "result"),
    [
        (["--replace"], '{"a": 1}', {"a": 1}),
        (["--patch"], '{"status": null, "a": {"b": 1}}', {"total": 3, "a": {"b": 1}}),
        (["--key", "total"], "[1, null]", {"status": "loading", "total": [1, None]}),
    ],
)
async def test_set_can_replace_patch_and_set_one_key(cli, filled, options, given, result):
    await cli("set", "doc-1", given, *options)
    assert await value_of(filled, "doc-1") == result


async def test_json_comes_from_a_file_or_from_standard_input(cli, filled, tmp_path):
    file = tmp_path / "change.json"
    file.write_text('{"from": "file"}')
    await cli("set", "new", f"@{file}")
    await cli("set", "new", "-", input='{"more": "input"}')
    await cli("set", "new", input='{"most": "default"}')
    assert await value_of(filled, "new") == {"from": "file", "more": "input", "most": "default"}
    assert "nowhere.json: No such file" in (await cli("set", "new", "@nowhere.json", code=1)).err


@pytest.mark.parametrize(
    "given",
    ["{", "[1]", "1", "NaN", '{"a": NaN}', '{"a": 18446744073709551616}', '{"a": 1, "a": 2}', ""],
)
async def test_json_that_cannot_be_kept_exactly_changes_nothing(cli, filled, given):
    await cli("set", "doc-1", given, "--replace", code=2)
    assert await value_of(filled, "doc-1") == {"status": "loading", "total": 3}


async def test_a_version_that_is_not_there_is_a_conflict(cli, filled):
    error = (await cli("set", "doc-1", "{}", "--if-version", "7", code=4)).err
    assert "version" in error
    await cli("set", "doc-1", '{"x": 1}', "--if-version", "1")
    await cli("delete", "doc-1", "--if-version", "1", "--yes", code=4)
    await cli("set", "fresh", '{"x": 1}', "--if-version", "0")
    assert await value_of(filled, "doc-1") == {"status": "loading", "total": 3, "x": 1}


async def test_what_has_a_lifetime_goes(cli, filled):
    await cli("set", "doc-1", '{"x": 1}', "--ttl", "2h")
    text = (filled.store.root / filled.path("doc-1", "workflows")).read_text()
    assert "expires" in text
    assert '"x":"20' in text
    await cli("set", "doc-1", "{}", "--ttl", "soon", code=2)


async def test_deleting_asks_first(cli, filled):
    await cli("delete", "doc-1", input="n\n", code=1)
    assert "nobody answered" in (await cli("delete", "doc-1", input="", code=2)).err
    assert await value_of(filled, "doc-1")
    assert "delete the document" in (await cli("delete", "doc-1", input="y\n")).err
    assert await value_of(filled, "doc-1") == {}
    deleted = await cli("delete", "doc-2", "--yes", "--json")
    assert deleted.json(DocumentName) == {"type": "workflows", "id": "doc-2"}
    await cli("delete", "doc-2", "--yes", code=3)


async def test_documents_and_keys_are_listed_by_name(cli, filled):
    found = (await cli("documents", "--json")).lines(DocumentName)
    assert [document["id"] for document in found] == ["doc-1", "doc-2"]
    assert (await cli("documents", "--prefix", "doc-2")).out == "doc-2\n"
    assert (await cli("documents", "--type", "settings")).out == "Other\n"
    assert "there may be more" in (await cli("documents", "--limit", "1")).err
    assert (await cli("keys", "--json")).lines(KeyName) == [{"name": "exec:1:var"}]
    assert "secret" not in (await cli("keys")).out


@pytest.mark.parametrize("id", ["../x", "/etc/passwd", "", "a\0b"])
async def test_an_id_that_tries_to_escape_is_a_wrong_call(cli, filled, id):
    await cli("get", id, code=2)
    await cli("set", id, "{}", code=2)


async def test_a_raw_secret_is_refused_and_not_shown(cli, filled):
    raw = '{"credential_type": "database", "password": "hunter2-secret"}'
    answer = await cli("set", "db", raw, "--type", "credentials", code=2)
    assert "hunter2" not in answer.err + answer.out
    await cli("get", "db", "--type", "credentials", code=3)


async def test_only_set_and_import_make_a_root(cli, root):
    for call in (
        ("list",),
        ("get", "x"),
        ("delete", "x", "--yes"),
        ("doctor",),
        ("snapshot", "create", "s", "--document", "x"),
        ("export", str(root.parent / "file")),
    ):
        assert "there is no store at" in (await cli(*call, code=5)).err
        assert not root.exists()
    await cli("set", "x", '{"a": 1}')
    async with StateBackend.open(root, app="tests") as backend:
        assert await value_of(backend, "x") == {"a": 1}


async def test_a_snapshot_is_kept_listed_restored_and_deleted(cli, filled):
    kept = (await cli("snapshot", "create", "s1", "--document", "doc-1", "--json")).json(
        SnapshotShape
    )
    assert kept["state"] == {"status": "loading", "total": 3}
    await cli("snapshot", "create", "s2", "--run", "order-7")
    await cli("set", "doc-1", '{"total": 99}')
    await cli("restore", "s1", input="n\n", code=1)
    assert (await value_of(filled, "doc-1"))["total"] == 99
    restored = (await cli("restore", "s1", "--yes", "--json")).json(DocumentShape)
    assert (restored["version"], restored["value"]["total"]) == (3, 3)
    audit = await filled.audit.list()
    assert audit.items[0].actor.startswith("cli:")
    found = (await cli("snapshot", "list", "--json")).lines(SnapshotShape)
    assert [snapshot["name"] for snapshot in found] == ["s1", "s2"]
    assert "doc-1" in (await cli("snapshot", "list")).out
    gone = await cli("snapshot", "delete", "s1", "--yes", "--json")
    assert gone.json(SnapshotName) == {"name": "s1"}
    for call in (("snapshot", "delete"), ("restore",)):
        await cli(*call, "s1", "--yes", code=3)


async def test_a_snapshot_of_another_state_is_a_conflict(cli, filled):
    await cli("snapshot", "create", "s1", "--document", "doc-1")
    await cli("snapshot", "create", "s1", "--document", "doc-1")
    await cli("snapshot", "create", "s1", "--document", "doc-2", code=4)
    await cli("snapshot", "create", "s1", "--document", "doc-2", "--replace")
    await cli("snapshot", "create", "s3", "--document", "none", code=3)
    await cli("snapshot", "create", "s3", code=2)
    await cli("snapshot", "create", "s3", "--document", "doc-1", "--run", "order-7", code=2)
