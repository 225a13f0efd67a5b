"""``list``, ``show``, ``steps``, ``history``, ``diff``, ``stats``, ``reindex``."""

import pytest
from command_line import NOON, SECOND

from temporal_state.cli._models import (
    CheckpointShape,
    DiffShape,
    ReindexShape,
    RunDetails,
    RunShape,
    StatsShape,
    StepShape,
    ValueShape,
)
from temporal_state.runs import Value

FILTERS = [
    ((), ["order-9", "order-8", "order-7"]),
    (("--status", "failed"), ["order-7"]),
    (("--status", "failed", "--status", "running"), ["order-9", "order-7"]),
    (("--type", "Import"), ["order-9", "order-7"]),
    (("--id", "order-8"), ["order-8"]),
    (("--since", "2026-05-01T12:01:00Z"), ["order-9", "order-8"]),
    (("--until", "2026-05-01T12:01:00"), ["order-7"]),
    (("--ended-since", "2026-05-01T12:00:30Z"), ["order-8"]),
    (("--metadata", '{"team": "a"}'), ["order-9"]),
    (("--parent", "order-7"), []),
    (("--limit", "1"), ["order-9"]),
    (("--limit", "1", "--all"), ["order-9", "order-8", "order-7"]),
]


async def test_runs_are_listed_by_what_is_asked_for(cli, filled):
    for options, ids in FILTERS:
        found = (await cli("list", "--json", *options)).lines(RunShape)
        assert [run["workflow_id"] for run in found] == ids, options


async def test_people_get_a_table_that_a_pipe_does_not_cut(cli, filled):
    name = "order-" + 120 * "x"
    await filled.runs.start(name, workflow_type="Import", started=NOON)
    out = (await cli("list")).out
    assert name in out
    assert "order-7" in out
    assert "failed" in out
    assert not any(line != line.rstrip() for line in out.splitlines())


async def test_who_cuts_a_list_is_told_that_there_is_more(cli, filled):
    assert "more than these 2" in (await cli("list", "--limit", "2")).err
    assert "more" not in (await cli("list", "--limit", "3")).err


async def test_pages_are_joined(cli, filled, monkeypatch):
    monkeypatch.setattr("temporal_state.cli._runs.PAGE", 2)
    found = (await cli("list", "--json", "--all")).lines(RunShape)
    assert [run["workflow_id"] for run in found] == ["order-9", "order-8", "order-7"]


async def test_a_run_is_shown_with_all_that_is_known(cli, filled):
    run = (await cli("show", "order-7", "--json")).json(RunDetails)
    assert (run["run_id"], run["status"], run["seconds"]) == ("r1", "failed", 10)
    assert run["input"] == [
        {"encoding": "json/plain", "size": 10, "value": {"rows": 3}, "note": None}
    ]
    assert run["error"] == {"type": "Error", "message": "no such row"}
    out = (await cli("show", "order-7")).out
    assert '{"rows":3}' in out
    assert "no such row" in out


async def test_what_a_run_waits_for_is_shown_with_the_reason(cli, filled):
    ref = (await filled.runs.get("order-9")).ref
    call = {"started": NOON, "status": "started"}
    await filled.runs.step(ref, number=1, name="load", attempt=6, error="page 17 is torn", **call)
    await filled.runs.step(ref, number=2, name="sort", **call)
    out = (await cli("show", "order-9")).out
    assert "\nwaits for load, attempt 6: Error: page 17 is torn\nwaits for sort\n" in out
    assert "waits for" not in (await cli("show", "order-7")).out


async def test_the_run_asked_for_is_shown_not_the_newest(cli, filled):
    await filled.runs.start("order-7", workflow_type="Import", run_id="new", started=NOON + SECOND)
    assert (await cli("show", "order-7", "--json")).json(RunDetails)["run_id"] == "new"
    old = await cli("show", "order-7", "--run-id", "r1", "--json")
    assert old.json(RunDetails)["run_id"] == "r1"


async def test_steps_have_attempts_and_errors(cli, filled):
    first, second = (await cli("steps", "order-7", "--json")).lines(StepShape)
    assert (first["name"], first["status"], first["result"]["value"]) == ("load", "completed", "ok")
    assert (second["attempt"], second["error"]["message"]) == (3, "no such row")
    assert "no such row" in (await cli("steps", "order-7")).out


