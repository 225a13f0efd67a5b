"""P2: writes that are flushed together are as safe as each by itself."""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import needs_strace

from temporal_state.errors import StoreError
from temporal_state.storage import LocalStore, _mounts, _syncfs

SAVE_TOGETHER = """
import asyncio, os, sys
from temporal_state.errors import StoreError
from temporal_state.storage import LocalStore, _mounts, _syncfs
_syncfs._TRUSTED.add(_mounts.file_system(sys.argv[1]))
_syncfs._MUCH = 1 << 40  # whatever else this machine writes
store = LocalStore(sys.argv[1])

async def put(n):
    try:
        await store.put(f"d{n}/doc.json", b"new")
    except StoreError as error:
        return f"{type(error).__name__} {error}"
    finally:
        os.write(2, f"told {n};".encode())
    return "done"

async def main():
    await store.open()
    os.write(2, b"begin")
    outcomes = await asyncio.gather(*(put(n) for n in range(16)))
    os.write(2, b"end")
    print(*outcomes, sep="\\n")
    await store.close()

asyncio.run(main())
"""


async def saved_together(children, tmp_path: Path, *inject: str) -> tuple[list[str], list[str]]:
    """Put sixteen objects at once; return what each was told, and the system calls, in order."""
    trace, root = tmp_path / "trace", tmp_path / "root"
    for n in range(16):
        (root / f"d{n}").mkdir(parents=True)
        (root / f"d{n}" / "doc.json").write_bytes(b"old")
    watch = ["-y", "-o", str(trace), "-e", "trace=openat,write,fsync,syncfs,/^rename"]
    for what in inject:
        watch += ["-e", f"inject={what}"]
    out = await children.run(SAVE_TOGETHER, root, watched=watch)
    text = trace.read_text().replace(str(root), "ROOT")
    text = text[text.index('"begin"') : text.index('"end"')]
    return out.splitlines(), [*ended(re.sub(r"tmp/[0-9a-f]{32}", "TMP", text).splitlines())]


