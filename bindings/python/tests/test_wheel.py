"""The wheel: its tag is true, it carries the library, and it is installed without a compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import HERE, ROOT, lacking

from kvcache import _load


def build(target: Path, *, source: Path = HERE, **environment: str) -> subprocess.CompletedProcess[str]:
    """Builds a wheel with the setuptools that are here, as pip does."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", target, source],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.path.isfile(_load.path):
        lacking("the library as a file")
    try:
        import setuptools
    except ImportError:
        lacking("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 71:
        lacking("setuptools 71")
    folder = tmp_path_factory.mktemp("wheel")
    # What a newcomer has: no compiler, no cargo, and nothing in the checkout is written to.
    source = folder / "python"
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "libkvcache.so"))
    tools = folder / "bin"
    tools.mkdir()
    done = build(folder / "dist", source=source, KVCACHE_LIBRARY=_load.path, PATH=str(tools))
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def test_the_tag_and_what_is_in_it(wheel: Path) -> None:
    machine = os.uname().machine
    assert wheel.name == f"kvcache-0.1.0-py3-none-linux_{machine}.whl"
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("__init__.py", "raw.py", "py.typed", "libkvcache.so"):
        assert f"kvcache/{name}" in names
    text = zipfile.ZipFile(wheel).read("kvcache-0.1.0.dist-info/WHEEL").decode()
    assert "Root-Is-Purelib: false" in text and f"Tag: py3-none-linux_{machine}" in text


def test_what_the_library_needs_is_what_manylinux_has(wheel: Path) -> None:
    try:
        import auditwheel  # noqa: F401
    except ImportError:
        lacking("auditwheel")
    shown = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", wheel], check=True, capture_output=True, text=True
    ).stdout
    # Only libraries that every system has, of a glibc that auditwheel finds by their symbols.
    found = re.search(rf'"manylinux_2_(\d+)_{os.uname().machine}"', shown)
    assert found is not None and int(found[1]) >= 17, shown


def test_it_is_installed_and_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel], check=True
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("KVCACHE_LIBRARY", "PYTHONPATH")}
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import kvcache; from kvcache import _load; "
        "assert _load.path.startswith(sys.argv[1]), _load.path; "
        "engine = kvcache.Engine(block_bytes=64, cpu_bytes=64); engine.put(bytes(32), b'x'); "
        "assert engine.get(bytes(32)) == b'x'; engine.close(); "
        "assert not {'numpy', 'torch', 'asyncio'} & sys.modules.keys(); assert kvcache.AsyncLane; print('works')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, target],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout == "works\n"


def test_without_a_library_and_without_cargo_it_says_what_to_do(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "KVCACHE_LIBRARY": ""}

    def refused(source: Path, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "setup.py", "-q", "build", "--build-base", tmp_path / "build"],
            cwd=source,
            env={**os.environ, **environment, **more},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        return done.stderr

    try:
        import setuptools.command.bdist_wheel  # noqa: F401
    except ImportError:
        lacking("setuptools 70.1")
    # A checkout in so far as the build looks at it.
    checkout = tmp_path / "checkout"
    shutil.copytree(HERE, checkout / "bindings" / "python", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    assert "no checkout" in refused(checkout / "bindings" / "python")
    (checkout / "bindings" / "c").mkdir()
    shutil.copy(ROOT / "bindings" / "c" / "Cargo.toml", checkout / "bindings" / "c")
    assert "Install Rust" in refused(checkout / "bindings" / "python")
    assert "there is no such file" in refused(checkout / "bindings" / "python", KVCACHE_LIBRARY="/nowhere.so")


def test_a_library_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "nowhere.so", "there is no such file"), (HERE / "README.md", "can't load")):
        done = subprocess.run(
            [sys.executable, "-c", "import kvcache"],
            env={**os.environ, "KVCACHE_LIBRARY": str(path)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0 and "ImportError" in done.stderr and words in done.stderr
    compiler = shutil.which("cc")
    if compiler is None:
        lacking("a C compiler")
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("unsigned kvc_abi_version(void) { return 65536 * 3 + 7; }\n")
    subprocess.run([str(compiler), "-shared", "-fPIC", "-o", library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", "import kvcache"],
        env={**os.environ, "KVCACHE_LIBRARY": str(library)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert "version 3.7 of the binary interface" in done.stderr
