"""An inference engine's paged keys and values go into the cache, and come back into other pages.

A block is gathered from pages straight into a reservation, and scattered from a view straight into pages: there is no
copy between.
"""

from __future__ import annotations

import random

import kvcache
from kvcache import layout

TOKENS_PER_PAGE = 16
PAGES_COUNT = 8
GEOMETRY = kvcache.Geometry(layers=4, kv_heads=2, head_dim=64, tokens_per_block=32, dtype="f16")
PAGE_BYTES = GEOMETRY.layer_bytes // 2 // 2  # Half of a block's tokens, of the keys alone.


def pages_make(seed: int | None) -> tuple[list[bytearray], kvcache.Paged]:
    """Pages as vLLM with FlashAttention has them: for each layer [2][page][token][head][element]."""
    source = random.Random(seed)
    size = 2 * PAGES_COUNT * PAGE_BYTES
    layers = [bytearray(size) if seed is None else bytearray(source.randbytes(size)) for _ in range(4)]
    paged = kvcache.Paged(
        GEOMETRY, layers, pages_count=PAGES_COUNT, tokens_per_page=TOKENS_PER_PAGE, order="nhd", planes="outer"
    )
    return layers, paged


def page(layers: list[bytearray], layer: int, plane: int, number: int) -> bytearray:
    """The bytes of one page."""
    first = (plane * PAGES_COUNT + number) * PAGE_BYTES
    return layers[layer][first : first + PAGE_BYTES]


def main() -> None:
    """The sample."""
    before, paged_before = pages_make(7)
    after, paged_after = pages_make(None)
    tokens = list(range(128))
    keys = kvcache.chain_many(kvcache.chain_root(salt=b"offload"), tokens, 32)
    # The request's block table: two pages to a block. And the one that it gets when it comes back.
    table, table_back = [5, 2, 7, 0, 1, 6, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7]

    with kvcache.Engine(block_bytes=GEOMETRY.block_bytes, cpu_bytes="1MiB", geometries=[GEOMETRY]) as engine:
        for place, key in enumerate(keys):
            with engine.reserve(key, GEOMETRY.block_bytes, kvcache.PutInfo(geometry_id=1)) as room:
                layout.gather(paged_before, table[2 * place : 2 * place + 2], room.data)
        print(f"offload  {len(keys)} blocks of {GEOMETRY.block_bytes} bytes gathered from {len(table)} pages")

        with engine.acquire_many(keys) as views:
            for place, view in enumerate(views):
                layout.scatter(paged_after, table_back[2 * place : 2 * place + 2], view.data)
            print(f"load     {len(views)} blocks scattered into {len(table_back)} pages")

    for layer in range(4):
        for plane in range(2):
            for number, number_back in zip(table, table_back):
                if page(before, layer, plane, number) != page(after, layer, plane, number_back):
                    raise SystemExit(f"layer {layer}, plane {plane}, page {number} came back wrong")
    print("verify   every byte is right")
    print("offload: ok")


if __name__ == "__main__":
    main()
