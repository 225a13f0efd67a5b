"""How commands are called: options anywhere, by the environment; mistakes and failures."""

import os
import re

import pytest
import typer
from typer.testing import CliRunner

from temporal_state import StateBackend, StoreTimeoutError
from temporal_state.cli import _session
from temporal_state.cli._app import app
from temporal_state.cli._failures import Code
from temporal_state.cli._models import RunShape
from temporal_state.cli._settings import Settings
from temporal_state.errors import StoreError, StoreFullError, StorePermissionError
from temporal_state.testing import FailingStore


@pytest.mark.parametrize(
    "call",
    [
        ("list", "--json"),
        ("--json", "list"),
        ("list", "--namespace", "default", "--json", "--type=Import", "-n", "9"),
        ("--namespace=default", "list", "--type", "Import", "--json"),
    ],
)
async def test_general_options_stand_before_or_after_the_command(cli, filled, call):
    assert (await cli(*call)).lines(RunShape)


async def test_what_follows_two_dashes_is_no_option(cli, filled):
    await cli("set", "--key", "n", "--", "--json", "-5")
    assert await filled.documents.get("--json") == {"n": -5}


async def test_every_general_option_can_come_from_the_environment(cli, filled, root, tmp_path):
    env = {
        "TEMPORAL_STATE_URL": str(tmp_path / "nowhere"),
        "TEMPORAL_STATE_JSON": "1",
        "TEMPORAL_STATE_YES": "1",
        "TEMPORAL_NAMESPACE": "default",
    }
    assert (await cli("list", env=env)).lines(RunShape)  # an option wins over the environment
    await cli("delete", "doc-1", env=env)
    assert (await cli("list", env={**env, "TEMPORAL_NAMESPACE": "other"})).out == ""
    tenant = {**env, "TEMPORAL_STATE_TENANT": "blue"}
    assert (await cli("list", env=tenant)).out == ""


async def test_the_namespace_is_that_of_the_temporal_clis_profile_unless_it_is_given(
    cli, backend, tmp_path
):
    profile = tmp_path / "temporal.toml"
    profile.write_text('[profile.default]\naddress = "cloud:7233"\nnamespace = "prod.abc"\n')
    env = {"TEMPORAL_CONFIG_FILE": str(profile)}
    await backend.runs.start("of prod", workflow_type="T", run_id="r1", namespace="prod.abc")
    assert len((await cli("list", "--json", env=env)).lines(RunShape)) == 1
    assert (await cli("list", "--json", "--namespace", "default", env=env)).out == ""
    profile.write_text("no TOML")
    assert "temporal CLI" in (await cli("list", env=env, code=Code.USAGE)).err


