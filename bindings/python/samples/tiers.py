"""Memory, an NVMe file and a disk file: put more than memory holds, flush, close, open again, find the blocks."""

import hashlib
import tempfile
from pathlib import Path

import kvcache

BLOCK_BYTES = 64 << 10
BLOCKS_COUNT = 128


def content(number: int) -> bytes:
    """What block `number` holds."""
    return hashlib.sha256(number.to_bytes(8, "little")).digest() * (BLOCK_BYTES // 32)


def engine_open(folder: Path) -> kvcache.Engine:
    """2 MiB of memory above 4 MiB and 16 MiB of files."""
    return kvcache.Engine(
        block_bytes=BLOCK_BYTES,
        cpu_bytes="2MiB",
        nvme=(folder / "nvme.kvc", "4MiB"),
        disk=(folder / "disk.kvc", "16MiB"),
    )


def main() -> None:
    """The sample."""
    keys = kvcache.Keys(kvcache.key(number.to_bytes(8, "little")) for number in range(BLOCKS_COUNT))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with engine_open(folder) as engine:
            for number, key in enumerate(keys):
                engine.put(key, content(number))
                engine.tick()
            engine.flush()
            memory = engine.stats().slots_count
        print(f"put      {BLOCKS_COUNT} blocks of {BLOCK_BYTES // 1024} KiB, memory holds {memory}")
        print("flush    KVC_OK")

        with engine_open(folder) as engine:
            tiers = engine.match_each(keys)
            found = sum(1 for tier in tiers if tier)
            buffer = bytearray(BLOCK_BYTES)
            right = 0
            for number, key in enumerate(keys):
                if engine.get_into(key, buffer) is not None:
                    if buffer != content(number):
                        raise SystemExit(f"block {number} came back wrong")
                    right += 1
        print(f"reopen   {found} of {BLOCKS_COUNT} blocks found, {right} read and right")
        if found != BLOCKS_COUNT or right != BLOCKS_COUNT:
            raise SystemExit("blocks are missing")
    print("tiers: ok")


if __name__ == "__main__":
    main()
