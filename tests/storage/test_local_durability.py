"""What was acknowledged is there and whole, whatever dies, fails or fills up."""

import asyncio
import json
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import needs_strace

from temporal_state.errors import StoreError, StoreFullError
from temporal_state.storage import LocalStore

OPENED = """
import asyncio, hashlib, json, os, resource, sys
from temporal_state.errors import StoreError, StoreFullError, StorePermissionError
from temporal_state.storage import LocalStore
store = LocalStore(sys.argv[1])
"""


def temporaries(root: Path) -> list[Path]:
    """Files that writers have left, in folders that nobody may own any more."""
    return list((root / ".temporal_state" / "tmp").glob("*/*"))


async def test_no_update_is_lost_among_processes(children, tmp_path):
    program = (
        OPENED
        + """
def increment(data):
    return str(int(data or b"0") + 1).encode()
async def main():
    await store.open()
    for _ in range(5):
        await asyncio.gather(*(store.update("a/count", increment) for _ in range(5)))
        for _ in range(2):
            await store.update("a/count", increment)
    await store.close()
asyncio.run(main())
"""
    )
    running = [children.start(program, tmp_path) for _ in range(8)]
    for process in running:
        await children.output(process)
    assert (tmp_path / "a" / "count").read_bytes() == b"280"


async def test_processes_that_write_many_objects_at_once_never_wait_for_each_other(
    children, tmp_path
):
    program = (
        OPENED
        + """
import random
def increment(data):
    return str(int(data or b"0") + 1).encode()
async def main():
    await store.open()
    for _ in range(5):
        keys = [f"{n}/x" for n in range(60)]
        random.shuffle(keys)
        await asyncio.gather(*(store.update(key, increment) for key in keys))
asyncio.run(main())
"""
    )
    running = [children.start(program, tmp_path) for _ in range(3)]
    for process in running:
        await children.output(process)
    assert {(tmp_path / str(n) / "x").read_bytes() for n in range(60)} == {b"15"}


async def test_of_many_processes_that_create_one_object_one_wins(children, tmp_path):
    program = (
        OPENED
        + """
from temporal_state.errors import ConflictError
async def main():
    await store.open()
    won = []
    for n in range(50):
        try:
            await store.put(f"{n}/x", sys.argv[2].encode(), if_absent=True)
            won.append(n)
        except ConflictError:
            pass
    print(json.dumps(won))
asyncio.run(main())
"""
    )
    running = [children.start(program, tmp_path, who) for who in range(3)]
    wins = [json.loads(await children.output(process)) for process in running]
    assert sorted(n for won in wins for n in won) == list(range(50))
    for who, won in enumerate(wins):
        assert {(tmp_path / str(n) / "x").read_bytes() for n in won} <= {str(who).encode()}


WRITE_FOR_EVER = (
    OPENED
    + """
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def document(n):
    body = json.dumps({"n": n, "fill": "x" * (n * 37 % 30_000)})
    return json.dumps({"body": body, "sum": hashlib.sha256(body.encode()).hexdigest()}).encode()
async def write(key):
    for n in range(1_000_000):
        await store.put(key, document(n))
        os.write(acknowledged, f"{key} {n}\\n".encode())
async def main():
    await store.open()
    await asyncio.gather(*(write(f"d{k}/doc.json") for k in range(8)))
asyncio.run(main())
"""
)


def check_documents(root: Path, acknowledged: str) -> None:
    """Each document is whole, and at least as new as the last one that was acknowledged."""
    last = dict(re.findall(r"^(\S+) (\d+)\n", acknowledged, re.MULTILINE))
    assert last
    for key, n in last.items():
        found = json.loads((root / key).read_bytes())
        body = json.loads(found["body"])
        assert len(body["fill"]) == body["n"] * 37 % 30_000
        assert body["n"] >= int(n)