def ended(lines: list[str]) -> Iterator[str]:
    """Yield each system call at the moment of its end, whatever other threads did meanwhile."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, _, call = line.partition(" ")
        if call.endswith(" <unfinished ...>"):
            begun[thread] = call.removesuffix(" <unfinished ...>")
        elif resumed := re.match(r" *<\.\.\. \w+ resumed>", call):
            yield begun.pop(thread) + call[resumed.end() :]
        else:
            yield call


def flushed(calls: list[str], descriptor: str) -> list[int]:
    """Where in the calls a file was flushed, by itself or with its file system."""
    alone = re.compile(rf"fsync\(\d+<ROOT/{descriptor}>\)\s+= 0")
    return [n for n, call in enumerate(calls) if alone.search(call) or is_syncfs(call)]


def is_syncfs(call: str) -> bool:
    """Return whether a call flushed the file system."""
    return re.search(r"syncfs\(\d+<ROOT>\)\s+= 0", call) is not None


def position(calls: list[str], *parts: str) -> int:
    """Where in the calls the last one is that has all these parts."""
    return max(n for n, call in enumerate(calls) if all(part in call for part in parts))


def names_in(calls: list[str]) -> dict[str, str]:
    """Which object each temporary file became."""
    named = re.compile(r'rename\w*\(\d+<ROOT/.temporal_state/TMP>, "(\d+)", \d+<ROOT/(d\d+)>')
    return {found[1]: found[2] for call in calls if (found := named.search(call))}


@needs_strace
async def test_each_object_is_flushed_before_it_has_its_name_and_each_name_before_it_is_told(
    children, tmp_path
):
    told, calls = await saved_together(children, tmp_path)
    assert told == ["done"] * 16
    names = names_in(calls)
    assert sorted(names.values()) == sorted(f"d{n}" for n in range(16))
    for temporary, folder in names.items():
        written = position(calls, f"TMP/{temporary}>", "write(")
        named = position(calls, f'TMP>, "{temporary}", ', "rename")
        known = position(calls, f'"told {folder[1:]};"')
        assert any(written < n < named for n in flushed(calls, f".temporal_state/TMP/{temporary}"))
        assert any(named < n < known for n in flushed(calls, folder))
    assert len([call for call in calls if is_syncfs(call)]) >= 2
    assert len([call for call in calls if "fsync(" in call]) < 16


@needs_strace
async def test_when_the_files_cannot_be_flushed_together_each_is_by_itself(children, tmp_path):
    told, calls = await saved_together(children, tmp_path, "syncfs:error=EIO:when=1")
    assert told == ["done"] * 16
    for temporary in names_in(calls):
        named = position(calls, f'TMP>, "{temporary}", ', "rename")
        assert any(n < named for n in flushed(calls, f".temporal_state/TMP/{temporary}"))
    assert any("(INJECTED)" in call for call in calls)


@needs_strace
async def test_names_that_could_not_be_flushed_together_are_nobodys_success(children, tmp_path):
    told, calls = await saved_together(children, tmp_path, "syncfs:error=EIO:when=2")
    failed = next(n for n, call in enumerate(calls) if "(INJECTED)" in call)
    before = next(n for n in range(failed - 1, -1, -1) if is_syncfs(calls[n]))
    lost = {int(folder[1:]) for folder in names_in(calls[before:failed]).values()}
    assert len(lost) > 1
    for n, said in enumerate(told):
        if n in lost:
            assert said.startswith(f"StoreError cannot write 'd{n}/doc.json': Input/output error")
        else:
            assert said == "done"


@needs_strace
async def test_what_is_lost_by_then_is_told_to_everyone_whose_it_is(children, tmp_path):
    told, _ = await saved_together(children, tmp_path, "syncfs:error=EIO", "fsync:error=EIO")
    for n, said in enumerate(told):
        assert said.startswith(f"StoreError cannot write 'd{n}/doc.json': Input/output error")
        assert (tmp_path / "root" / f"d{n}" / "doc.json").read_bytes() == b"old"


async def test_a_file_system_that_has_ended_in_silence_has_kept_no_names(disk, monkeypatch):
    # So do kernels before 6.13: what fails is the journal, and the flush says nothing of that.
    flushes = []

    def cut_at_names(_: _syncfs.FileSystem) -> None:
        flushes.append(1)
        if len(flushes) == 2:
            disk.cut_power()

    monkeypatch.setattr(_syncfs, "_MUCH", 1 << 40)
    monkeypatch.setattr(_syncfs.FileSystem, "flush", cut_at_names)
    store = LocalStore(disk.path / "root")
    await store.open()
    outcomes = await asyncio.gather(
        *(store.put(f"d{n}/doc.json", b"new") for n in range(8)), return_exceptions=True
    )
    assert len(flushes) >= 2
    # The first may have been written alone before the others came.
    assert all(isinstance(outcome, StoreError) for outcome in outcomes[1:])
    await store.close()
    disk.restart()
    assert [n for n in range(1, 8) if (disk.path / "root" / f"d{n}" / "doc.json").exists()] == []


MEMORY = "MemTotal: 9 kB\nDirty: {} kB\nWriteback: {} kB\nWritebackTmp: 99999 kB\n"


@pytest.mark.parametrize(
    ("kind", "release", "memory", "together"),
    [
        ("ext4", "5.8.0", MEMORY.format(4000, 0), True),
        ("xfs", "6.18.44-a", MEMORY.format(8000, 192), True),
        ("ext4", "6.1.0", MEMORY.format(8000, 193), False),
        ("ext4", "6.1.0", "Dirty: 4000 kB\n", False),
        ("ext4", "5.7.19", MEMORY.format(0, 0), False),
        ("ext4", "unknown", MEMORY.format(0, 0), False),
        ("overlay", "6.1.0", MEMORY.format(0, 0), False),
        ("", "6.1.0", MEMORY.format(0, 0), False),
    ],
)
def test_a_file_system_is_flushed_only_where_that_is_safe_and_others_write_little(
    tmp_path, kind, release, memory, together
):
    (tmp_path / "meminfo").write_text(memory)
    system = os.uname_result(("Linux", "host", release, "#1", "x86_64"))
    root = os.open(tmp_path, os.O_RDONLY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_syncfs, "_MEMORY", tmp_path / "meminfo")
        patch.setattr(os, "uname", lambda: system)
        assert _syncfs.FileSystem(root, kind).can_flush is together
        (tmp_path / "meminfo").unlink()
        assert not _syncfs.FileSystem(root, kind).can_flush
    os.close(root)


def test_what_this_machine_says_of_its_memory_is_understood():
    assert len(_syncfs._WAITING.findall(_syncfs._MEMORY.read_bytes())) == 2
    assert _mounts.file_system("/")
