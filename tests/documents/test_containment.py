"""P1: no id, name, type, app or tenant leads out of its place, and no two share an object."""

import asyncio
import json
from pathlib import Path

import pytest
from hostile import DISTINCT, ESCAPES, HOSTILE, REFUSED, label

from temporal_state import (
    InvalidNameError,
    PathTraversalError,
    StateBackend,
    StateStore,
    StateType,
    build_state_store_path,
    configure,
)
from temporal_state.documents import Layout
from temporal_state.runs import ChainRef

CREDENTIAL = {"credential_type": "test"}


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path):
    url = "memory://" if request.param == "memory" else tmp_path / "root"
    async with StateBackend.open(url) as opened:
        yield opened


@pytest.fixture
async def default(backend):
    """The backend of the test, as the process's default."""
    yield configure(backend)
    configure("memory://")


# Every function that takes an id or a name, as it is called with one.
CALLS = {
    "documents.get": lambda b, name: b.documents.get(name),
    "documents.read": lambda b, name: b.documents.read(name),
    "documents.set": lambda b, name: b.documents.set(name, "k", 1),
    "documents.merge": lambda b, name: b.documents.merge(name, {"k": 1}),
    "documents.replace": lambda b, name: b.documents.replace(name, {"k": 1}),
    "documents.delete": lambda b, name: b.documents.delete(name),
    "documents.exists": lambda b, name: b.documents.exists(name),
    "keys.get": lambda b, name: b.keys.get(name),
    "keys.set": lambda b, name: b.keys.set(name, 1),
    "keys.set bytes": lambda b, name: b.keys.set(name, b"1"),
    "keys.delete": lambda b, name: b.keys.delete(name),
    "keys.exists": lambda b, name: b.keys.exists(name),
    "system.get": lambda b, name: b.system.get(name),
    "system.set": lambda b, name: b.system.set(name, 1),
    "credentials.get": lambda b, name: b.credentials.get(name),
    "credentials.save": lambda b, name: b.credentials.save(name, CREDENTIAL),
    "credentials.delete": lambda b, name: b.credentials.delete(name),
    "credentials.resolve": lambda b, name: b.credentials.resolve(name, secrets=str),
    "delete_execution_state": lambda b, name: b.delete_execution_state(name),
    "StateStore.get_state": lambda _, name: StateStore.get_state(name, "workflows"),
    "StateStore.save_state": lambda _, name: StateStore.save_state("k", 1, name, "workflows"),
    "StateStore.save_state_object": lambda _, name: StateStore.save_state_object(
        name, {"k": 1}, "workflows"
    ),
    "StateStore.replace_state": lambda _, name: StateStore.replace_state(
        name, {"k": 1}, "workflows"
    ),
    "StateStore.delete_state": lambda _, name: StateStore.delete_state(name, "workflows"),
    "StateStore.state_exists": lambda _, name: StateStore.state_exists(name, "workflows"),
}


@pytest.mark.parametrize("id", ESCAPES, ids=label)
async def test_an_id_that_tries_to_escape_is_refused_before_any_io(default, id):
    for call in CALLS.values():
        with pytest.raises(PathTraversalError):
            await call(default, id)
    with pytest.raises(PathTraversalError):
        build_state_store_path(id, StateType.WORKFLOWS)
    for option in ({"app": id}, {"tenant": id}):
        with pytest.raises(PathTraversalError):
            StateBackend.open("memory://", **option)
    assert await default.store.list() == []


@pytest.mark.parametrize("id", REFUSED, ids=label)
async def test_an_id_that_breaks_another_rule_is_refused_by_it(default, id):
    for call in CALLS.values():
        with pytest.raises(InvalidNameError) as error:
            await call(default, id)
        assert not isinstance(error.value, PathTraversalError)
    with pytest.raises(InvalidNameError):
        build_state_store_path(id, StateType.WORKFLOWS)
    assert await default.store.list() == []


@pytest.mark.parametrize("id", [None, 7, b"a", ["a"]])
async def test_an_id_is_text(default, id):
    for call in CALLS.values():
        with pytest.raises(InvalidNameError, match="string"):
            await call(default, id)