async def test_kill_leaves_whole_documents_and_all_that_was_acknowledged(children, tmp_path):
    rng = random.Random(11)
    rounds = [(tmp_path / f"root-{n}", tmp_path / f"acknowledged-{n}") for n in range(6)]
    running = [children.start(WRITE_FOR_EVER, *paths) for paths in rounds]
    for process, (root, acknowledged) in zip(running, rounds, strict=True):
        while not acknowledged.exists() or acknowledged.read_bytes().count(b"\n") < 20:
            assert process.poll() is None
            await asyncio.sleep(0.01)
        await asyncio.sleep(rng.uniform(0, 0.3))
        process.kill()
        await asyncio.to_thread(process.wait)
        check_documents(root, acknowledged.read_text())
        store = LocalStore(root)
        await store.open()
        assert temporaries(root) == []
        await store.put("d0/doc.json", b"the locks are free")
        assert len(await store.list()) == 8
        await store.close()


@needs_strace
async def test_what_a_killed_writer_left_is_swept_when_the_store_is_opened_next(children, tmp_path):
    kill = (
        "-o",
        "/dev/null",
        "-e",
        "inject=/^rename:signal=KILL:when=3",
    )
    process = children.start(WRITE_FOR_EVER, tmp_path / "root", tmp_path / "log", watched=kill)
    await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode != 0
    assert temporaries(tmp_path / "root")
    store = LocalStore(tmp_path / "root")
    await store.open()
    assert list((tmp_path / "root" / ".temporal_state" / "tmp").iterdir()) == []
    await store.close()


async def test_what_was_acknowledged_survives_a_power_loss(children, disk, tmp_path):
    program = (
        OPENED
        + """
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
async def write(k):
    for n in range(1_000_000):
        for key in (f"{k}/last.json", f"{k}/{n}/new.json"):
            await store.put(key, json.dumps([n] * 500).encode())
            os.write(acknowledged, f"{key} {n}\\n".encode())
        if n > 3:
            await store.delete(f"{k}/{n - 3}/new.json")
            os.write(acknowledged, f"{k}/{n - 3}/new.json -1\\n".encode())
async def main():
    await store.open()
    await asyncio.gather(*(write(k) for k in range(8)))
asyncio.run(main())
"""
    )
    log = tmp_path / "acknowledged"
    process = children.start(program, disk.path / "new" / "root", log)
    while not log.exists() or log.read_bytes().count(b"\n") < 300:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    disk.cut_power()
    process.kill()
    process.wait()
    disk.restart()
    last = dict(re.findall(r"^(\S+) (-?\d+)\n", log.read_text(), re.MULTILINE))
    newest = {k: max(int(last.get(f"{k}/{n}/new.json", -1)) for n in range(999)) for k in range(8)}
    in_flight = {f"{k}/{n - 3}/new.json" for k, n in newest.items()}  # deletes without an answer
    for key, n in last.items():
        path = disk.path / "new" / "root" / key
        if n == "-1":
            assert not path.exists()
        elif path.exists() or key not in in_flight:
            found = json.loads(path.read_bytes())
            assert len(found) == 500
            assert found[0] >= int(n)


FAIL = (
    OPENED
    + """
from temporal_state.storage import _local
_local._THREADS = 1  # strace counts calls by thread
async def main():
    await store.open()
    try:
        await store.put("d/doc.json", b"new")
    except StoreError as error:
        print(type(error).__name__, error)
    print((await store.get("d/doc.json")).data)
    await store.put("d/doc.json", b"again")
    await store.close()
asyncio.run(main())
"""
)


