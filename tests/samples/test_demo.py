"""The demo as a user runs it, its worker really killed, and the inventory's awkward cases."""

import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.worker import Worker

from samples.demo import DemoError, Outcome, Plan, verify
from samples.inventory import Inventory, Request, hash_batch, list_tree, write_report
from samples.inventory_files import MAX_FILES, MAX_NAMES, find_files, hash_files, in_batches
from samples.progress import Progress
from samples.record import Record, faults_in, progress_in, read_record
from samples.recount import recount
from temporal_state import StateBackend, StatePlugin
from temporal_state.runs import ChainRef
from temporal_state.testing import dev_server

ROOT = Path(__file__).parents[2]
FILES = 120


@pytest.fixture
def tree(tmp_path):
    """Many tiny files, and one of everything that a tree may hold besides."""
    root = tmp_path / "tree"
    for number in range(FILES):
        folder = root / f"folder-{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.{'txt' if number % 2 else 'py'}").write_text(f"file {number}\n" * 9)
    (root / "empty").touch()
    (root / "link").symlink_to("empty")
    (root / "links").symlink_to("folder-1")
    (root / "loop").symlink_to(".")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "left-out.pyc").write_bytes(b"changes at any time")
    (root / "unreadable").write_text("secret")
    (root / "unreadable").chmod(0)  # does not keep root from reading it
    (root / "ä %20\n.b c").write_text("a name to be encoded")
    (root / os.fsdecode(b"no\xffutf-8.\xff")).write_text("a name that JSON cannot hold")
    os.mkfifo(root / "pipe")
    return root


