"""What the tests share: an engine, keys by number, and skipping that fails where everything must be there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvcache

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parents[1]


def lacking(what: str) -> None:
    """Skips the test for want of something; fails where the environment says that everything is there (KVC_CI)."""
    if os.environ.get("KVC_CI"):
        pytest.fail(f"{what} is not there, and KVC_CI is set")
    pytest.skip(f"{what} is not there")


def key_of(number: int) -> bytes:
    """The key of block `number`."""
    return kvcache.key(number.to_bytes(8, "little"), namespace=1, salt=b"python")


def content(number: int, nbytes: int = 4096) -> bytes:
    """What block `number` holds."""
    return bytes((number * 131 + place * 7 + (place >> 8)) & 0xFF for place in range(nbytes))


@pytest.fixture
def engine() -> Iterator[kvcache.Engine]:
    """An engine of 256 slots of 4 KiB in tick mode."""
    engine = kvcache.Engine(block_bytes="4KiB", cpu_bytes="1MiB")
    yield engine
    engine.close()
