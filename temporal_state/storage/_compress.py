"""Compression of what is stored: zstd, and only where it pays.

zstd comes from Python itself from 3.14 on, and before that from its backport of the same interface,
so that one day the extra is empty. The package ``zstandard`` would be a second interface for ever,
and its one-shot ``decompress`` takes a frame's own word for its size before ``max_output_size``.
"""

import asyncio
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from temporal_state.errors import ConfigurationError, DamagedObjectError, TooLargeError
from temporal_state.storage._marks import COMPRESSED

D = TypeVar("D", bytes, bytes | None)
T = TypeVar("T")

SMALL = 64 * 1024
"""Up to so many bytes, work on them takes less than a hop to a thread is worth."""


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """Compresses objects with zstd; a `Transform`, as in ``transform=Compressed()``.

    An object is known to be compressed by its first bytes, so it can be switched on and off at any
    time: objects that are not compressed are read as they are. Needs the extra
    ``temporal-state[zstd]`` before Python 3.14.

    Attributes:
        threshold: Objects of fewer bytes stay as they are, and so do those that would not shrink.
        level: From fast to small; the default suits JSON.
        max_size: Most bytes that an object may have once decompressed; it protects readers from
            small objects that expand without end.

    Raises:
        ConfigurationError: zstd is not installed, or an attribute is out of its range.
    """

    threshold: int = 4096
    level: int = 3
    max_size: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        lowest, highest = _zstd().CompressionParameter.compression_level.bounds()
        if not lowest <= self.level <= highest or self.threshold < 0 or self.max_size < 1:
            raise ConfigurationError(
                f"{self!r} is out of range; level is {lowest} to {highest}, threshold at least 0, "
                "max_size at least 1"
            )

    async def encode(self, key: str, data: bytes) -> bytes:
        """Return the bytes compressed, or as they are if that is better.

        Raises:
            TooLargeError: Nobody could read them back under ``max_size``.
        """
        looks_compressed = data.startswith(COMPRESSED)  # else nobody could tell it from ours
        if len(data) < self.threshold and not looks_compressed:
            return data
        if len(data) > self.max_size:
            raise TooLargeError(
                f"the object {key!r} has {len(data)} bytes, max_size of Compressed is "
                f"{self.max_size}; keep large data elsewhere and store where it lies"
            )
        smaller = await off_loop(self._compress, data)
        return smaller if len(smaller) < len(data) or looks_compressed else data

    async def decode(self, key: str, data: bytes) -> bytes:
        """Return the bytes as they were before `encode`.

        Raises:
            DamagedObjectError: They were changed since, or would expand beyond ``max_size``.
        """
        if not data.startswith(COMPRESSED):
            return data
        try:
            return await off_loop(self._decompress, data)
        except ValueError as error:
            raise DamagedObjectError(
                f"the object {key!r} cannot be decompressed: {error}; look at it, and restore or "
                "remove it"
            ) from error

    def _compress(self, data: bytes) -> bytes:
        parameters = _zstd().CompressionParameter
        options = {parameters.compression_level: self.level, parameters.checksum_flag: 1}
        smaller: bytes = _zstd().compress(data, options=options)
        return smaller

    def _decompress(self, data: bytes) -> bytes:
        frame = _zstd().ZstdDecompressor()
        try:
            result: bytes = frame.decompress(data, self.max_size + 1)
        except _zstd().ZstdError as error:
            raise ValueError(str(error)) from error
        if len(result) > self.max_size:
            raise ValueError(f"it expands to more than max_size ({self.max_size} bytes)")
        if not frame.eof:
            raise ValueError(f"it ends too early ({len(data)} bytes)")
        if frame.unused_data:
            raise ValueError(f"{len(frame.unused_data)} bytes follow its end")
        return result


async def off_loop(function: Callable[[D], T], data: D) -> T:
    """Return what a function makes of bytes, without holding up the event loop for large ones."""
    if len(data or b"") <= SMALL:
        return function(data)
    return await asyncio.to_thread(function, data)


def _zstd() -> ModuleType:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            "compression needs zstd, which is not installed; pip install 'temporal-state[zstd]'"
        ) from error
