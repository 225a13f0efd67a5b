"""Credentials: nothing secret is ever stored, said, logged or shown."""

import copy
import json
import logging
import pickle
import time
from contextlib import suppress
from datetime import UTC, datetime
from pprint import pformat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import create_model
from pydantic_core import to_json
from temporalio.converter import DataConverter

from temporal_state import (
    BatchError,
    InvalidValueError,
    NotFoundError,
    SecretRefusedError,
    SecretUnavailableError,
    StateBackend,
    StateStore,
    StateType,
    configure,
    state,
)
from temporal_state.documents import check_no_secrets, dumps

C = StateType.CREDENTIALS
SECRET = "hunter2-Zx9"
DATABASE = {
    "credential_type": "database",
    "host": "db.example.com",
    "port": 5432,
    "username": "app_user",
    "password_ref": "db-password-secret",
    "ssl_enabled": True,
}


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path):
    url = "memory://" if request.param == "memory" else tmp_path / "root"
    async with StateBackend.open(url) as opened:
        configure(opened)
        yield opened
    configure("memory://")


@pytest.fixture
async def memory():
    """For what the rule says, which is the same on every store."""
    async with StateBackend.open("memory://") as opened:
        yield opened


FULLWIDTH = "".join(chr(ord(letter) + 0xFEE0) for letter in "password")
NAMES = [
    *("password", "PASSWORD", "Password", "passwd", "pwd", "pass", "passphrase", "passcode", "pin"),
    *("dbPassword", "db-password", "db_password", "DBPassword", "db password", "dbpassword"),
    *("password2", "password_value", "passwords", "passwordHash", "my.password", "p\u200bassword"),
    *(
        FULLWIDTH,
        "pass_word",
        "secret",
        "secrets",
        "clientSecret",
        "client-secret",
        "SECRET_KEY",
    ),
    *("secretString", "secret_id", "token", "TOKEN", "accessToken", "refresh_token", "authtoken"),
    *("tokens", "sas_token", "api_key", "apiKey", "API-KEY", "apikey", "x-api-key", "api_keys"),
    *("access_key", "accessKey", "aws_secret_access_key", "AWSSecretKey", "private_key"),
    *("privateKey", "privatekey", "account_key", "AccountKey", "signing_key", "encryptionKey"),
    *("ssh_key", "sharedAccessKey", "Authorization", "cookie", "bearer", "signature", "sig"),
]
PLACES = {
    "top": lambda field: {**field},
    "dict": lambda field: {"extra": {"deep": field}},
    "list": lambda field: {"extra": [1, [field]]},
    "json": lambda field: {"note": json.dumps({"inner": field})},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_raw_secret_is_refused_by_its_fields_name_wherever_it_lies(memory, name, place):
    config = {"credential_type": "x", **PLACES[place]({name: SECRET})}
    with pytest.raises(SecretRefusedError) as refused:
        await memory.credentials.save("c", config)
    assert SECRET not in str(refused.value)
    assert (f".{name}" in str(refused.value)) == (place != "json")
    assert "password_ref" in str(refused.value)
    assert await memory.store.list() == []


@pytest.mark.parametrize("value", [SECRET, "", 1234, 1.5, [SECRET], {"value": SECRET}, [[SECRET]]])
async def test_a_secrets_field_may_hold_nothing_raw_of_any_kind(memory, value):
    for name in ("password", "token"):
        with pytest.raises(SecretRefusedError):
            await memory.credentials.save("c", {"credential_type": "x", name: value})


TEXTS = [
    f"postgresql://app:{SECRET}@db.example.com:5432/orders",
    f"see https://user:{SECRET}@host/path for more",
    f"redis://:{SECRET}@cache:6379/0",
    f"amqp://u:{SECRET}/with/slash@host",
    f"mongodb+srv://u:12345{SECRET}@host/db",
    f"jdbc:postgresql://host/db?user=app&password={SECRET}",
    f"jdbc:oracle:thin:scott/{SECRET}@//host:1521/x",
    f"Server=db;User Id=app;Password={SECRET};",
    f"Server=db;Uid=app;PWD = {SECRET}",
    f"Server=db;Password='{SECRET} x';",
    f'Server=db;Password="{SECRET}";',
    f"host=db user=app password={SECRET} dbname=x",
    f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={SECRET}==;EndpointSuffix=y",
    f"Endpoint=sb://x.net/;SharedAccessKeyName=k;SharedAccessKey={SECRET}=",
    f"https://x.blob.net/c?sv=2022&sig={SECRET}",
    f"https://login.net/?redirect=https://x.net/?password={SECRET}",
    f"http://a:80/x?next=http://u:{SECRET}@h",
    f"http://u:8080{SECRET}@h",
    "http://user:4711@h",
    f"api_key={SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    json.dumps({"type": "service_account", "private_key": SECRET}),
    json.dumps([{"auth": {"password": SECRET}}]),
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["connection_string", "url", "note", "password_ref"])
async def test_a_text_that_holds_a_secret_is_refused_in_any_field(memory, name, text):
    for config in ({name: text}, {"extra": {name: [text]}}, {text: 1}):
        with pytest.raises(SecretRefusedError) as refused:
            await memory.credentials.save("c", {"credential_type": "x", **config})
        assert SECRET not in str(refused.value)
        assert "4711" not in str(refused.value)
    assert await memory.store.list() == []


HARMLESS = [
    {"password_ref": "x"},
    {"passwordRef": "x"},
    {"password-reference": "x"},
    {"secret-path": "vault/db"},
    {"secret_path": "vault/db"},
    {"secretName": "x"},
    {"secret_arn": "x"},
    {"secret": {"name": "db", "path": "kv/db"}},
    {"secretKeyRef": {"name": "db", "key": "x"}},
    {"password": "vault://kv/db#password"},
    {"password": "op://vault/item/field"},
    {"password": "secret://db"},
    {"password": "arn:aws:secretsmanager:eu-west-1:1:secret:db-AbC"},
    {"password": "arn:aws-cn:ssm:cn-north-1:1:parameter/db"},
    {"password": "projects/p/secrets/db/versions/latest"},
    {"password": "env:DB_PASSWORD"},
    {"password": "${DB_PASSWORD}"},
    {"tokens": ["env:A", "${B}"]},
    {"password": None},
    {"use_token": True},
    {"token_url": "https://login.example.com/token"},
    {"token_endpoint": "https://login.example.com/token"},
    {"tokenType": "bearer"},
    {"token_expires_at": "2026-01-01T00:00:00Z"},
    {"password_policy": "strong"},
    {"secret_manager": "vault"},
    {"access_key_id": "AKIAIOSFODNN7EXAMPLE"},
    {"private_key_path": "/run/keys/id"},
    {"api_key_header": "X-Api-Key"},
    {"public_key": "ssh-ed25519 AAAA"},
    {"primary_key": "id"},
    {"tokenizer": "words"},
    {"compass": "north"},
    {"url": "postgresql://app@db.example.com:5432/orders"},
    {"url": "postgresql://app:${PASSWORD}@db.example.com/orders"},
    {"url": "https://host:8080/a@b"},
    {"url": "https://[::1]:8080/"},
    {"hosts": "kafka-1:9092,kafka-2:9092"},
    {"connection_string": "Server=db;Database=x;Integrated Security=true;Password=${PW};"},
    {"note": "mail me@example.com: 1"},
    {"note": "[not json"},
    {"certificate": "-----BEGIN CERTIFICATE-----\nx"},
]


@pytest.mark.parametrize("fields", HARMLESS, ids=str)
async def test_references_and_what_only_speaks_of_secrets_are_stored_as_they_are(memory, fields):
    config = {"credential_type": "x", **fields}
    assert await memory.credentials.save("c", config) == config
    assert await memory.credentials.get("c") == config


@given(
    words=st.sampled_from([("api", "key"), ("client", "secret"), ("db", "password"), ("token",)]),
    separator=st.sampled_from(["", "-", "_", " ", ".", "__", "\N{SOFT HYPHEN}"]),
    style=st.sampled_from([str, str.upper, str.title, str.capitalize]),
    path=st.lists(st.sampled_from(["a", "list", "b c"]), max_size=5),
    secret=st.text("0123456789ABCDEF", min_size=12),
)
def test_no_spelling_and_no_depth_hides_a_secret(words, separator, style, path, secret):
    value = {separator.join(map(style, words)): secret}
    for step in path:
        value = [value] if step == "list" else {step: value}
    with pytest.raises(SecretRefusedError) as refused:
        check_no_secrets(value)
    assert secret not in str(refused.value)


LONG = 300_000
HEAVY = ["a", "=", "a=", "key=", "://a:", "://", "@", "a:b@", " =", "token ", "${", "[", '{"a":']


@pytest.mark.parametrize("piece", HEAVY)
def test_no_text_takes_long_to_look_through(piece):
    started = time.process_time()
    for text in (piece * (LONG // len(piece)), piece * 900):
        with suppress(InvalidValueError):
            check_no_secrets({"a": text, "b": [text[:1000]]})
    assert time.process_time() - started < 10


def test_json_within_json_ends_somewhere():
    text = json.dumps({"password": SECRET})
    for _ in range(8):
        text = json.dumps([text])
    with pytest.raises(SecretRefusedError):
        check_no_secrets({"a": text})
    deep = "[" * 900 + "]" * 900
    with suppress(InvalidValueError):
        check_no_secrets({"a": [{"b": deep}]})


@pytest.mark.parametrize("kind", [None, "", " ", 1, [], {}])
async def test_a_credential_says_of_which_type_it_is(memory, kind):
    with pytest.raises(InvalidValueError, match="credential_type"):
        await memory.credentials.save("c", {"credential_type": kind})
    with pytest.raises(InvalidValueError, match="credential_type"):
        await memory.credentials.save("c", {"host": "x"})


async def batched(documents, change):
    with pytest.raises(BatchError) as failed:
        async with documents.batch() as batch:
            await batch.merge("c", change, C)
    assert SECRET not in str(failed.value)
    raise failed.value.failures["credentials/c"]


async def in_transaction(documents, change):
    async with documents.transactions.transaction() as tx:
        await tx.merge("other", {"k": 1})
        await tx.merge("c", change, C)


WRITES = {
    "set": lambda d, change: d.set("c", *next(iter(change.items())), C),
    "merge": lambda d, change: d.merge("c", change, C),
    "replace": lambda d, change: d.replace("c", {"credential_type": "x", **change}, C),
    "save_state": lambda _, change: StateStore.save_state(*next(iter(change.items())), "c", C),
    "save_state_object": lambda _, change: StateStore.save_state_object("c", change, C),
    "replace_state": lambda _, change: StateStore.replace_state(
        "c", {"credential_type": "x", **change}, C
    ),
    "patch": lambda d, change: d.patch("c", change, C),
    "save_state of a model": lambda _, change: StateStore.save_model(
        "c", create_model("Any", **{k: (object, v) for k, v in change.items()})(), C
    ),
    "batch": batched,
    "transaction": in_transaction,
    "by the type's name": lambda d, change: d.merge("c", change, "credentials"),
}


@pytest.mark.parametrize("write", WRITES)
async def test_every_way_to_write_a_credential_is_checked(backend, write):
    await backend.credentials.save("c", DATABASE)
    for change in ({"password": SECRET}, {"url": TEXTS[0]}, {"a": {"b": [{"token": SECRET}]}}):
        with pytest.raises(SecretRefusedError) as refused:
            await WRITES[write](backend.documents, change)
        assert SECRET not in str(refused.value)
    assert await backend.credentials.get("c") == DATABASE
    assert await backend.documents.get("other") == {}


async def in_block(change, of):
    async with state.transaction() as tx:
        await change(tx, *of)


CHANGES = {
    "set": lambda tx, key, value: tx.set("c", key, value, C),
    "merge": lambda tx, key, value: tx.merge("c", {key: value}, C),
    "replace": lambda tx, key, value: tx.replace("c", {"credential_type": "x", key: value}, C),
    "patch": lambda tx, key, value: tx.patch("c", {key: value}, C),
    "append": lambda tx, key, value: tx.append("c", f"{key}s", value, type=C),
    "increment": lambda tx, key, _: tx.increment("c", key.removesuffix("_ref"), 1, C),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_block_may_change_credentials_and_writes_no_secret(backend, change):
    await backend.credentials.save("c", {**DATABASE, "password_refs": []})
    if change != "increment":
        await in_block(CHANGES[change], ("password_ref", "vault://a/b"))
        assert "vault://a/b" in str(await backend.credentials.get("c"))
    before = await backend.credentials.get("c")
    with pytest.raises(SecretRefusedError) as refused:
        await in_block(CHANGES[change], ("password", SECRET))
    assert SECRET not in str(refused.value)
    assert await backend.credentials.get("c") == before


async def test_the_whole_result_of_a_partial_change_is_checked(backend):
    with pytest.raises(InvalidValueError, match="credential_type"):
        await backend.documents.merge("new", {"host": "x"}, C)
    key = backend.layout.document("c", C).key
    await backend.store.put(key, dumps({"credential_type": "x", "password": SECRET}))
    with pytest.raises(SecretRefusedError):  # another tool's file, as it was
        await backend.documents.set("c", "host", "x", C)
    await backend.documents.set("c", "password", "vault://db", C)
    assert SECRET.encode() not in (await backend.store.get(key)).data
    with pytest.raises(InvalidValueError):
        await backend.documents.set("c", "credential_type", None, C)


async def test_a_secret_cannot_be_appended(backend):
    await backend.credentials.save("c", {"credential_type": "x", "tokens": ["env:A"]})
    for append in (
        backend.documents.append("c", "tokens", SECRET, type=C),
        backend.documents.append("c", "urls", TEXTS[0], type=C),
        StateStore.append_state("tokens", [SECRET], "c", C),
        backend.documents.increment("c", "password", 1, type=C),
    ):
        with pytest.raises(SecretRefusedError) as refused:
            await append
        assert SECRET not in str(refused.value)


async def test_other_types_are_not_meddled_with(backend):
    await backend.documents.merge("w", {"token": "next-page"})
    await backend.keys.set("password", SECRET)
    await backend.system.set("token", SECRET)
    assert await backend.documents.get("w") == {"token": "next-page"}


async def test_credentials_are_listed_and_deleted(backend):
    for id in ("db-1", "db-2", "api"):
        await backend.credentials.save(id, DATABASE)
    assert (await backend.credentials.list("db-")).ids == ["db-1", "db-2"]
    assert await backend.credentials.delete("api")
    assert not await backend.credentials.delete("api")
    assert await backend.credentials.get("api") == {}


# Resolving.

RICH = {
    **DATABASE,
    "nested": {"token": "vault://t", "list": ["env:A", "plain"], "secret": {"name": "in-secret"}},
    "url": "db://u:${PW}@h/${PW}/${OTHER}",
}


async def secret_of(reference):
    return f"<{reference}>"


@pytest.mark.parametrize("secrets", [secret_of, lambda reference: f"<{reference}>"])
async def test_resolving_puts_a_secret_in_the_place_of_each_reference(backend, secrets):
    await backend.credentials.save("c", RICH)
    found = await backend.credentials.resolve("c", secrets=secrets)
    assert found.reveal() == {
        **DATABASE,
        "password_ref": "<db-password-secret>",
        "nested": {
            "token": "<vault://t>",
            "list": ["<env:A>", "plain"],
            "secret": {"name": "<in-secret>"},
        },
        "url": "db://u:<${PW}>@h/<${PW}>/<${OTHER}>",
    }
    assert found["password_ref"] == found.get("password_ref") == "<db-password-secret>"
    assert found.get("missing", 1) == 1
    assert "host" in found
    assert dict(found) == found.reveal()
    assert await backend.credentials.get("c") == RICH


async def test_a_secret_that_looks_like_a_reference_is_not_resolved_again(backend):
    asked = []

    def secrets(reference):
        asked.append(reference)
        return "${OTHER} vault://x"

    await backend.credentials.save("c", {"credential_type": "x", "url": "${A}/${A}/${B}"})
    found = await backend.credentials.resolve("c", secrets=secrets)
    assert found["url"] == "/".join(["${OTHER} vault://x"] * 3)
    assert asked == ["${A}", "${B}"]


async def test_a_resolved_credential_shows_hides_and_stays(backend):
    await backend.credentials.save("c", DATABASE)
    found = await backend.credentials.resolve("c", secrets=lambda _: SECRET)
    for shown in (repr(found), str(found), f"{found}", f"{[found]}", pformat(found), ascii(found)):
        assert SECRET not in shown
    for keep in (
        lambda: pickle.dumps(found),
        lambda: copy.deepcopy(found),
        lambda: json.dumps(found),
        lambda: to_json(found),
        lambda: list(found),
    ):
        with pytest.raises(Exception, match=r".") as refused:
            keep()
        assert SECRET not in str(refused.value)
    for store in (
        backend.documents.set("w", "k", found),
        backend.documents.replace("w", found),
        backend.keys.set("k", found),
        backend.credentials.save("d", found),
    ):
        with pytest.raises(InvalidValueError) as refused:
            await store
        assert SECRET not in str(refused.value)
    with pytest.raises(Exception, match=r"."):
        await DataConverter.default.encode([found])


class VaultError(Exception):
    pass


def failing(_reference):
    raise VaultError(f"denied, the token was {SECRET}") from ValueError(SECRET)


async def failing_later(_reference):
    raise KeyError(SECRET)


@pytest.mark.parametrize("secrets", [failing, failing_later, lambda _: None])
async def test_an_error_of_the_callers_function_passes_without_its_text(backend, secrets, caplog):
    caplog.set_level(logging.DEBUG)
    await backend.credentials.save("c", DATABASE)
    with pytest.raises(SecretUnavailableError, match=r"\$\.password_ref") as raised:
        await backend.credentials.resolve("c", secrets=secrets)
    logging.getLogger("x").error("failed", exc_info=raised.value)
    assert SECRET not in caplog.text
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


async def test_there_is_nothing_to_resolve_where_there_is_no_credential(backend):
    with pytest.raises(NotFoundError, match="credentials/c"):
        await backend.credentials.resolve("c", secrets=secret_of)


async def test_nothing_secret_reaches_the_store_or_a_log(backend, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    await backend.credentials.save("c", RICH)
    await backend.credentials.resolve("c", secrets=lambda _: SECRET)
    for change in ({"password": SECRET}, {"url": TEXTS[0]}, {"token": float("nan")}):
        with pytest.raises(InvalidValueError):
            await backend.documents.merge("c", change, C)
    for key in await backend.store.list():
        assert SECRET.encode() not in (await backend.store.get(key)).data
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
    assert SECRET not in caplog.text


async def test_the_examples_of_the_reference_are_references(backend):
    for id, config in (
        ("db-cred-456", {"credential_type": "database", "host": "db.example.com", "port": 5432}),
        ("cred-database-123", {**DATABASE, "database": "analytics"}),
        (
            "uuid",
            {
                "credentialSource": "agent",
                "secret-path": "vault/db",
                "credential_type": "database",
                "created_at": datetime.now(UTC).isoformat(),
            },
        ),
    ):
        assert await StateStore.save_state_object(id=id, value=config, type=C) == config
