"""P2: writes that are flushed together are as safe as each by itself."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import needs_strace

from temporal_state.storage import _mounts, _syncfs

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


@needs_strace
async def test_each_object_is_flushed_before_it_has_its_name_and_each_name_before_it_is_told(
    children, tmp_path
):
    told, calls = await saved_together(children, tmp_path)
    assert told == ["done"] * 16
    text = "\n".join(calls)
    names = re.findall(r'rename\w*\(\d+<ROOT/.temporal_state/TMP>, "(\d+)", \d+<ROOT/(d\d+)>', text)
    assert sorted(folder for _, folder in names) == sorted(f"d{n}" for n in range(16))
    for temporary, folder in names:
        made = next(n for n, call in enumerate(calls) if f'TMP>, "{temporary}", O_WRONLY' in call)
        named = next(
            n
            for n, call in enumerate(calls)
            if f'TMP>, "{temporary}", ' in call and "rename" in call
        )
        assert any(made < n < named for n in flushed(calls, f".temporal_state/TMP/{temporary}"))
        assert any(n > named for n in flushed(calls, folder))
    assert len([call for call in calls if is_syncfs(call)]) >= 2
    assert len(re.findall(r"fsync\(", text)) < 16


@needs_strace
async def test_when_the_file_system_cannot_be_flushed_each_file_is(children, tmp_path):
    told, calls = await saved_together(children, tmp_path, "syncfs:error=EIO")
    assert told == ["done"] * 16
    assert len([call for call in calls if re.search(r"\bfsync\(.*= 0", call)]) == 32


@needs_strace
async def test_what_is_lost_by_then_is_told_to_everyone_whose_it_is(children, tmp_path):
    told, _ = await saved_together(children, tmp_path, "syncfs:error=EIO", "fsync:error=EIO")
    for n, said in enumerate(told):
        assert said.startswith(f"StoreError cannot write 'd{n}/doc.json': Input/output error")
        assert (tmp_path / "root" / f"d{n}" / "doc.json").read_bytes() == b"old"


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
        assert _syncfs.FileSystem(root, kind).flush() is together
        (tmp_path / "meminfo").unlink()
        assert not _syncfs.FileSystem(root, kind).flush()
    os.close(root)


def test_what_this_machine_says_of_its_memory_is_understood():
    assert len(_syncfs._WAITING.findall(_syncfs._MEMORY.read_bytes())) == 2
    assert _mounts.file_system("/")