FAMILIES = {
    "documents": (
        lambda b, name, n: b.documents.replace(name, {"n": n}),
        lambda b, name: b.documents.get(name),
        lambda n: {"n": n},
    ),
    "keys": (lambda b, name, n: b.keys.set(name, n), lambda b, name: b.keys.get(name), lambda n: n),
    "system": (
        lambda b, name, n: b.system.set(name, n),
        lambda b, name: b.documents.get(name, "system"),
        lambda n: {"value": n},
    ),
    "credentials": (
        lambda b, name, n: b.credentials.save(name, {**CREDENTIAL, "n": n}),
        lambda b, name: b.credentials.get(name),
        lambda n: {**CREDENTIAL, "n": n},
    ),
    "StateStore": (
        lambda _, name, n: StateStore.save_state("n", n, name, "mine"),
        lambda _, name: StateStore.get_state(name, "mine"),
        lambda n: {"n": n},
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
async def test_no_two_ids_share_an_object(default, tmp_path, family):
    write, read, expected = FAMILIES[family]
    for number, id in enumerate(DISTINCT):
        await write(default, id, number)
    for number, id in enumerate(DISTINCT):
        assert await read(default, id) == expected(number), id
    keys = await default.store.list()
    assert len({key.casefold() for key in keys}) == len(keys) == len(DISTINCT)
    assert all(key.startswith(f"{default.layout.base}/") for key in keys)
    assert {path.name for path in tmp_path.iterdir()} <= {"root"}


async def test_every_listing_names_each_id_once(backend):
    for id in DISTINCT:
        await backend.documents.merge(id, {"k": 1})
        await backend.keys.set(id, 1)
        await backend.credentials.save(id, CREDENTIAL)
    for page in (
        await backend.documents.list(limit=1000),
        await backend.keys.list(limit=1000),
        await backend.credentials.list(limit=1000),
    ):
        assert sorted(page.ids) == sorted(DISTINCT)


async def test_a_prefix_finds_what_starts_with_it_or_is_refused(backend):
    names = ["a", "A", "Aa", "a/b", "a b", "x" * 181, "x" * 1000, "\N{KELVIN SIGN}", "..a", "=61"]
    for name in names:
        await backend.keys.set(name, 1)
        await backend.documents.set(name, "k", 1)
    for prefix in HOSTILE:
        for listing in (backend.keys.list(prefix), backend.documents.list(prefix=prefix)):
            try:
                page = await listing
            except InvalidNameError:
                assert prefix in ESCAPES + REFUSED or len(prefix.encode()) == 1000, prefix
            else:
                assert sorted(page.ids) == sorted(n for n in names if n.startswith(prefix)), prefix


async def test_an_execution_that_is_deleted_leaves_every_other_one(backend):
    names = [id for id in DISTINCT if len(id.encode()) < 900 and ":" not in id][::2]
    for id in names:
        await backend.documents.set(id, "k", 1)
        await backend.keys.set(f"exec:{id}:var", id)
    for number, id in enumerate(names):
        deleted = await backend.delete_execution_state(id)
        assert (deleted.documents, deleted.keys) == (1, 1), id
        left = names[number + 1 :]
        if number % 16 == 0:
            assert sorted((await backend.documents.list(limit=1000)).ids) == sorted(left)
            page = await backend.keys.list(limit=1000)
            assert sorted(page.ids) == sorted(f"exec:{id}:var" for id in left)


def id_in(path):
    found = Path(path)
    return json.loads(found.read_text())["id"] if found.exists() else None


async def test_a_path_is_where_its_document_is_for_every_id(tmp_path):
    async with StateBackend.open(tmp_path / "root") as backend:
        configure(backend)
        paths = {build_state_store_path(id, StateType.WORKFLOWS) for id in DISTINCT}
        assert set(map(id_in, paths)) == {None}
        await asyncio.gather(*(backend.documents.set(id, "id", id) for id in DISTINCT))
        for id in DISTINCT:
            assert id_in(build_state_store_path(id, StateType.WORKFLOWS)) == id
    configure("memory://")
    folder = tmp_path / "root" / backend.layout.base / "workflows"
    assert {path.rsplit("/", 2)[0] for path in paths} == {str(folder)}
    assert len({path.casefold() for path in paths}) == len(DISTINCT)


async def test_an_app_and_a_tenant_of_any_name_have_a_place_of_their_own(backend):
    names = [id for id in DISTINCT if len(id.encode()) < 900]
    for id in names:
        tenant = StateBackend.open(backend.store, app=id, tenant=id)
        await tenant.keys.set("k", id)
        assert await StateBackend.open(backend.store, app=id).keys.get("k") is None
    for id in names:
        tenant = StateBackend.open(backend.store, app=id, tenant=id)
        assert await tenant.keys.get("k") == id
    keys = {f"{Layout(id, id).base}/keys/k/config.json" for id in names}
    assert set(await backend.store.list()) == keys


async def test_no_two_apps_and_no_two_tenants_share_a_place():
    assert len({Layout(id).base.casefold() for id in DISTINCT}) == len(DISTINCT)
    assert len({Layout("a", id).base.casefold() for id in DISTINCT}) == len(DISTINCT)


PATHS = {"../credentials", "a/b", "..", ".", "a\\b", "a\0"}
TYPES = ["", "Workflows", "work flows", "é", "runs", "tenants", "feed", "tx", "keys", "-a"]


OF_TYPE = [
    lambda b, kind: b.documents.get("a", kind),
    lambda b, kind: b.documents.set("a", "k", 1, kind),
    lambda b, kind: b.documents.list(kind),
    lambda b, kind: b.documents.purge(kind),
    lambda _, kind: StateStore.get_state("a", kind),
    lambda _, kind: StateStore.save_state("k", 1, "a", kind),
]


@pytest.mark.parametrize("call", OF_TYPE)
async def test_a_type_is_a_lower_case_name_that_the_layout_does_not_use(default, call):
    names = {"a", "aa", "k", "s", "i", "ss", "fi", "con", "com1"}
    for type in [*TYPES, "x" * 65, *PATHS, *HOSTILE]:
        if type in names:
            await call(default, type)
            continue
        with pytest.raises(InvalidNameError) as error:
            await call(default, type)
        if type in PATHS or "/" in type:
            assert isinstance(error.value, PathTraversalError), type


async def test_a_workflow_id_is_never_refused_and_never_escapes(backend):
    ids = [id for id in HOSTILE if id and id.isprintable()] + ["\0", "a\n"]
    for number, id in enumerate(ids):
        await backend.own_documents.one(ChainRef("ns", id, "chain")).merge({"number": number})
    for number, id in enumerate(ids):
        own = backend.own_documents.one(ChainRef("ns", id, "chain"))
        assert await own.get() == {"number": number}
    prefix = Layout("default").base
    assert all(key.startswith(f"{prefix}/runs/ns/own/") for key in await backend.store.list())


async def test_a_path_of_another_type_is_no_way_to_it(backend):
    await backend.documents.merge("x", CREDENTIAL, StateType.CREDENTIALS)
    for id in ("../credentials/x", "../../credentials/x", "..\\credentials\\x"):
        with pytest.raises(PathTraversalError):
            await backend.documents.get(id, StateType.WORKFLOWS)
    await backend.keys.set("x", "a key")
    with pytest.raises(InvalidNameError):
        await backend.documents.get("x", "keys")


class Alike(str):
    """An id that says that it equals others."""

    __slots__ = ()

    def __eq__(self, other):
        return self.lower() == str(other).lower()

    def __hash__(self):
        return hash(self.lower())


class Unhashable(str):
    """An id that is no key of a dict."""

    __slots__ = ()

    def __eq__(self, other):
        return str(self) == other

    __hash__ = None


def test_an_id_is_found_by_its_text_whatever_it_says_of_itself():
    layout = Layout("tests")
    for id in ("Order", "order", "Unseen"):
        for kind in (str, Alike, Unhashable):
            for type in (StateType.WORKFLOWS, "workflows", Alike("workflows")):
                assert layout.document(kind(id), type) == layout.document(id, "workflows")
    assert (
        layout.document(Alike("Order"), "workflows").key
        != layout.document("order", "workflows").key
    )
