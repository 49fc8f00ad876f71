"""Keys: the vectors that all languages share, and what may be given as keys and tokens."""

from __future__ import annotations

import json
from array import array

import pytest
from conftest import ROOT, key_of, lacking

import kvcache

CASES = json.loads((ROOT / "tests" / "vectors" / "keys.json").read_text())["cases"]


def test_the_shared_vectors() -> None:
    kinds = {"root": 0, "derive": 0, "chain": 0, "many": 0}
    for case in CASES:
        kinds[case["kind"]] += 1
        if case["kind"] == "many":
            parent = bytes.fromhex(case["parent"])
            keys = kvcache.chain_many(parent, case["tokens"], case["tokens_per_block"])
            assert [key.hex() for key in keys] == case["keys"]
            continue
        if case["kind"] == "chain":
            key = kvcache.chain(bytes.fromhex(case["parent"]), case["tokens"])
        else:
            namespace, salt = int(case["namespace"], 16), bytes.fromhex(case["salt"])
            if case["kind"] == "root":
                key = kvcache.chain_root(namespace=namespace, salt=salt)
            else:
                key = kvcache.key(bytes.fromhex(case["bytes"]), namespace=namespace, salt=salt)
        assert key.hex() == case["key"], case
    assert min(kinds.values()) >= 20, kinds


def test_tokens_are_taken_in_every_form() -> None:
    root, tokens = kvcache.chain_root(), [1, 2**31, 2**32 - 1, 7]
    expected = kvcache.chain(root, tokens)
    assert kvcache.chain(root, array("I", tokens)) == expected
    assert kvcache.chain(root, memoryview(array("I", tokens))) == expected
    assert kvcache.chain(root, array("Q", tokens)) == expected
    assert kvcache.chain(root, iter(tokens)) == expected
    try:
        import numpy
    except ImportError:
        lacking("NumPy")
    assert kvcache.chain(root, numpy.array(tokens, numpy.uint32)) == expected
    assert kvcache.chain(root, numpy.array(tokens, numpy.int64)) == expected
    assert kvcache.chain(root, numpy.array([[9, 9], [9, 9]], numpy.uint32)) == kvcache.chain(root, [9] * 4)
    with pytest.raises((OverflowError, TypeError)):
        kvcache.chain(root, [-1])
    with pytest.raises((OverflowError, TypeError)):
        kvcache.chain(root, [2**32])
    with pytest.raises((BufferError, ValueError)):
        kvcache.chain(root, memoryview(array("I", tokens))[::2])


def test_keys_are_a_sequence() -> None:
    numbers = [key_of(number) for number in range(5)]
    keys = kvcache.Keys(numbers)
    assert len(keys) == 5 and list(keys) == numbers and keys[1] == numbers[1] and keys[-1] == numbers[4]
    assert list(keys[1:3]) == numbers[1:3] and list(keys[::-2]) == numbers[::-2] and len(keys[3:1]) == 0
    assert kvcache.Keys(b"".join(numbers)) == keys == kvcache.Keys(keys)
    assert hash(kvcache.Keys(keys)) == hash(keys) and bytes(keys) == b"".join(numbers)
    assert len(kvcache.Keys()) == 0
    with pytest.raises(IndexError):
        keys[5]


@pytest.mark.parametrize("keys", [b"x" * 33, [b"x" * 31], [b""], bytearray(1)])
def test_keys_of_another_size_are_refused(keys: object) -> None:
    with pytest.raises(kvcache.ArgumentError, match="32 bytes"):
        kvcache.Keys(keys)  # type: ignore[arg-type]


def test_a_block_without_tokens_per_block_is_refused() -> None:
    for tokens_per_block in (0, -1):
        with pytest.raises(kvcache.ArgumentError):
            kvcache.chain_many(kvcache.chain_root(), [1, 2, 3], tokens_per_block)