@needs_strace
@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        ("fsync", "EIO", "StoreError"),
        ("/^rename", "EDQUOT", "StoreFullError"),
        ("/^rename", "EACCES", "StorePermissionError"),
        ("/^rename", "EROFS", "StorePermissionError"),
        ("fsync", "ETIMEDOUT", "StoreTimeoutError"),
        ("flock", "ENOLCK", "StoreError"),
    ],
)
async def test_a_write_that_failed_raises_and_leaves_the_old_object(
    children, tmp_path, call, error, name
):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "doc.json").write_bytes(b"old")
    inject = (
        "-o",
        "/dev/null",
        "-e",
        f"inject={call}:error={error}:when=1",
    )
    out = await children.run(FAIL, tmp_path, watched=inject)
    said, stored = out.splitlines()
    assert said.startswith(f"{name} cannot write 'd/doc.json': ")
    assert stored == "b'old'"
    assert (tmp_path / "d" / "doc.json").read_bytes() == b"again"
    assert temporaries(tmp_path) == []


@needs_strace
async def test_a_name_that_was_not_flushed_is_not_acknowledged(children, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "doc.json").write_bytes(b"old")
    inject = (
        "-o",
        "/dev/null",
        "-e",
        "inject=fsync:error=EIO:when=2",
    )
    out = await children.run(FAIL, tmp_path, watched=inject)
    assert out.startswith("StoreError cannot write 'd/doc.json': Input/output error")


async def traced(children, tmp_path: Path, call: str) -> str:
    """Return the system calls of one call on an opened store that has written before."""
    program = (
        OPENED
        + f"""
async def main():
    await store.open()
    await store.put("warm", b"")
    os.write(2, b"begin")
    await {call}
    os.write(2, b"end")
asyncio.run(main())
"""
    )
    trace, root = tmp_path / "trace", tmp_path / "root"
    calls = "trace=openat,write,fsync,/^rename,/^mkdir,/^unlink"
    await children.run(program, root, watched=("-y", "-o", trace, "-e", calls))
    text = trace.read_text().replace(str(root), "ROOT")
    text = text[text.index('"begin"') : text.index('"end"')]
    return re.sub(r"tmp/[0-9a-f]{32}", "TMP", text)


def assert_order(text: str, *steps: str) -> None:
    position = 0
    for step in steps:
        found = re.compile(step).search(text, position)
        assert found, f"{step} is missing or too early in:\n{text}"
        position = found.end()


@needs_strace
async def test_the_order_of_a_save_survives_a_power_loss(children, tmp_path):
    text = await traced(children, tmp_path, 'store.put("d/doc.json", b"content")')
    steps = [
        r'openat\(\d+<ROOT/.temporal_state/TMP>, "1", O_WRONLY\|O_CREAT\|O_EXCL\|O_NOFOLLOW',
        r'write\(\d+<ROOT/.temporal_state/TMP/1>, "content"',
        r"fsync\(\d+<ROOT/.temporal_state/TMP/1>\)\s+= 0",
        r'mkdirat\(\d+<ROOT>, "d"',
        r'rename\w*\(\d+<ROOT/.temporal_state/TMP>, "1", \d+<ROOT/d>, "doc.json"',
    ]
    assert_order(text, *steps, r"fsync\(\d+<ROOT>")
    assert_order(text, *steps, r"fsync\(\d+<ROOT/d>")


@needs_strace
async def test_a_delete_is_flushed_before_it_returns(children, tmp_path):
    (tmp_path / "root" / "d").mkdir(parents=True)
    (tmp_path / "root" / "d" / "doc.json").write_bytes(b"")
    text = await traced(children, tmp_path, 'store.delete("d/doc.json")')
    assert_order(text, r'unlinkat\(\d+<ROOT/d>, "doc.json", 0\)', r"fsync\(\d+<ROOT/d>\)\s+= 0")


@needs_strace
async def test_a_root_that_is_made_is_durable_with_its_parents(children, tmp_path):
    program = OPENED + "asyncio.run(store.open())\n"
    trace = tmp_path / "trace"
    watch = ("-y", "-o", str(trace), "-e", "trace=fsync")
    await children.run(program, tmp_path / "a" / "b", watched=watch)
    flushed = re.findall(r"fsync\(\d+<(.*?)>", trace.read_text())
    assert flushed == [str(tmp_path), str(tmp_path / "a")]


