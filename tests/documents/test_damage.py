"""P2: what cannot be read is an error that names the object and the remedy, and is never {}.

Every operation answers alike, and none writes over what it could not read: whoever repairs the
object finds it as it was.
"""

import asyncio
import re
import sys

import orjson
import pytest

from temporal_state import DamagedObjectError, StateBackend
from temporal_state.storage import Compressed, MemoryStore

META = "$temporal_state"


@pytest.fixture
async def backend():
    async with StateBackend.open("memory://", app="tests") as opened:
        yield opened


@pytest.fixture
def documents(backend):
    return backend.documents


def key_of(backend, id="a"):
    return backend.layout.document(id, "workflows").key


async def stored(backend, id="a"):
    return orjson.loads((await backend.store.get(key_of(backend, id))).data)


async def put(backend, value, id="a"):
    data = value if isinstance(value, bytes) else orjson.dumps(value)
    await backend.store.put(key_of(backend, id), data)
    return data


async def in_transaction(backend, id):
    async with backend.transaction() as tx:
        await tx.merge("sound", {"touched": True})
        await tx.merge(id, {"x": 1})


async def reading_in_transaction(backend, id):
    async with backend.transaction() as tx:
        await tx.get(id)
        await tx.merge("sound", {"touched": True})


async def in_batch(backend, id):
    async with backend.documents.batch() as batch:
        await batch.get(id)
        await batch.merge(id, {"x": 1})


OPERATIONS = {
    "get": lambda b, name: b.documents.get(name),
    "read": lambda b, name: b.documents.read(name),
    "exists": lambda b, name: b.documents.exists(name),
    "set": lambda b, name: b.documents.set(name, "x", 1),
    "merge": lambda b, name: b.documents.merge(name, {"x": 1}),
    "replace": lambda b, name: b.documents.replace(name, {"x": 1}),
    "patch": lambda b, name: b.documents.patch(name, {"x": None}),
    "increment": lambda b, name: b.documents.increment(name, "x"),
    "append": lambda b, name: b.documents.append(name, "x", 1),
    "delete": lambda b, name: b.documents.delete(name),
    "get_many": lambda b, name: b.documents.get_many(["sound", name]),
    "transaction": in_transaction,
    "reading in a transaction": reading_in_transaction,
    "batch": in_batch,
}


async def assert_damaged(backend, id="a"):
    """Nothing reads it, nothing changes it, it is listed, and others are none the worse."""
    key = key_of(backend, id)
    before = await backend.store.get(key)
    await backend.documents.replace("sound", {"n": 1})
    for operation in OPERATIONS.values():
        with pytest.raises(DamagedObjectError) as error:
            await operation(backend, id)
        assert key in str(error.value)
        assert "remove it with" in str(error.value) or "upgrade" in str(error.value)
        assert await backend.store.get(key) == before
    assert await backend.documents.get("sound") == {"n": 1}
    assert (await backend.documents.list()).ids == [id, "sound"]
    assert await backend.store.list(backend.layout.transaction("")) == []


FULL = orjson.dumps({"status": "loading", "total": [1, 2.5, {"a": None}], "text": "\u00e9"})


@pytest.mark.parametrize("length", range(len(FULL)))
async def test_a_plain_file_cut_at_any_length_is_damaged(backend, documents, length):
    data = await put(backend, FULL[:length])
    with pytest.raises(DamagedObjectError, match="not JSON"):
        await documents.get("a")
    with pytest.raises(DamagedObjectError, match="not JSON"):
        await documents.merge("a", {"x": 1})
    assert (await backend.store.get(key_of(backend))).data == data


async def test_a_document_cut_at_any_length_is_damaged(backend, documents):
    await documents.merge("a", {"status": "loading", "total": [1, 2.5, {"a": None}]})
    whole = (await backend.store.get(key_of(backend))).data
    for length in range(len(whole) - 1):  # the last byte is the end of the line
        await put(backend, whole[:length])
        with pytest.raises(DamagedObjectError, match="not JSON"):
            await documents.get("a")
    await put(backend, whole[:-1])
    assert (await documents.get("a"))["status"] == "loading"


OTHER_FILES = {
    "empty": b"",
    "zeros": b"\0" * 4096,
    "blank": b" \n",
    "garbage": b"\x00\xff garbage",
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "latin-1": b'{"a": "\xe9"}',
    "two documents": b'{"a": 1}{"b": 2}',
    "trailing zeros": b'{"a": 1}\n\0\0\0',
    "a number": b"7",
    "a text": b'"text"',
    "null": b"null",
    "false": b"false",
    "an array": b"[{}]",
    "not a number": b'{"a": NaN}',
    "beyond a float": b'{"a": 1e400}',
    "beyond 64 bits": b'{"a": {"b": 18446744073709551616}}',
    "below 64 bits": b'{"a": -9223372036854775809}',
    "thousands of digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a key twice": b'{"a": 1, "b": {"c": 1, "c": 2}}',
    "too deep to write": b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}",
    "too deep to keep": b'{"a": ' + b"[" * 220 + b"]" * 220 + b"}",
    "too deep for Python": b'{"a": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "too deep to read": b'{"a": ' + b"[" * 100_000,
    "no envelope": b'{"a": 1, "$temporal_state": null}',
    "an empty envelope": b'{"a": 1, "$temporal_state": {}}',
    "a number for an envelope": b'{"$temporal_state": 7}',
    "nothing but a newer schema": b'{"$temporal_state": {"schema": 99}}',
    "an array for an envelope": b'{"a": 1, "$temporal_state": []}',
}


