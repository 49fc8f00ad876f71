"""Finds the library and loads it, once.

In this order: the file that the environment names in KVCACHE_LIBRARY, the one that the wheel carries, and the
system's (what `make install` puts where the linker looks).
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

ABI_VERSION: Final = 1
_SONAME: Final = "libkvcache.so.0.1"


def _find() -> str:
    given = os.environ.get("KVCACHE_LIBRARY")
    if given:
        if not os.path.isfile(given):
            raise ImportError(f"KVCACHE_LIBRARY names {given!r}, and there is no such file")
        return os.path.abspath(given)
    carried = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libkvcache.so")
    return carried if os.path.isfile(carried) else _SONAME


path: Final = _find()
"""Where the library was found: a file, or the name by which the system's linker found it."""

try:
    library: Final = ctypes.CDLL(path)
    """The library; calls through it release the GIL."""
except OSError as error:
    raise ImportError(
        f"kvcache can't load its library {path!r}: {error}. Install a wheel that carries it (pip install "
        "bindings/python), or name the file in the environment variable KVCACHE_LIBRARY."
    ) from error

held: Final = ctypes.PyDLL(path)
"""The same library; calls through it keep the GIL, for those that take less time than it takes to get it back."""

_found = library.kvc_abi_version()
if _found != ABI_VERSION:
    raise ImportError(
        f"{path!r} has version {_found >> 16}.{_found & 0xFFFF} of the binary interface, and this package is for "
        f"{ABI_VERSION >> 16}.{ABI_VERSION & 0xFFFF}: install both from the same release"
    )
