"""``export``, ``import`` and ``adopt``: nothing is lost, and nothing is half done."""

import json
from datetime import timedelta

import pytest
from pydantic import TypeAdapter

from temporal_state import StateBackend
from temporal_state.cli._import import Line
from temporal_state.cli._models import AdoptionShape, RunShape, TransferShape
from temporal_state.documents import Caller, Token, utc_now
from temporal_state.errors import StoreError
from temporal_state.runs import ChainRef
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

LINE = TypeAdapter(Line)


async def exported(cli, tmp_path, *options):
    file = tmp_path / "all.ndjson"
    told = (await cli("export", file, "--yes", "--json", *options)).json(TransferShape)
    lines = file.read_text().splitlines()
    for line in lines:
        LINE.validate_json(line)
    assert told["documents"] + told["records"] == len(lines)
    return file, [json.loads(line) for line in lines]


async def test_an_export_is_imported_elsewhere_with_everything(cli, filled, tmp_path):
    await filled.documents.set("doc-2", "soon", 1, ttl=timedelta(hours=1))
    await filled.documents.delete("doc-1")
    own = filled.own_documents.one(ChainRef("default", "order-7", "r1"))
    await own.merge({"own": True})
    await cli("snapshot", "create", "s1", "--document", "doc-2")
    file, _ = await exported(cli, tmp_path)
    other = tmp_path / "other"
    moved = (await cli("import", file, "--json", store=other)).json(TransferShape)
    assert moved["documents"] == 3
    assert moved["records"] > 5
    async with StateBackend.open(other, app="tests") as backend:
        assert await backend.documents.get("doc-1") == {}
        document = await backend.documents.read("doc-2")
        before = await filled.documents.read("doc-2")
        assert (document.value, document.version) == (before.value, before.version)
        assert await backend.documents.get("Other", "settings") == {"x": 1}
        assert await backend.keys.get("exec:1:var") == "secret-token-value"
        assert await backend.runs.get("order-7") == await filled.runs.get("order-7")
        assert await backend.runs.steps("order-7") == await filled.runs.steps("order-7")
        assert await backend.runs.history("order-7") == await filled.runs.history("order-7")
        assert await backend.runs.document("order-7") == {"own": True}
        assert (await backend.snapshots.load("s1")).state == before.value
    text = (other / filled.path("doc-2", "workflows").split("store/")[1]).read_text()
    assert '"soon":"20' in text
    runs = (await cli("list", "--json", store=other)).lines(RunShape)
    assert len(runs) == 3


async def test_a_change_that_was_applied_is_still_known_after_a_move(cli, filled, tmp_path):
    caller = Caller(token=Token("run/1", utc_now(), "once"))
    await filled.documents_for(caller).increment("doc-1", "total")
    file, _ = await exported(cli, tmp_path)
    await cli("import", file, store=tmp_path / "other")
    async with StateBackend.open(tmp_path / "other", app="tests") as backend:
        assert await backend.documents_for(caller).increment("doc-1", "total") == 4
        assert (await backend.documents.get("doc-1"))["total"] == 4


async def test_a_catalog_that_was_there_learns_of_imported_runs(cli, filled, tmp_path):
    file, _ = await exported(cli, tmp_path)
    async with StateBackend.open(tmp_path / "other", app="tests") as backend:
        assert len(await backend.runs.list()) == 0
        await cli("import", file, store=tmp_path / "other")
        assert len(await backend.runs.list()) == 3


async def test_importing_twice_is_importing_once(cli, filled, tmp_path):
    file, lines = await exported(cli, tmp_path)
    again = (await cli("import", file, "--json")).json(TransferShape)
    assert again["unchanged"] == len(lines)
    assert (again["documents"], again["records"]) == (0, 0)
    assert (await filled.documents.read("doc-1")).version == 1


async def test_what_is_there_and_is_another_is_not_replaced_unasked(cli, filled, tmp_path):
    file, _ = await exported(cli, tmp_path, "--only", "documents")
    await filled.documents.set("doc-1", "total", 99)
    answer = await cli("import", file, code=4)
    assert "workflows/doc-1 is there and is another" in answer.err
    assert "before it stopped" in answer.err
    assert (await filled.documents.get("doc-1"))["total"] == 99
    await cli("import", file, "--replace")
    document = await filled.documents.read("doc-1")
    assert (document.value["total"], document.version) == (3, 3)


async def test_only_documents_or_only_records(cli, filled, tmp_path):
    _, documents = await exported(cli, tmp_path, "--only", "documents")
    _, records = await exported(cli, tmp_path, "--only", "records")
    assert {line["kind"] for line in documents} == {"document"}
    assert {line["kind"] for line in records} == {"record"}


