#!/usr/bin/env python3
"""What Python costs over C, measured in turns in one process; prints one JSON object.

    bench.py [ROUNDS]

The C side are loops in a library that the system's C compiler makes here, around the very functions that the package
calls. The package is imported as it is installed, or from src with the library that KVCACHE_LIBRARY names.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if os.environ.get("KVCACHE_LIBRARY"):
    sys.path.insert(0, str(HERE / "src"))

import kvcache  # noqa: E402
from kvcache import raw  # noqa: E402

MATCH_KEYS = 256
MATCH_BLOCKS = 16 << 10
GET_BYTES = 2 << 20
GET_BLOCKS = 64

LOOPS = r"""
#include <stdint.h>
#include <time.h>
typedef int32_t match_t(const void *, const void *, uint64_t, uint32_t, uint64_t *);
typedef int32_t get_t(const void *, const void *, void *, uint64_t, uint32_t, uint64_t *);
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}
double match_ns(match_t *match, const void *engine, const void *keys, uint64_t count, uint64_t calls) {
    double begun = now();
    for (uint64_t i = 0; i < calls; i++) {
        uint64_t matched;
        if (match(engine, keys, count, 0, &matched) != 0 || matched != count)
            return -1;
    }
    return (now() - begun) / (double)calls;
}
double get_ns(get_t *get, const void *engine, const char *keys, uint64_t count, void *target, uint64_t bytes) {
    double begun = now();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t got;
        if (get(engine, keys + 32 * i, target, bytes, 0, &got) != 0 || got != bytes)
            return -1;
    }
    return (now() - begun) / (double)count;
}
"""

OPENING = """
import time
begun = time.perf_counter_ns()
import kvcache
engine = kvcache.Engine(block_bytes="2MiB", cpu_bytes="4GiB", prefault="none")
print(time.perf_counter_ns() - begun)
engine.close()
"""


def loops_compile(folder: Path) -> ctypes.CDLL:
    """The C loops."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("bench.py: a C compiler is needed for the C side")
    source, library = folder / "loops.c", folder / "loops.so"
    source.write_text(LOOPS)
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    loops = ctypes.CDLL(str(library))
    for name in ("match_ns", "get_ns"):
        getattr(loops, name).restype = ctypes.c_double
    return loops


def pairs(rounds: int, c_side: Callable[[], float], python_side: Callable[[], float]) -> dict[str, float]:
    """Both sides in turn; medians, and the median of each round's ratio."""
    both = []
    for place in range(rounds):
        sides = (c_side, python_side) if place % 2 else (python_side, c_side)
        times = [side() for side in sides]
        both.append(tuple(times) if place % 2 else tuple(reversed(times)))
    assert all(c > 0 for c, _ in both), "the C side failed"
    return {
        "c_ns": statistics.median(c for c, _ in both),
        "python_ns": statistics.median(python for _, python in both),
        "ratio": statistics.median(python / c for c, python in both),
    }


def match_bench(loops: ctypes.CDLL, rounds: int) -> dict[str, Any]:
    """A batched match of 256 keys, all of them there."""
    calls = 2000
    with kvcache.Engine(block_bytes=64, cpu_bytes=64 * MATCH_BLOCKS) as engine:
        keys = kvcache.chain_many(kvcache.chain_root(), range(MATCH_BLOCKS // 2), 1)
        for key in keys:
            engine.put(key, b"x")
        # One prompt: 256 blocks that were put one after the other.
        prompt = keys[1000 : 1000 + MATCH_KEYS]
        data = bytes(prompt)
        count, handle = ctypes.c_uint64(MATCH_KEYS), ctypes.c_void_p(engine.handle)

        def c_side() -> float:
            return float(loops.match_ns(raw.kvc_match, handle, data, count, ctypes.c_uint64(calls)))

        def python_side() -> float:
            match = engine.match
            begun = time.perf_counter_ns()
            for _ in range(calls):
                match(prompt)
            return (time.perf_counter_ns() - begun) / calls

        assert engine.match(prompt) == MATCH_KEYS
        return {**pairs(rounds, c_side, python_side), "wanted_max": 1.5}


def get_bench(loops: ctypes.CDLL, rounds: int) -> dict[str, Any]:
    """A get of 2 MiB into a NumPy array, of blocks that are not in the processor's cache."""
    import numpy

    with kvcache.Engine(block_bytes=GET_BYTES, cpu_bytes=GET_BYTES * GET_BLOCKS) as engine:
        keys = kvcache.chain_many(kvcache.chain_root(), range(GET_BLOCKS), 1)
        for number, key in enumerate(keys):
            engine.put(key, bytes([number]) * GET_BYTES)
        target = numpy.zeros(GET_BYTES, numpy.uint8)
        handle, address = ctypes.c_void_p(engine.handle), ctypes.c_void_p(target.ctypes.data)
        count, nbytes = ctypes.c_uint64(1), ctypes.c_uint64(GET_BYTES)
        c_times, python_times, each = [], [], list(keys)
        # Call by call, so that what else the machine does meets both alike.
        for number in range(rounds * GET_BLOCKS):
            for side in (number % 2, 1 - number % 2):
                # Another block for each, or the second one would find it in the processor's cache.
                key = each[(number * 7 + side * GET_BLOCKS // 2) % GET_BLOCKS]
                if side:
                    c_times.append(float(loops.get_ns(raw.kvc_get, handle, key, count, address, nbytes)))
                else:
                    begun = time.perf_counter_ns()
                    engine.get_into(key, target)
                    python_times.append(time.perf_counter_ns() - begun)
    assert min(c_times) > 0, "the C side failed"
    c_ns, python_ns = statistics.median(c_times), statistics.median(python_times)
    return {
        "c_gb_per_s": GET_BYTES / c_ns,
        "python_gb_per_s": GET_BYTES / python_ns,
        "ratio": c_ns / python_ns,
        "wanted_min": 0.95,
    }


def open_bench(rounds: int) -> dict[str, Any]:
    """Importing the package and opening 4 GiB, in a new process each time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # The first one compiles the modules, as an installation does.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", OPENING]
    times = [
        int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout) / 1e6
        for _ in range(rounds + 1)
    ][1:]
    return {"ms": statistics.median(times), "ms_min": min(times), "wanted_max": 150}


def main() -> None:
    """All of it."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with tempfile.TemporaryDirectory() as folder:
        loops = loops_compile(Path(folder))
        figures = {
            "match_256_keys": match_bench(loops, rounds),
            "get_2_mib_numpy": get_bench(loops, rounds),
            "import_and_open_4_gib": open_bench(min(rounds, 9)),
        }
    rounded = {
        name: {field: float(f"{value:.4g}") for field, value in fields.items()} for name, fields in figures.items()
    }
    print(json.dumps({"language": "python", "version": sys.version.split()[0], "figures": rounded}, indent=2))


if __name__ == "__main__":
    main()
