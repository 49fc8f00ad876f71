"""Open an engine, put a block, read it back twice, close."""

import kvcache

with kvcache.Engine(block_bytes="64KiB", cpu_bytes="64MiB") as engine:
    key = kvcache.key(b"greeting")
    engine.put(key, b"hello, cache")

    # A copy.
    data = engine.get(key)
    assert data is not None
    print(f"get      KVC_OK, {len(data)} bytes: {data.decode()}")

    # The block itself, in place.
    with engine.acquire(key) as view:
        print(f"acquire  KVC_OK, {len(view)} bytes: {str(view.data, 'ascii')}")

    stats = engine.stats()
    hits = stats.get_hits + stats.acquires
    print(f"stats    {stats.blocks_resident} of {stats.slots_count} blocks, {hits} hits")
    if data != b"hello, cache":
        raise SystemExit("the block came back wrong")

print("close    KVC_OK")
print("quickstart: ok")
