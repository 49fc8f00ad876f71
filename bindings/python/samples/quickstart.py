"""Open an engine, put a block, read it back twice, close."""

import kvcache

with kvcache.Engine(block_bytes="64KiB", cpu_bytes="64MiB") as engine:
    key = kvcache.key(b"greeting")
    engine.put(key, b"hello, cache")

    # A copy. `engine.get(key)` gives it as new bytes; this one goes into memory that is there.
    buffer = bytearray(64)
    nbytes = engine.get_into(key, buffer)
    data = bytes(buffer[:nbytes])
    print(f"get      KVC_OK, {nbytes} bytes: {data.decode()}")

    # The block itself, in place.
    with engine.acquire(key) as view:
        print(f"acquire  KVC_OK, {len(view)} bytes: {str(view.data, 'ascii')}")

    stats = engine.stats()
    print(
        f"stats    {stats.blocks_resident} of {stats.slots_count} blocks, "
        f"{stats.get_hits} hit by get, {stats.acquires} acquired"
    )
    if data != b"hello, cache":
        raise SystemExit("the block came back wrong")

print("close    KVC_OK")
print("quickstart: ok")
