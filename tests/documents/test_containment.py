"""P1: no id, type, app or tenant leads out of its place, and no two share an object."""

import pytest

from temporal_state import InvalidNameError, PathTraversalError, StateBackend, StateType
from temporal_state.documents import Layout
from temporal_state.runs import ChainRef

ESCAPES = [
    "..",
    ".",
    "../x",
    "../../../etc/passwd",
    "a/../../b",
    "a/..",
    "a/./b",
    "/etc/passwd",
    "//x",
    "\\x",
    "..\\x",
    "a\\..\\b",
    "C:\\windows",
    "c:/windows",
    "a\0b",
    "\0",
    "...",
    ". .",
    " ",
    "a/ /b",
    ".. /x",
]
REFUSED = ["", "\ud800", "x" * 1001, "é" * 501]
DISTINCT = [
    "a",
    "A",
    "!a",
    "=61",
    "a/b",
    "a=2fb",
    "a\\b",
    "a b",
    "a.",
    "a..b",
    ".a",
    "=2ea",
    "~",
    "~a",
    "%2e%2e%2f",
    "..%2fx",
    "%00",
    "con",
    "NUL",
    "aux.txt",
    "com1",
    "config.json",
    "k",
    "K",
    "\N{KELVIN SIGN}",
    "ß",
    "ss",
    "SS",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}/x",
    "\N{RIGHT-TO-LEFT OVERRIDE}x",
    "\N{ZERO WIDTH SPACE}",
    "\N{LINE SEPARATOR}",
    "a\n",
    "a\t",
    "\x7f",
    "$temporal_state",
    "x" * 180,
    "x" * 181,
    "x" * 1000,
    f"{'x' * 999}y",
    "X" * 90,
    "X" * 91,
    "-rf",
    "*",
    "?",
    "~root",
    "file:///etc/passwd",
    "😀",
]


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path):
    url = "memory://" if request.param == "memory" else tmp_path / "root"
    async with StateBackend.open(url) as opened:
        yield opened


def calls(documents, id):
    return (
        documents.get(id),
        documents.set(id, "k", 1),
        documents.merge(id, {"k": 1}),
        documents.replace(id, {"k": 1}),
        documents.delete(id),
        documents.exists(id),
    )


@pytest.mark.parametrize("id", ESCAPES, ids=ascii)
async def test_an_id_that_tries_to_escape_is_refused_before_any_io(backend, tmp_path, id):
    for call in calls(backend.documents, id):
        with pytest.raises(PathTraversalError):
            await call
    for option in ({"app": id}, {"tenant": id}):
        with pytest.raises(PathTraversalError):
            StateBackend.open("memory://", **option)
    assert await backend.store.list() == []


@pytest.mark.parametrize("id", REFUSED, ids=lambda name: ascii(name[:9]))
async def test_an_id_that_breaks_another_rule_is_refused_by_it(backend, id):
    for call in calls(backend.documents, id):
        with pytest.raises(InvalidNameError) as error:
            await call
        assert not isinstance(error.value, PathTraversalError)


@pytest.mark.parametrize("id", [None, 7, b"a", ["a"]])
async def test_an_id_is_text(backend, id):
    with pytest.raises(InvalidNameError, match="string"):
        await backend.documents.get(id)


async def test_no_two_ids_share_an_object(backend, tmp_path):
    for number, id in enumerate(DISTINCT):
        await backend.documents.replace(id, {"number": number})
    for number, id in enumerate(DISTINCT):
        assert await backend.documents.get(id) == {"number": number}, id
    page = await backend.documents.list(limit=1000)
    assert sorted(page.ids) == sorted(DISTINCT)
    folded = {key.casefold() for key in await backend.store.list()}
    assert len(folded) == len(DISTINCT)


async def test_nothing_is_written_outside_of_the_root(backend, tmp_path):
    for id in [*DISTINCT, *ESCAPES]:
        try:
            await backend.documents.replace(id, {"id": id})
        except InvalidNameError:
            continue
    assert {path.name for path in tmp_path.iterdir()} <= {"root"}


@pytest.mark.parametrize(
    "type",
    ["", "Workflows", "work flows", "é", "runs", "tenants", "feed", "tx", "keys", "-a", "x" * 65],
)
async def test_a_type_is_a_lower_case_name_that_the_layout_does_not_use(backend, type):
    with pytest.raises(InvalidNameError):
        await backend.documents.get("a", type)


@pytest.mark.parametrize("type", ["../credentials", "a/b", "..", ".", "a\\b", "a\0"])
async def test_a_type_that_is_a_path_is_a_traversal(backend, type):
    with pytest.raises(PathTraversalError):
        await backend.documents.get("a", type)


async def test_a_workflow_id_is_never_refused_and_never_escapes(backend):
    ids = [id for id in [*DISTINCT, *ESCAPES, *(r for r in REFUSED if r.isprintable())] if id]
    for number, id in enumerate(ids):
        await backend.own_documents.one(ChainRef("ns", id, "chain")).merge({"number": number})
    for number, id in enumerate(ids):
        own = backend.own_documents.one(ChainRef("ns", id, "chain"))
        assert await own.get() == {"number": number}
    prefix = Layout("default").base
    assert all(key.startswith(f"{prefix}/runs/ns/own/") for key in await backend.store.list())


async def test_a_path_of_another_type_is_no_way_to_it(backend):
    await backend.documents.merge("x", {"secret": 1}, StateType.CREDENTIALS)
    with pytest.raises(PathTraversalError):
        await backend.documents.get("../credentials/x", StateType.WORKFLOWS)