def run_demo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "samples.demo", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_hello_prints_the_document(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "samples.hello"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "'greeting': 'Hello, world!'" in result.stdout
    assert list(tmp_path.glob("local/tmp/persistent-artifacts/**/config.json"))


def shown(result, source):
    """Return what the demo printed of a source: files, bytes, skipped."""
    line = re.search(
        rf"^{source} +([\d,]+) files +([\d,]+) bytes +([\d,]+) sk", result.stdout, re.MULTILINE
    )
    return tuple(int(number.replace(",", "")) for number in line.groups())


def path_of(result, what):
    return Path(re.search(rf"^{what} +(/.*)$", result.stdout, re.MULTILINE)[1])


def is_readable(path):
    return os.access(path, os.R_OK)


def lines_of_sha256sum(tree, names):
    return "".join(f"{hashlib.sha256((tree / n).read_bytes()).hexdigest()}  {n}\n" for n in names)


async def test_totals_and_record_are_right_although_the_worker_is_killed_and_in_the_next_run(
    tree, tmp_path
):
    store = tmp_path / "store"
    first = run_demo(tree, "--store", store)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "right to the byte" in first.stdout
    killed = re.search(r"SIGKILL \(exit code -9\), when (\d+) of (\d+) batches", first.stdout)
    done, batches = map(int, killed.groups())
    assert 0.5 <= done / batches < 0.9
    assert re.search(
        rf"^record +(\d+) steps: \1 completed; {batches} of them hash_batch",
        first.stdout,
        re.MULTILINE,
    )

    readable = [p for p in tree.rglob("*") if p.is_file() and not p.is_symlink() and is_readable(p)]
    readable = [p for p in readable if p.parent.name != "__pycache__"]
    unreadable = 0 if is_readable(tree / "unreadable") else 1
    size = sum(path.stat().st_size for path in readable)
    expected = (len(readable), size, 3 + 1 + unreadable)
    assert shown(first, "document") == shown(first, "report") == expected

    report = json.loads(path_of(first, "report").read_text())
    assert (report["files"], report["bytes"]) == expected[:2]
    assert report["skipped"]["symbolic link"] == 3
    assert report["skipped"]["special file"] == 1
    assert report["extensions"][".txt"]["files"] == FILES // 2
    assert report["extensions"][".%FF"] == {"files": 1, "bytes": 28}

    # Nothing of the first run is in the way of a second one of the same workflow id.
    (tree / "one-more").write_text("12345")
    second = run_demo(tree, "--store", store, "--no-kill")
    assert second.returncode == 0, second.stdout + second.stderr
    assert shown(second, "document") == (expected[0] + 1, expected[1] + 5, expected[2])
    documents = [path_of(result, "document") for result in (first, second)]
    assert documents[0].parent.parent == documents[1].parent.parent
    assert [json.loads(path.read_text())["files"] for path in documents] == [
        expected[0],
        expected[0] + 1,
    ]

    # Each run has its record, and what the first worker took with it the second one has written.
    async with StateBackend.open(store, app="demo") as backend:
        runs = await backend.runs.list()
        assert [(run.workflow_id, run.status) for run in runs] == [("inventory", "completed")] * 2
        for run in runs:
            steps = await backend.runs.steps("inventory", run_id=run.run_id)
            hashed = [step for step in steps if step.name == "hash_batch"]
            assert [step.status for step in hashed] == ["completed"] * len(hashed)
            assert len({step.key for step in hashed}) == len(hashed)
            assert run.lost == 0
    assert len(hashed) == batches


def test_demo_fails_when_there_is_nothing_to_list(tmp_path):
    result = run_demo(tmp_path / "nothing", "--store", tmp_path / "store")
    assert result.returncode == 1
    assert "No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "b").mkdir()
    names = ["a.txt", "b/c.txt", "b0", "c"]
    for name in names:
        (tmp_path / name).write_text(name)
    expected = hashlib.sha256(lines_of_sha256sum(tmp_path, names).encode()).hexdigest()
    assert recount(tmp_path, [])["digest"] == expected
    assert [name for name, _, _ in hash_files(str(tmp_path), names).hashes] == names
    assert find_files(str(tmp_path), []).files == names


def test_files_that_vanish_or_turn_into_something_else_are_skipped_with_the_reason(tmp_path):
    (tmp_path / "kept").write_text("x")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    hashed = hash_files(str(tmp_path), ["gone", "kept", "link", "folder", "pipe"])
    assert [(name, size) for name, size, _ in hashed.hashes] == [("kept", 1)]
    assert hashed.skipped.total() == 4
    assert hashed.skipped["No such file or directory"] == 1


def test_excluded_are_names_anywhere_and_paths(tmp_path):
    for folder in ("a/out", "b/out", "b/in"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    exclude = ["out", str(tmp_path / "a")]
    assert find_files(str(tmp_path), exclude).files == ["b/in/file"]
    assert recount(tmp_path, exclude)["files"] == 1


def test_batches_keep_the_order_and_their_limits():
    files = [f"{number:07}" for number in range(2 * 300 * MAX_FILES)]
    batches = list(in_batches(files))
    assert [name for batch in batches for name in batch] == files
    assert max(map(len, batches)) == MAX_FILES
    long = ["x" * (MAX_NAMES // 2)] * 1000
    assert all(sum(map(len, batch)) <= MAX_NAMES for batch in in_batches(long))
    assert list(in_batches([])) == []
    assert list(in_batches(["x" * (MAX_NAMES + 1)])) == [["x" * (MAX_NAMES + 1)]]


async def test_a_run_that_was_continued_as_new_goes_on_where_the_one_before_ended(
    tree, tmp_path, backend
):
    soon = ["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=100"]
    plan = Plan(tree, tmp_path, kill=False, exclude=["__pycache__"])
    request = Request(str(tree), str(plan.report))
    activities = [list_tree, hash_batch, write_report]
    async with await dev_server(fast=True, dev_server_extra_args=soon) as server:
        async with Worker(
            server.client,
            task_queue="queue",
            workflows=[Inventory],
            activities=activities,
            plugins=[StatePlugin(backend)],
        ):
            handle = await server.client.start_workflow(
                Inventory.run, request, id=f"wf-{uuid.uuid4()}", task_queue="queue"
            )
            document = await handle.result()
        first = await server.client.get_workflow_handle(
            handle.id, run_id=handle.first_execution_run_id
        ).describe()
    assert first.status.name == "CONTINUED_AS_NEW"
    counted = recount(tree, ["__pycache__"])
    assert {name: document[name] for name in ("files", "bytes", "skipped")} == {
        name: counted[name] for name in ("files", "bytes", "skipped")
    }
    assert json.loads(plan.report.read_text())["digest"] == counted["digest"]

    # Several records, and together they tell of each batch once.
    chain = ChainRef("default", handle.id, handle.first_execution_run_id)
    record = await read_record(backend.runs, chain)
    assert len(record.runs) > 1
    assert faults_in(record, document) == []
    files, size, batches = counted["files"], counted["bytes"], document["batches"]
    text = f"completed: {files:,} of {document['found']:,} files, {size:,} bytes"
    assert progress_in(record) == Progress(batches, batches, text)
    verify(plan, Outcome(document, record))
    for broken in broken_records(record):
        assert faults_in(broken, document)
        with pytest.raises(DemoError, match="record"):
            verify(plan, Outcome(document, broken))


def broken_records(record):
    """Yield the record with one thing wrong with it, each time another."""
    number = next(n for n, step in enumerate(record.steps) if step.name == "hash_batch")
    before, batch, after = record.steps[:number], record.steps[number], record.steps[number + 1 :]
    other = next(step for step in after if step.name == "hash_batch")
    result = replace(batch.result, data=b'{"files": 0, "bytes": 0, "skipped": 0}')
    for instead in (
        [],
        [batch, batch],
        [other],
        [replace(batch, status="failed")],
        [replace(batch, status="started", result=None)],
        [replace(batch, result=result)],
    ):
        yield replace(record, steps=[*before, *instead, *after])
    yield replace(record, runs=[replace(record.runs[0], status="running"), *record.runs[1:]])
    yield replace(record, runs=record.runs[1:])
    yield Record()


def test_before_a_worker_has_begun_there_is_nothing_to_show():
    assert progress_in(Record()) == Progress(0, None, "waiting for a worker")