async def test_history_has_each_checkpoint_with_its_state(cli, filled):
    one, two = (await cli("history", "order-7", "--json")).lines(CheckpointShape)
    assert one["state"] == {"total": 10, "old": True}
    assert two["state"] == {"total": 20, "new": True}
    assert '{"total":10' in (await cli("history", "order-7")).out


async def test_a_diff_names_each_path(cli, filled):
    found = (await cli("diff", "order-7", "1", "2", "--json")).json(DiffShape)
    assert found["added"] == {"/new": True}
    assert found["removed"] == {"/old": True}
    assert found["changed"] == {"/total": {"before": 10, "after": 20}}
    out = (await cli("diff", "order-7", "1", "2")).out
    assert out.splitlines() == ["- /old  true", "+ /new  true", "~ /total  10 → 20"]


async def test_sums_are_those_of_the_catalog(cli, filled):
    found = (await cli("stats", "--json")).json(StatsShape)
    assert found["total"] == 3
    assert found["by_status"] == {"completed": 1, "failed": 1, "running": 1}
    assert found["average_seconds"] == 5.5
    assert "3 runs" in (await cli("stats")).out
    later = await cli("stats", "--since", "2026-05-01T12:01:00Z", "--json")
    assert later.json(StatsShape)["total"] == 2


async def test_a_catalog_is_made_anew(cli, filled):
    assert (await cli("reindex", "--json")).json(ReindexShape) == {"total": 3, "unreadable": 0}
    assert "3 runs" in (await cli("reindex")).err


@pytest.mark.parametrize("command", ["show", "steps", "history"])
async def test_a_run_that_is_not_there_is_not_found(cli, filled, command):
    answer = await cli(command, "order-77", code=3)
    assert "no record of a run of workflow 'order-77'" in answer.err
    assert not answer.out
    await cli(command, "order-7", "--run-id", "r77", code=3)


async def test_a_checkpoint_that_is_not_there_is_not_found(cli, filled):
    await cli("diff", "order-7", "1", "9", code=3)


async def test_another_namespace_tenant_or_app_has_none_of_them(cli, filled):
    for option in ("--namespace", "--tenant", "--app"):
        answer = await cli("list", "--json", option, "other")
        assert answer.lines(RunShape) == []
    assert "nothing of app 'other'; it has tests" in answer.err


def test_values_that_are_no_plain_json_are_told_by_their_size():
    hidden = [
        Value("binary/encrypted", 120 * b"s"),
        Value("binary/protobuf", 7 * b"s"),
        Value("json/plain", b"\x00ssssss"),
        Value("", None, dropped="redacted"),
        Value("json/plain", None, size=5000),
        Value("binary/null", b""),
    ]
    shapes = [ValueShape.shown(v) for v in hidden]
    assert [shape.note for shape in shapes] == [
        "(encrypted, 120 bytes)",
        "(binary/protobuf, 7 bytes)",
        "(json/plain, 7 bytes)",
        "(not kept: redacted)",
        "(5000 bytes)",
        None,
    ]
    assert "ssss" not in "".join(shape.model_dump_json() for shape in shapes)


HOSTILE = "a\x1b[31mred\x07\x9b2J\u202eevil\nnext"


async def test_a_terminal_obeys_nothing_that_a_store_says(cli, filled):
    ref = await filled.runs.start(HOSTILE, workflow_type=HOSTILE, started=NOON, input=[HOSTILE])
    await filled.runs.step(ref, number=1, name=HOSTILE, error=HOSTILE, status="failed")
    await filled.runs.progress(ref, 1, 2, HOSTILE)
    await filled.documents.replace("hostile", {HOSTILE: HOSTILE})
    for call in (
        ("list",),
        ("show", HOSTILE),
        ("steps", HOSTILE),
        ("steps", HOSTILE, "--timeline"),
        ("list", "--json"),
        ("get", "hostile"),
        ("get", "hostile", "--json"),
    ):
        out = (await cli(*call)).out
        assert "red" in out
        assert not set(out) & set("\x1b\x07\x9b\u202e"), call
    assert "\x1b" not in (await cli("show", f"{HOSTILE}?", code=3)).err
    shown = (await cli("list", "--json", "--id", HOSTILE)).lines(RunShape)
    assert shown[0]["workflow_id"] == HOSTILE


async def test_markup_in_names_is_text(cli, filled):
    await filled.runs.start("[bold]x[/]", workflow_type=":smile:", started=NOON)
    out = (await cli("list")).out
    assert "[bold]x[/]" in out
    assert ":smile:" in out