async def test_another_tenant_is_not_exported_and_one_is_imported_into(cli, filled, tmp_path):
    async with StateBackend.open(filled.store.root, app="tests", tenant="blue") as blue:
        await blue.documents.replace("blue-1", {"hidden": True})
        file, lines = await exported(cli, tmp_path)
        assert "blue" not in file.read_text()
        _, mine = await exported(cli, tmp_path, "--tenant", "blue")
        assert [line["id"] for line in mine] == ["blue-1"]
        await exported(cli, tmp_path)
        await cli("import", file, "--tenant", "blue")
        assert await blue.documents.get("doc-2") == {"note": "second"}
    assert len(lines) > 3


async def test_documents_written_by_hand_are_imported(cli, filled, tmp_path):
    file = tmp_path / "mine.ndjson"
    file.write_text('{"kind": "document", "type": "notes", "id": "a/b", "value": {"x": 1}}\n\n')
    await cli("import", file)
    assert await filled.documents.get("a/b", "notes") == {"x": 1}


GOOD = '{"kind": "document", "type": "notes", "id": "ok", "value": {}}'


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"kind": "other"}',
        '{"kind": "document", "type": "notes", "id": "x"}',
        '{"kind": "document", "type": "notes", "id": "../x", "value": {}}',
        '{"kind": "document", "type": "../../x", "id": "x", "value": {}}',
        '{"kind": "document", "type": "notes", "id": "x", "value": {"a": NaN}}',
        '{"kind": "document", "type": "notes", "id": "x", "value": {"a": 18446744073709551616}}',
        '{"kind": "document", "type": "notes", "id": "x", "value": {}, "meta": {"schema": 1}}',
        '{"kind": "document", "type": "notes", "id": "x", "value": {"$temporal_state": {}}}',
        '{"kind": "document", "type": "credentials", "id": "x", "value": {"password": "p4ss"}}',
        '{"kind": "record", "key": "../../../evil.json", "value": {}}',
        '{"kind": "record", "key": "runs/../../evil.json", "value": {}}',
        '{"kind": "record", "key": "workflows/x/config.json", "value": {}}',
        '{"kind": "record", "key": "tenants/x/runs/a.json", "value": {}}',
        '{"kind": "record", "key": "runs/default/a/run.json", "value": {}}',
        '{"kind": "record", "key": "audit/a.json", "value": {"schema": 99}}',
    ],
)
async def test_a_bad_line_is_named_and_writes_nothing(cli, root, tmp_path, line):
    file = tmp_path / "bad.ndjson"
    file.write_text(f"{GOOD}\n{line}\n")
    answer = await cli("import", file, code=None)
    assert answer.code in {1, 2}
    assert "line 2" in answer.err
    assert "p4ss" not in answer.err
    found = [p for p in root.rglob("*") if p.is_file() and "persistent-artifacts" in p.parts]
    assert [p.parent.name for p in found] == ["ok"]


async def test_an_export_that_fails_leaves_the_former_file(cli, filled, tmp_path, root):
    file, _ = await exported(cli, tmp_path)
    before = file.read_bytes()
    (run,) = root.rglob("*r1/run.json")
    run.write_bytes(b"half")
    await cli("export", file, "--yes", code=1)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    await cli("export", file, input="n\n", code=1)


async def test_an_import_into_a_store_that_fails_says_how_far_it_came(
    cli, filled, tmp_path, monkeypatch
):
    file, _ = await exported(cli, tmp_path)
    store = FailingStore(MemoryStore())
    store.error = StoreError("the disk is gone; look for it")
    opened = StateBackend.open
    monkeypatch.setattr(
        "temporal_state.cli._session.StateBackend.open",
        lambda url, **options: opened(store, **options),
    )
    answer = await cli("import", file, code=5)
    assert "imported 0 documents" in answer.err
    assert "the disk is gone" in answer.err


async def test_folders_of_another_tool_are_adopted(cli, filled, tmp_path):
    folder = tmp_path / "theirs/persistent-artifacts/apps/tests/workflows"
    for name, text in (("Order%201", '{"x": 1}'), ("broken", "{")):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(text)
    call = ("adopt", tmp_path / "theirs", "--unquoted", "--json")
    dry = (await cli(*call, "--dry-run", code=1)).json(AdoptionShape)
    assert dry["adopted"] == ["workflows/Order 1"]
    assert [*dry["refused"]] == ["workflows/broken"]
    assert await filled.documents.get("Order 1") == {}
    await cli(*call, code=1)
    assert await filled.documents.get("Order 1") == {"x": 1}
    assert "unchanged" in (await cli(*call[:-1], code=1)).out
    await cli("adopt", tmp_path / "nowhere", code=1)