@pytest.mark.parametrize("data", OTHER_FILES.values(), ids=OTHER_FILES)
async def test_what_is_no_document_is_damaged_for_every_operation(backend, data):
    await put(backend, data)
    await assert_damaged(backend)


WRONG = {
    "schema": [None, "1", 1.0, True, -1, [1]],
    "id": [None, 7, "b", ["a"]],
    "type": [None, 7, "credentials"],
    "version": [None, "1", 1.5, True, -1, 2**64 - 1 + 0.5, [1]],
    "created": [0, "", False, "yesterday", "2026-05-01T12:00:00", 7, [], "0001-01-01T00:00+23:00"],
    "updated": [0, "", False, "yesterday", "2026-05-01T12:00:00", 7, []],
    "expires": [None, [], "x", *({"x": wrong} for wrong in (None, 7, "never", "2026-05-01T12:00"))],
    "expires_at": [0, "", False, "never", "2026-05-01T12:00:00", {}],
    "tokens": [
        None,
        [],
        [["a", 1]],
        "x",
        {"s": None},
        {"s": [1]},
        {"s": ["1", {}]},
        {"s": [1, []]},
    ],
    "floor": ["1", 1.5, True, []],
    "deleted": [None, 0, 1, "false", "true", [], True],
    "tx": [7, "x", [], {}, {"id": None}, {"id": ""}, {"id": 7}],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
async def test_an_envelope_with_a_wrong_field_is_damaged(backend, documents, name, value):
    await documents.merge("a", {"x": 1})
    document = await stored(backend)
    document[META][name] = value
    await put(backend, document)
    await assert_damaged(backend)


@pytest.mark.parametrize("name", sorted({*WRONG} - {"tx"}))  # it may be missing
async def test_an_envelope_without_a_field_is_damaged(backend, documents, name):
    await documents.merge("a", {"x": 1})
    document = await stored(backend)
    del document[META][name]
    await put(backend, document)
    await assert_damaged(backend)


async def test_a_newer_schema_is_left_alone_and_says_upgrade(backend, documents):
    await documents.merge("a", {"x": 1})
    document = await stored(backend)
    document[META]["schema"] = 2
    await put(backend, document)
    await assert_damaged(backend)
    with pytest.raises(DamagedObjectError, match="upgrade"):
        await documents.delete("a")


async def test_another_documents_content_is_no_content_of_this_one(backend, documents):
    await documents.merge("b", {"secret": 1})
    await put(backend, await stored(backend, "b"))
    await documents.delete("b")
    await put(backend, b"{}", "sound")
    with pytest.raises(DamagedObjectError, match="workflows/b"):
        await documents.get("a")
    await assert_damaged(backend)


@pytest.mark.parametrize(
    "edit",
    [
        (b'"x":1', b'"x":1,"x":2'),
        (b'"x":1', b'"x":18446744073709551616'),
        (b'"x":1', b'"x":12345678901234567.89'),
        (b'"x":1', b'"x":1.' + b"1" * 5000),
        (b'"x":1', b'"x":1e-400'),
        (b'"x":1', b'"x":' + b"[" * 300 + b"]" * 300),
        (b'"deleted":false', b'"deleted":false,"deleted":true'),
        (b"}}\n", b'},"$temporal_state":{}}\n'),
    ],
)
async def test_what_others_have_edited_is_not_changed_in_silence(backend, documents, edit):
    await documents.merge("a", {"x": 1})
    whole = (await backend.store.get(key_of(backend))).data
    assert whole.count(edit[0]) == 1
    await put(backend, whole.replace(*edit))
    await assert_damaged(backend)


async def test_what_others_have_edited_and_set_otherwise_is_read_on(backend, documents):
    await documents.merge("a", {"x": 1})
    document = await stored(backend)
    document["x"] = {"by": "hand", "n": 2**64 - 1, "f": [0.1, 1e300, 5e-324, 0.0, 100.0, -2.5e-7]}
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    # As other tools print the same floats.
    text = text.replace(b"0.1,", b"0.1000000000000000055511151231257827,")
    text = text.replace(b"100.0,", b"1.00E+2,").replace(b"5e-324,", b"4.9406564584124654e-324,")
    await put(backend, text)
    assert await documents.merge("a", {"y": 2}) == {"x": document["x"], "y": 2}
    assert (await documents.read("a")).version == 2


@pytest.mark.parametrize("levels", [1, 199])
async def test_what_is_just_not_too_deep_can_be_changed_in_every_way(backend, documents, levels):
    await put(backend, b'{"a": ' + b"[" * levels + b"]" * levels + b"}")
    async with backend.transaction() as tx:
        await tx.merge("a", {"x": 1})
        await tx.merge("b", {"x": 1})
    await documents.merge("a", {"x": 2})
    assert (await documents.get("a"))["x"] == 2


async def test_a_damaged_document_can_be_removed_as_the_message_says(backend, documents):
    await put(backend, b"damaged")
    with pytest.raises(DamagedObjectError) as error:
        await documents.merge("a", {"x": 1})
    call = f"backend.store.delete({key_of(backend)!r})"
    assert call in str(error.value)
    assert await eval(call, {"backend": backend}) is True
    assert await documents.merge("a", {"x": 1}) == {"x": 1}


LONG = "x" * 400


@pytest.mark.parametrize(
    "data",
    [b"", b'{"a": 1}', b'{"$temporal_state": {"id": 7}}', b'{"$temporal_state": {"id": "b"}}'],
)
async def test_a_listing_is_never_short_of_an_id_that_it_cannot_tell(backend, documents, data):
    await documents.merge(LONG, {"x": 1})
    await put(backend, data, LONG)
    with pytest.raises(DamagedObjectError) as error:
        await documents.list()
    assert key_of(backend, LONG) in str(error.value)


async def test_the_content_of_one_long_id_is_not_listed_as_another(backend, documents):
    await documents.merge(LONG, {"x": 1})
    await put(backend, await stored(backend, LONG), LONG + "y")
    with pytest.raises(DamagedObjectError, match="it is the document"):
        await documents.list()


ZSTD = b"\x28\xb5\x2f\xfd"


@pytest.mark.parametrize("data", [ZSTD, ZSTD + b"\xff" * 50, b"", b"{"])
async def test_what_cannot_be_decompressed_is_damaged_and_listed(data):
    inner = MemoryStore()
    async with StateBackend.open(inner, app="tests", transform=Compressed()) as backend:
        await inner.put(key_of(backend), data)
        await backend.documents.merge("sound", {"x": 1})
        for name in ("get", "exists", "delete", "read"):
            with pytest.raises(DamagedObjectError, match=re.escape(key_of(backend))):
                await getattr(backend.documents, name)("a")
        with pytest.raises(DamagedObjectError):
            await backend.documents.merge("a", {"x": 1})
        assert (await backend.documents.list()).ids == ["a", "sound"]
        assert (await inner.get(key_of(backend))).data == data


RECORD = {"schema": 1, "status": "committed", "created": "2026-05-01T12:00:00.000000Z"}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"status": "perhaps"},
        {"created": "2026-05-01T12:00:00"},
        {"created": 7},
        {"key": "persistent-artifacts/apps/tests/tx/other.json"},
        {"documents": [["workflows", "a"]]},
        {"documents": [["workflows", "a", 7]]},
        {"documents": [["workflows", "a", "../../etc/passwd"]]},
        {"documents": None},
    ],
    ids=str,
)
async def test_a_damaged_record_of_a_transaction_is_named_and_not_guessed(
    backend, documents, change
):
    await documents.merge("a", {"x": 1})
    document, key = await stored(backend), key_of(backend)
    after = {name: document[META][name] for name in ("created", "updated", "expires")}
    after |= {"version": 2, "expires_at": None, "deleted": False, "token": None}
    document[META]["tx"] = {"id": "t", "next": {"state": {"x": 2}, **after}}
    await put(backend, document)
    record = backend.layout.transaction("t")
    sound = {**RECORD, "key": record, "documents": [["workflows", "a", key]]}
    await backend.store.put(record, orjson.dumps(sound))
    assert await documents.get("a") == {"x": 2}
    await backend.store.put(record, orjson.dumps(sound | change))
    for operation in (OPERATIONS["get"], OPERATIONS["merge"], OPERATIONS["delete"]):
        async with asyncio.timeout(5):
            with pytest.raises(DamagedObjectError) as error:
                await operation(backend, "a")
        assert record in str(error.value)
    assert await documents.sweep_transactions() == 0
    assert await stored(backend) == document


async def test_a_mark_with_a_state_that_is_none_is_damaged(backend, documents):
    await documents.merge("a", {"x": 1})
    document, record = await stored(backend), backend.layout.transaction("t")
    place = ["workflows", "a", key_of(backend)]
    await backend.store.put(record, orjson.dumps({**RECORD, "key": record, "documents": [place]}))
    after = {name: document[META][name] for name in ("created", "updated", "expires")}
    after |= {"version": 2, "expires_at": None, "deleted": False, "token": None}
    for wrong in ({"state": [1], **after}, {"state": {}, **after, "version": "2"}, {}, 7, "x"):
        document[META]["tx"] = {"id": "t", "next": wrong}
        await put(backend, document)
        with pytest.raises(DamagedObjectError, match="mark is malformed"):
            await documents.get("a")


def test_the_limit_of_digits_of_this_python_does_not_matter():
    assert sys.get_int_max_str_digits() < 5000, "the case of thousands of digits shows nothing"
