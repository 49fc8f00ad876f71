"""Paged layouts against an oracle in plain Python, codecs, and tables."""

from __future__ import annotations

import random
import struct
import threading
from pathlib import Path

import pytest

import kvcache
from kvcache import codecs, layout, raw

GEOMETRY = kvcache.Geometry(layers=3, kv_heads=2, head_dim=32, tokens_per_block=8, dtype="f16")
VECTOR = 64
PAGES = 6


def offset(order: str, planes: str, tokens: int, page: int, plane: int, token: int, head: int) -> int:
    """Where a vector lies in the buffer of its layer, counted in vectors as the table of the header has it."""
    inside = token * 2 + head if order == "nhd" else head * tokens + token
    if planes == "inner":
        return (page * 2 + plane) * tokens * 2 + inside
    if planes == "outer":
        return (plane * PAGES + page) * tokens * 2 + inside
    return page * tokens * 2 + inside


@pytest.mark.parametrize("order", ["nhd", "hnd"])
@pytest.mark.parametrize("planes", ["separate", "outer", "inner"])
@pytest.mark.parametrize("tokens", [4, 8, 16])
def test_gather_and_scatter(order: str, planes: str, tokens: int) -> None:
    source = random.Random(tokens)
    size = PAGES * tokens * 2 * VECTOR * (1 if planes == "separate" else 2)
    count = 6 if planes == "separate" else 3
    buffers = [bytearray(source.randbytes(size)) for _ in range(count)]
    paged = kvcache.Paged(
        GEOMETRY,
        buffers[:3],
        buffers[3:],
        pages_count=PAGES,
        tokens_per_page=tokens,
        order=order,
        planes=planes,
    )
    pages = [4, 1] if tokens == 4 else [4]
    first = 8 if tokens == 16 else 0
    expected = b""
    for layer in range(3):
        for plane in range(2):
            buffer = buffers[3 + layer] if planes == "separate" and plane else buffers[layer]
            for token in range(8):
                page, inside = pages[(first + token) // tokens], (first + token) % tokens
                for head in range(2):
                    at = offset(order, planes, tokens, page, plane, inside, head) * VECTOR
                    expected += buffer[at : at + VECTOR]
    block = bytearray(GEOMETRY.block_bytes)
    layout.gather(paged, pages, block, token_first=first, copy="hot")
    assert block == expected
    part = bytearray(GEOMETRY.layer_bytes)
    layout.gather_layer(paged, pages, 1, part, token_first=first)
    assert part == expected[len(part) : 2 * len(part)]

    back = kvcache.Paged(
        GEOMETRY,
        [bytearray(size) for _ in range(3)],
        [bytearray(size) for _ in range(count - 3)],
        pages_count=PAGES,
        tokens_per_page=tokens,
        order=order,
        planes=planes,
    )
    layout.scatter(back, pages, bytes(block), token_first=first)
    again = bytearray(GEOMETRY.block_bytes)
    layout.gather(back, pages, again, token_first=first)
    assert again == block
    layout.scatter_layer(back, pages, 2, bytes(len(part)), token_first=first)
    layout.gather(back, pages, again, token_first=first)
    assert again == expected[: 2 * len(part)] + bytes(len(part))


def test_wrong_pages_are_refused() -> None:
    def paged(size: int, **more: int) -> kvcache.Paged:
        return kvcache.Paged(
            GEOMETRY,
            [bytearray(size) for _ in range(3)],
            pages_count=PAGES,
            tokens_per_page=8,
            order="nhd",
            planes="inner",
            **more,
        )

    size = PAGES * 8 * 2 * 2 * VECTOR
    right, block = paged(size), bytearray(GEOMETRY.block_bytes)
    with pytest.raises(kvcache.ArgumentError, match="a buffer has"):
        paged(size - 1)
    with pytest.raises(kvcache.ArgumentError, match="a buffer has"):
        paged(size, page_stride_bytes=4096)
    for pages in ([PAGES], [0, 1], []):
        with pytest.raises(kvcache.ArgumentError):
            layout.gather(right, pages, block)
    with pytest.raises(kvcache.errors.TooSmallError):
        layout.gather(right, [0], block[:-1])
    with pytest.raises(kvcache.ArgumentError):
        layout.gather_layer(right, [0], 3, block)
    with pytest.raises(OverflowError):
        layout.gather(right, [-1], block)
    with pytest.raises(kvcache.ConfigError):
        _ = kvcache.Geometry(layers=0, kv_heads=1, head_dim=1, tokens_per_block=1, dtype="u8").block_bytes
    with pytest.raises(kvcache.ArgumentError, match="bf16"):
        kvcache.Geometry(layers=1, kv_heads=1, head_dim=1, tokens_per_block=1, dtype="bf17")


def block_of(seed: int) -> bytes:
    """A block of halves, normally distributed."""
    source = random.Random(seed)
    return b"".join(struct.pack("<e", source.gauss(0, 1)) for _ in range(GEOMETRY.block_bytes // 2))


def test_a_codec_of_its_own() -> None:
    block = block_of(1)
    config = kvcache.CodecConfig("i8", "t4", geometry=GEOMETRY, exact_tokens=2, layers=[(0, 0, "raw", "lz")])
    description = codecs.describe(config)
    assert description.block_bytes == GEOMETRY.block_bytes and not description.exact
    with codecs.Codec(config) as codec:
        code = codec.encode(block, position=100)
        assert len(code) < len(block)
        assert codec.inspect(code).position == 100 and codec.inspect(code).codec == kvcache.CodecKind.T4
        back = codec.decode(code)
        assert back is not None and len(back) == len(block) and back[: GEOMETRY.layer_bytes] == block[: len(back) // 3]
        target = bytearray(GEOMETRY.layer_bytes)
        codec.decode_layer(code, 2, target)
        assert target == back[-len(target) :]
        errors = [
            abs(one - other)
            for (one,), (other,) in zip(struct.iter_unpack("<e", block), struct.iter_unpack("<e", back))
        ]
        assert 0 < max(errors) < 1
        with pytest.raises(kvcache.errors.DamagedError):
            codec.decode(b"\0" * len(code))
        with pytest.raises(kvcache.ArgumentError):
            codec.encode(block[:-2])
        # Threads have scratch memory of their own.
        codes: list[bytes] = []
        together = threading.Barrier(4)

        def encode() -> None:
            together.wait()
            codes.extend({codec.encode(block, position=100) for _ in range(200)})

        threads = [threading.Thread(target=encode) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [code] * 4
    with pytest.raises(kvcache.HandleError, match="codec is closed"):
        codec.encode(block)
    codec.close()
    assert codecs.codec_name(kvcache.CodecKind.T3) == "t3" and codecs.codec_name(99) == "unknown"
    with pytest.raises(kvcache.ConfigError):
        codecs.Codec(kvcache.CodecConfig("vq", geometry=GEOMETRY))


def test_a_tier_with_a_codec(tmp_path: Path) -> None:
    block = block_of(2)
    with kvcache.Engine(
        block_bytes=GEOMETRY.block_bytes,
        cpu_bytes=8192,
        geometries=[GEOMETRY],
        nvme=(tmp_path / "nvme", "4MiB"),
        nvme_codec=kvcache.CodecConfig("lz"),
        workers_count=0,
    ) as engine:
        keys = [kvcache.key(name) for name in (b"a", b"b")]
        engine.put(keys[0], block, kvcache.PutInfo(geometry_id=1))
        engine.flush()
        engine.put(keys[1], block_of(3), kvcache.PutInfo(geometry_id=1))
        engine.flush()
        assert engine.get(keys[0]) == block
        tier = engine.tier("nvme")
        assert tier.codec_key == kvcache.CodecKind.LZ and 0 < tier.coded_bytes < tier.plain_bytes


def test_tables_are_trained_saved_and_loaded(tmp_path: Path) -> None:
    source = random.Random(5)
    tokens, heads, head_dim = 256, 1, 32

    def plane() -> bytes:
        return struct.pack(f"<{tokens * heads * head_dim}e", *(source.gauss(0, 1) for _ in range(tokens * head_dim)))

    samples = codecs.Samples(
        [plane()],
        [plane()],
        dtype="f16",
        kv_heads=heads,
        head_dim=head_dim,
        tokens=tokens,
        codecs=["xc"],
        rope=raw.KVC_ROPE_NONE,
    )
    tables = codecs.train(samples)
    info = codecs.tables_check(tables)
    assert info.bytes == len(tables) and info.layers_count == 1 and info.codecs == 1 << kvcache.CodecKind.XC
    path = tmp_path / "model.kvct"
    codecs.tables_save(path, tables)
    loaded = codecs.tables_load(path)
    assert loaded == tables
    geometry = kvcache.Geometry(layers=1, kv_heads=1, head_dim=32, tokens_per_block=16, dtype="f16")
    with codecs.Codec(kvcache.CodecConfig("xc", geometry=geometry, tables=loaded)) as codec:
        block = plane()[: geometry.block_bytes]
        code = codec.encode(block)
        assert len(code) < len(block) and codec.inspect(code).tables_digest == info.digest
        assert len(codec.decode(code) or b"") == len(block)
    path.write_bytes(b"something else, and not short: " * 100)
    with pytest.raises(kvcache.errors.FileMismatchError):
        codecs.tables_load(path)
    with pytest.raises(kvcache.KvcError):
        codecs.tables_load(tmp_path / "nothing")
    with pytest.raises(kvcache.ArgumentError, match="bytes a plane"):
        codecs.Samples([b""], [b""], dtype="f16", kv_heads=1, head_dim=32, tokens=256)
