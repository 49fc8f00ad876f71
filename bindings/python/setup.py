"""Puts the shared library into the wheel, and says for which machines the wheel is.

The library is the file that KVCACHE_LIBRARY names, or cargo builds it from the checkout that this folder is in. No C
compiler is used, and installing the wheel needs neither. The wheel's tag is linux_<machine>; `auditwheel repair` makes
the manylinux tag of it that the library's glibc symbols allow.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent


def library_find() -> Path:
    """The library: given, or built."""
    given = os.environ.get("KVCACHE_LIBRARY")
    if given:
        if not Path(given).is_file():
            sys.exit(f"kvcache: KVCACHE_LIBRARY names {given!r}, and there is no such file")
        return Path(given)
    if not (CHECKOUT / "bindings" / "c" / "Cargo.toml").is_file():
        sys.exit(
            "kvcache: this is no checkout of the source to build libkvcache.so from. Install from a checkout (pip "
            "install bindings/python), or name a library that is built in the environment variable KVCACHE_LIBRARY"
        )
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if cargo is None:
        sys.exit(
            "kvcache: cargo is needed to build libkvcache.so, and is not there. Install Rust (https://rustup.rs), or "
            "name a library that is built in the environment variable KVCACHE_LIBRARY"
        )
    target = Path(os.environ.get("CARGO_TARGET_DIR", CHECKOUT / "target"))
    command = [cargo, "build", "--release", "--package", "kvcache-c", "--target-dir", str(target)]
    print("kvcache: building libkvcache.so:", " ".join(command), file=sys.stderr, flush=True)
    if subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0:
        sys.exit("kvcache: cargo could not build libkvcache.so; what it says is above")
    return target / "release" / "libkvcache.so"


class BuildWithLibrary(build_py):
    """Builds the package, and copies the library to its modules."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.library_copy(Path(self.build_lib) / "kvcache")
        else:
            self.library_copy(HERE / "src" / "kvcache")

    def library_copy(self, target: Path) -> None:
        """Copies it without its debugging information, where there is a tool that takes that off."""
        library = target / "libkvcache.so"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library_find(), library)
        strip = shutil.which("strip")
        if strip is not None:
            subprocess.run([strip, "--strip-debug", str(library)], check=False)


class PlatformWheel(bdist_wheel):
    """A wheel for every Python 3 on this kind of machine: it has a library, and no module of Python's interface."""

    def get_tag(self) -> "tuple[str, str, str]":
        return ("py3", "none", super().get_tag()[2])


class PlatformDistribution(Distribution):
    """Says that there is a library in it, so that everything goes where libraries may be."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel}, distclass=PlatformDistribution)
