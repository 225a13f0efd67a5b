"""Disks that lose power, and disks that are full."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from children import STRACE

needs_strace = pytest.mark.skipif(
    not os.environ.get("CI")  # there it must be
    and (STRACE is None or os.system(f"{STRACE} -o /dev/null true") != 0),
    reason="strace is missing or may not trace here, so system calls cannot be watched or failed",
)


def unavailable(reason: str) -> NoReturn:
    """Skip a proof that cannot run here, and say why; where all of them must run, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this proof: {reason}")
    pytest.skip(reason)


def need_root(what: str) -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        unavailable(f"only root on Linux can {what}")


def _run(*command: object) -> None:
    words = [*map(str, command)]
    if shutil.which(words[0]) is None:
        unavailable(f"{words[0]} is not installed")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        unavailable(f"{' '.join(words)} is not allowed here: {done.stderr.strip()}")


class Disk:
    """An ext4 file system in a file, whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        need_root("make a disk and cut its power")
        self._image = folder / "image"
        self.path = folder / "disk"
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(32 << 20)
        # It writes nothing of its own accord while a test runs.
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._image)
        self.mount()

    def mount(self) -> None:
        _run("mount", "-o", "loop,commit=3600", self._image, self.path)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)

    def cut_power(self) -> None:
        """Drop whatever has not reached the disk, the journal included."""
        disk = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(disk, 0x8004587D, struct.pack("I", 2))  # EXT4_IOC_SHUTDOWN without a flush
        os.close(disk)

    def restart(self) -> None:
        """Look at what is left after the power has come back."""
        self.unmount()
        self.mount()


class SmallDisk:
    """A file system of a few pages and inodes."""

    def __init__(self, path: Path, *, size: str = "64k", inodes: int = 40) -> None:
        need_root("mount a small disk")
        self.path = path
        path.mkdir()
        options = f"size={size},nr_inodes={inodes}"
        _run("mount", "-t", "tmpfs", "-o", options, "none", path)

    def remount(self, options: str) -> None:
        _run("mount", "-o", f"remount,{options}", self.path)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)
