#!/usr/bin/env python3
"""Makes the key vectors with hashlib: an implementation that shares nothing with the library's.

    make_keys.py        > keys.json
    make_keys.py --text > keys.txt

The definition is the table at the top of src/key/mod.rs. Both files hold the same cases in the same order.
"""

import hashlib
import json
import struct
import sys

TEXT_HEAD = """\
# Vectors for the key functions, made by make_keys.py. One case a line, fields separated by one space.
# All fields after the first are hexadecimal; '-' stands for an empty one. No line is longer than 16383 bytes.
# Numbers have 16 digits, tokens 8 digits each and keys 64, written one after the other.
#   derive <namespace> <salt> <bytes> <key>
#   root <namespace> <salt> <key>
#   chain <parent> <tokens> <key>
#   many <parent> <tokens per block> <tokens> <keys of the full blocks>
"""


def derive(namespace, salt, data):
    head = b"kvcache:bytes:v1" + struct.pack("<QQ", namespace, len(salt))
    return hashlib.sha256(head + salt + data).digest()


def chain_root(namespace, salt):
    return hashlib.sha256(b"kvcache:root_:v1" + struct.pack("<QQ", namespace, len(salt)) + salt).digest()


def chain(parent, tokens):
    return hashlib.sha256(b"kvcache:chain:v1" + parent + struct.pack(f"<{len(tokens)}I", *tokens)).digest()


def chain_many(parent, tokens, tokens_per_block):
    keys = []
    for first in range(0, len(tokens) - tokens_per_block + 1, tokens_per_block):
        parent = chain(parent, tokens[first : first + tokens_per_block])
        keys.append(parent)
    return keys


def pattern(size, seed):
    """Bytes without a period that a wrong block size could hide in."""
    return bytes((seed + 7 * index + (index >> 8) * 13) & 0xFF for index in range(size))


def token_pattern(count, seed):
    return [(seed + 0x9E3779B1 * index) & 0xFFFFFFFF for index in range(count)]


def cases():
    namespaces = [0, 1, 2**63, 2**64 - 1]
    salts = [b"", b"\x00", b"salt", pattern(32, 3), pattern(1000, 5)]
    data = [b"", b"\x00", b"hello", pattern(36, 11), pattern(55, 1), pattern(56, 2), pattern(64, 4), pattern(4096, 9)]
    for namespace in namespaces:
        for salt in salts:
            yield {"kind": "root", "namespace": namespace, "salt": salt, "key": chain_root(namespace, salt)}
            for item in data if namespace in (0, 2**63) else data[:3]:
                key = derive(namespace, salt, item)
                yield {"kind": "derive", "namespace": namespace, "salt": salt, "bytes": item, "key": key}

    parents = [bytes(32), b"\xff" * 32, chain_root(0, b""), chain_root(2**63, b"salt")]
    token_lists = [
        [],
        [0],
        [2**32 - 1],
        [0, 1, 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1],
        token_pattern(16, 1),
        token_pattern(63, 2),
        token_pattern(64, 3),
        token_pattern(65, 4),
        token_pattern(256, 5),
    ]
    for parent in parents:
        for tokens in token_lists:
            yield {"kind": "chain", "parent": parent, "tokens": tokens, "key": chain(parent, tokens)}

    for parent in parents[1:]:
        for count, per_block in [(0, 16), (15, 16), (16, 16), (17, 16), (33, 16), (80, 16), (5, 1), (7, 2), (200, 64), (130, 65)]:
            tokens = token_pattern(count, count)
            keys = chain_many(parent, tokens, per_block)
            yield {"kind": "many", "parent": parent, "tokens_per_block": per_block, "tokens": tokens, "keys": keys}


def text(value):
    if isinstance(value, int):
        return f"{value:016x}"
    if isinstance(value, bytes):
        return value.hex() or "-"
    return "".join(f"{item:08x}" if isinstance(item, int) else item.hex() for item in value) or "-"


def plain(value):
    """JSON as every parser reads it: a namespace is 16 digits, since 2^63 is not a number everywhere."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def main():
    if sys.argv[1:] == ["--text"]:
        print(TEXT_HEAD, end="")
        for case in cases():
            print(case["kind"], *(text(value) for name, value in case.items() if name != "kind"))
        return
    rows = []
    for case in cases():
        row = {name: plain(value) for name, value in case.items()}
        if "namespace" in row:
            row["namespace"] = text(row["namespace"])
        rows.append("    " + json.dumps(row))
    print('{\n  "version": 1,\n  "cases": [\n' + ",\n".join(rows) + "\n  ]\n}")


if __name__ == "__main__":
    main()
