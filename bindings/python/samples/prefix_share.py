"""Two requests share the beginning of their prompts: the second finds the blocks of the first, and computes the rest.

Each prompt is cut into blocks of 16 tokens, and each block's key is chained to the one before, so equal keys mean equal
prompts up to there. Blocks go in without a copy (reserve, fill in place, commit) and come out without one (acquire).
"Computing" is a function of the block's key here, so that every byte can be checked.
"""

from __future__ import annotations

import kvcache

TOKENS_PER_BLOCK = 16
GEOMETRY = kvcache.Geometry(layers=4, kv_heads=2, head_dim=64, tokens_per_block=TOKENS_PER_BLOCK, dtype="bf16")


def computed(key: bytes, nbytes: int) -> bytes:
    """What a model would compute for the block."""
    return b"".join(bytes((byte + row) & 0xFF for byte in key) for row in range(nbytes // 32))


def serve(engine: kvcache.Engine, tokens: list[int]) -> int:
    """Serves one request: takes what is there, computes and stores the rest. How many blocks were computed."""
    # What makes the blocks of two models different belongs into the salt of the root.
    root = kvcache.chain_root(salt=b"llama-3.1-8b bf16 16x32x8x128")
    keys = kvcache.chain_many(root, tokens, TOKENS_PER_BLOCK)

    # The longest prefix that is there stays where it is until it is released.
    with engine.acquire_many(keys) as views:
        for key, view in zip(keys, views):
            if view.data != computed(key, len(view)):
                raise SystemExit("a block came back wrong")
        shared = len(views)
        for place in range(shared, len(keys)):
            info = kvcache.PutInfo(
                parent=keys[place - 1] if place else root, chain_index=place, tokens_count=TOKENS_PER_BLOCK
            )
            try:
                with engine.reserve(keys[place], GEOMETRY.block_bytes, info) as room:
                    room.write(computed(keys[place], len(room)))
            except (kvcache.ExistsError, kvcache.PendingError):
                pass  # Another request was quicker with this block.
    print(f"{len(tokens):3} tokens: {len(keys):2} blocks, {shared:2} found, {len(keys) - shared:2} computed")
    return len(keys) - shared


with kvcache.Engine(block_bytes=GEOMETRY.block_bytes, cpu_bytes=64 * GEOMETRY.block_bytes) as cache:
    # One system prompt of 160 tokens, two questions.
    first = [1000 + i for i in range(224)]
    second = [1000 + i if i < 160 else 5000 + i for i in range(208)]
    if [serve(cache, first), serve(cache, second), serve(cache, first)] != [14, 3, 0]:
        raise SystemExit("not what was to be shared")
print("prefix_share: ok")