@pytest.mark.parametrize(("given", "expected"), [(None, "prod.abc"), ("default", "default")])
def test_a_connection_keeps_the_namespace_of_its_profile(monkeypatch, tmp_path, given, expected):
    profile = tmp_path / "temporal.toml"
    profile.write_text('[profile.default]\naddress = "cloud:7233"\nnamespace = "prod.abc"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profile))
    no = dict.fromkeys(("store", "app", "tenant", "address", "transform", "catalog"))
    flags = dict.fromkeys(("json", "yes", "color", "debug"), False)
    config = _session.connection(Settings(**no, **flags, namespace=given))
    assert (config["target_host"], config["namespace"]) == ("cloud:7233", expected)


COLOUR = re.compile(r"\x1b\[(\d+;)*[349]\d")  # alone or after others, as in bold red


async def test_colours_are_for_terminals_only(cli, filled):
    assert "\x1b" not in (await cli("list")).out
    forced = {"FORCE_COLOR": "1"}
    assert COLOUR.search((await cli("list", env=forced)).out)
    for plain in (
        await cli("list", "--no-color", env=forced),
        await cli("list", env={**forced, "NO_COLOR": "1"}),
    ):
        assert "order-7" in plain.out
        assert not COLOUR.search(plain.out)


@pytest.mark.parametrize(
    "call",
    [
        ("bogus",),
        ("show",),
        ("list", "--limit", "0"),
        ("list", "--since", "yesterday"),
        ("list", "--status", "asleep"),
        ("list", "--metadata", "[1]"),
        ("snapshot",),
        ("set", "x", "{}", "--patch", "--replace"),
        ("get", "x", "--type", "Runs!"),
        ("list", "--store", "gopher://x"),
        ("list", "--transform", "nowhere:thing"),
        ("list", "--catalog", "gopher://x"),
        ("follow", "order-7", "--status", "running"),
    ],
)
async def test_a_mistake_is_one_line_and_code_2(cli, filled, call):
    answer = await cli(*call, code=2)
    assert answer.err.count("\n") == 1, answer.err
    assert not answer.out


async def test_without_arguments_and_on_request_there_is_help(cli):
    for call in (("--help",), ("list", "--help"), ("snapshot", "-h")):
        assert "Usage" in (await cli(*call)).out
    assert "Usage" in CliRunner().invoke(app, []).stdout


async def test_a_traceback_is_for_who_asks(cli, filled):
    assert "Traceback" in (await cli("show", "none", "--debug", code=3)).err


async def test_a_root_that_is_a_file_or_cannot_be_read(cli, filled, tmp_path, root):
    file = tmp_path / "file"
    file.touch()
    assert "a file is in the way" in (await cli("list", store=file, code=2)).err
    if os.geteuid() != 0:
        root.chmod(0)
        try:
            await cli("list", code=5)
        finally:
            root.chmod(0o700)


async def test_a_damaged_object_is_named(cli, filled, root):
    place = root / filled.path("doc-1", "workflows").removeprefix(f"{root}/")
    place.write_bytes(b'{"half": ')
    answer = await cli("get", "doc-1", code=1)
    assert "damaged" in answer.err
    assert "doc-1/config.json" in answer.err
    await cli("get", "doc-2")
    (run,) = root.rglob("*r1/run.json")
    run.write_bytes(b"\x00\xff")
    for call in (("show",), ("steps",), ("history",)):
        assert "damaged" in (await cli(*call, "order-7", code=1)).err
    await cli("export", "-", code=1)


@pytest.fixture
def failing(filled, monkeypatch) -> FailingStore:
    """The store of the next command, to be broken."""
    store = FailingStore(filled.store)
    opened = StateBackend.open

    def broken(url, **options):
        return opened(store, **options)

    monkeypatch.setattr(_session.StateBackend, "open", broken)
    return store


NEEDS_THE_STORE = [
    "list",
    "show order-7",
    "steps order-7",
    "history order-7",
    "diff order-7 1 2",
    "follow order-7",
    "stats",
    "reindex",
    "documents",
    "keys",
    "get doc-1",
    "set doc-1 {}",
    "delete doc-1",
    "snapshot create s --document doc-1",
    "snapshot list",
    "snapshot delete s",
    "restore s",
    "resume order-7",
    "recover",
    "reconcile order-7",
    "cleanup --older-than 1d",
    "export",
    "import documents.ndjson",
    "adopt theirs",
]


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """What there is to import and to adopt, in the present folder."""
    monkeypatch.chdir(tmp_path)
    line = '{"kind": "document", "type": "notes", "id": "x", "value": {}}'
    (tmp_path / "documents.ndjson").write_text(f"{line}\n")
    theirs = tmp_path / "theirs/persistent-artifacts/apps/tests/notes/Order 1"
    theirs.mkdir(parents=True)
    (theirs / "config.json").write_text("{}")


@pytest.mark.parametrize("call", NEEDS_THE_STORE)
async def test_a_store_that_fails_is_told_in_its_own_words(cli, failing, call, dev, inputs):
    failing.error = StoreError("the disk is gone; look for it")
    at = dev.client.service_client.config.target_host
    answer = await cli(*call.split(), "--yes", "--address", at, code=5)
    assert answer.err.endswith("the disk is gone; look for it\n")
    assert not answer.out


def test_no_command_is_left_out_of_those_that_meet_a_broken_store():
    called = {call.split()[0] for call in NEEDS_THE_STORE}
    # The one tells it in its own way (below), the other needs Temporal only.
    assert called | {"doctor", "schedule"} == set(typer.main.get_command(app).commands)


@pytest.mark.parametrize(
    "call",
    [
        "reindex",
        "cleanup --older-than 1d --yes",
        "adopt theirs",
        "export all.ndjson",
        "import documents.ndjson",
        "reconcile",
        "recover --yes",
    ],
)
async def test_what_may_take_long_shows_how_far_it_is_on_a_terminal(cli, filled, inputs, dev, call):
    ref = await filled.runs.start("wf", workflow_type="Job", kind="workflow")
    await filled.runs.finish(ref, "failed", error="x")
    at = dev.client.service_client.config.target_host
    terminal = {"FORCE_COLOR": "1", "TEMPORAL_ADDRESS": at}
    assert "━" in (await cli(*call.split(), env=terminal, code=None)).err
    assert "━" not in (await cli(*call.split(), env={"TEMPORAL_ADDRESS": at}, code=None)).err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreTimeoutError("no answer in 30 s; look at the network"), 5),
        (StorePermissionError("read-only; get rights"), 5),
        (StoreFullError("no space; make some"), 1),
    ],
)
@pytest.mark.parametrize("call", [("get", "doc-1"), ("set", "doc-1", "{}"), ("list",)])
async def test_each_failure_of_a_store_has_its_code(cli, failing, error, code, call):
    failing.error = error
    assert str(error) in (await cli(*call, code=code)).err


async def test_a_doctor_finds_a_store_that_cannot_be_written(cli, failing):
    failing.error = StorePermissionError("read-only; get rights")
    answer = await cli("doctor", code=5)
    assert "read-only" in answer.out
    assert failing.calls


async def test_a_password_in_a_url_is_not_repeated(cli):
    url = "postgresql://me:hunter2@127.0.0.1:1/db?connect_timeout=1"
    answer = await cli("list", store=url, code=5)
    assert "hunter2" not in answer.err
    assert (await cli("list", store="s4://me:hunter2@host", code=2)).err.count("hunter2") == 0


async def test_records_that_cannot_be_read_are_counted_not_hidden(cli, filled, root):
    (run,) = root.rglob("*r1/run.json")
    run.write_bytes(b"\x00\xff")
    answer = await cli("reindex")
    assert "1 records cannot be read" in answer.err
    assert "r1/run.json" in answer.err