async def test_the_file_size_limit_is_an_error_that_spares_the_old_object(children, tmp_path):
    program = (
        OPENED
        + """
async def main():
    await store.open()
    await store.put("doc.json", b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for call in (store.put("doc.json", b"x" * 5000), store.put("new", b"x" * 5000)):
        try:
            await call
        except StoreFullError as error:
            print(error)
    print((await store.get("doc.json")).data, await store.list())
    await store.put("doc.json", b"small")
asyncio.run(main())
"""
    )
    *errors, stored = (await children.run(program, tmp_path)).splitlines()
    assert len(errors) == 2
    assert "cannot write 'doc.json': File too large; free space" in errors[0]
    assert stored == "b'old' ['doc.json']"
    assert temporaries(tmp_path) == []


async def test_a_full_disk_is_an_error_that_spares_the_old_object(small_disk):
    store = LocalStore(small_disk.path)
    await store.open()
    await store.put("doc.json", b"old")
    for key in ("doc.json", "other.json"):
        with pytest.raises(StoreFullError, match="No space left"):
            await store.put(key, b"x" * 100_000)
    assert (await store.get("doc.json")).data == b"old"
    assert await store.list() == ["doc.json"]
    await store.put("doc.json", b"fits")
    await store.close()


async def test_a_disk_without_inodes_is_full_and_loses_nothing(small_disk):
    store = LocalStore(small_disk.path)
    await store.open()
    stored: list[str] = []

    async def fill() -> None:
        for n in range(40):
            await store.put(f"{n:02}/doc.json", b"x")
            stored.append(f"{n:02}/doc.json")

    with pytest.raises(StoreFullError, match="No space left"):
        await fill()
    assert stored
    assert await store.list() == stored
    assert await asyncio.gather(*(store.delete(key) for key in stored)) == [True] * len(stored)
    await store.put("again", b"")
    await store.close()


@pytest.fixture
def others_root() -> Iterator[Path]:
    """A root that belongs to somebody else and may be read by all."""
    path = Path(tempfile.mkdtemp())
    (path / "doc.json").write_bytes(b"old")
    path.chmod(0o555)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


async def test_a_read_only_root_can_be_read_and_refuses_writes(children, others_root):
    program = (
        OPENED
        + """
if os.geteuid() == 0:  # whom no mode stops
    os.setuid(65534)
async def main():
    await store.open()
    print((await store.get("doc.json")).data, await store.list())
    for call in (
        store.put("doc.json", b"new"), store.update("new", lambda _: b""), store.delete("doc.json")
    ):
        try:
            await call
        except StorePermissionError as error:
            print(isinstance(error, PermissionError), error)
    await store.close()
asyncio.run(main())
"""
    )
    found, *errors = (await children.run(program, others_root)).splitlines()
    assert found == "b'old' ['doc.json']"
    assert [error.partition(";")[0] for error in errors] == [
        "True cannot write 'doc.json': Permission denied",
        "True cannot write 'new': Permission denied",
        "True cannot delete 'doc.json': Permission denied",
    ]


async def test_what_may_not_be_read_is_an_error_and_not_absent(children, others_root):
    (others_root / "doc.json").chmod(0)
    program = (
        OPENED
        + """
if os.geteuid() == 0:
    os.setuid(65534)
async def main():
    await store.open()
    try:
        await store.get("doc.json")
    except StorePermissionError as error:
        print(error)
asyncio.run(main())
"""
    )
    assert "cannot read 'doc.json': Permission denied" in await children.run(program, others_root)


async def test_errors_keep_what_the_system_said(local, monkeypatch):
    def fail(_fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("temporal_state.storage._files.sync", fail)
    with pytest.raises(StoreError) as caught:
        await local.put("doc.json", b"1")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == 5
