"""The generated declarations say what the header says."""

from __future__ import annotations

import ctypes
import enum
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE, ROOT, lacking

import kvcache
from kvcache import raw

HEADER = (ROOT / "include" / "kvcache.h").read_text(encoding="utf-8")
CODE = re.sub(r"/\*.*?\*/", " ", HEADER, flags=re.S)
WIDTHS = {"uint8_t": 1, "int32_t": 4, "uint32_t": 4, "kvc_status_t": 4, "int64_t": 8, "uint64_t": 8, "double": 8}


def test_the_file_is_what_the_generator_makes() -> None:
    subprocess.run([sys.executable, HERE / "generate.py", "--check"], check=True)


def test_every_function_is_declared_with_its_parameters() -> None:
    found = re.findall(r"^([\w ]+?[ *]+)(kvc_\w+)\(([^)]*)\);", CODE, flags=re.M)
    assert len(found) == len(set(re.findall(r"\b(kvc_\w+)\(", CODE)) - {"kvc_sized_"})
    assert sorted(name for _, name, _ in found) == sorted(raw.FUNCTIONS)
    for result, name, parameters in found:
        function = getattr(raw, name)
        assert function.restype is (
            ctypes.c_char_p
            if "*" in result
            else {"kvc_status_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32}[result.strip()]
        ), name
        declared = [parameter.split() for parameter in parameters.split(",") if parameter.strip() != "void"]
        assert len(function.argtypes) == len(declared), name
        for words, c_type in zip(declared, function.argtypes):
            if any("*" in word for word in words):
                assert c_type is ctypes.c_void_p, (name, words)
            elif words[0] in WIDTHS:
                assert ctypes.sizeof(c_type) == WIDTHS[words[0]], (name, words)
                signed = c_type(-1).value < 0
                assert signed == (not words[0].startswith("u")), (name, words)
            else:
                assert c_type is getattr(raw, words[0]), (name, words)


def test_functions_release_the_gil() -> None:
    # FUNCFLAG_PYTHONAPI is what ctypes sets where it keeps the GIL.
    assert all(not getattr(raw, name)._flags_ & 4 for name in raw.FUNCTIONS)


def test_every_constant_has_its_value() -> None:
    found = re.findall(r"#define (KVC_\w+) \(?(-?\d+|UINT64_MAX)\)?$", CODE, flags=re.M)
    assert len(found) > 120
    for name, value in found:
        assert getattr(raw, name) == (2**64 - 1 if value == "UINT64_MAX" else int(value)), name


def test_structs_have_the_sizes_that_the_header_asserts() -> None:
    asserted = dict(re.findall(r"sizeof\((kvc_\w+)\) == (\d+)", CODE))
    structs = set(re.findall(r"^\} (kvc_\w+);", CODE, flags=re.M))
    assert set(asserted) == structs
    for name, size in asserted.items():
        assert ctypes.sizeof(getattr(raw, name)) == int(size), name
        assert raw.SIZES[name] == int(size)


def test_fields_lie_where_a_c_compiler_puts_them(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        lacking("a C compiler")
    lines = []
    for name in raw.SIZES:
        struct = getattr(raw, name)
        fields = [field[0] for field in struct._fields_]
        body = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", CODE, flags=re.S)
        assert body is not None and len(fields) == body[1].count(";"), name
        for field in fields:
            place = getattr(struct, field)
            lines.append(f'_Static_assert(offsetof({name}, {field}) == {place.offset}, "{name}.{field}");')
            lines.append(f'_Static_assert(sizeof((({name} *)0)->{field}) == {place.size}, "{name}.{field}");')
    source = tmp_path / "offsets.c"
    source.write_text('#include <stddef.h>\n#include "kvcache.h"\n' + "\n".join(lines) + "\n")
    subprocess.run([str(compiler), "-std=c11", "-fsyntax-only", f"-I{ROOT / 'include'}", source], check=True)
    # The check can fail: a wrong offset is noticed.
    source.write_text(source.read_text() + '_Static_assert(offsetof(kvc_view_t, bytes) == 9, "");\n')
    wrong = subprocess.run(
        [str(compiler), "-std=c11", "-fsyntax-only", f"-I{ROOT / 'include'}", source], check=False, capture_output=True
    )
    assert wrong.returncode != 0


def test_every_field_of_the_configuration_can_be_given() -> None:
    names = set(kvcache.Fields.__annotations__)
    # Pairs that are one value in Python.
    pairs = {f"{tier}_{part}": tier for tier in ("nvme", "disk") for part in ("path", "bytes")}
    pairs.update({"memory_bytes": "memory", "codec_tables_bytes": "codec_tables", "geometries_count": "geometries"})
    fields = {name for name, *_ in raw.kvc_config_t._fields_} - {"struct_size"}
    assert {pairs.get(field, field) for field in fields} == names
    parameters = set(inspect.signature(kvcache.PutInfo).parameters) - {"protected"}
    assert {name for name, *_ in raw.kvc_put_info_t._fields_} - {"struct_size", "flags"} == parameters


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        ("KVC_POLICY_", kvcache.Policy),
        ("KVC_HUGE_PAGES_", kvcache.HugePages),
        ("KVC_CLOCK_", kvcache.Clock),
        ("KVC_PREFAULT_", kvcache.Prefault),
        ("KVC_ADMISSION_", kvcache.Admission),
        ("KVC_WRITE_", kvcache.WritePolicy),
        ("KVC_DAMAGE_", kvcache.Damage),
        ("KVC_IO_", kvcache.IoEngine),
        ("KVC_PREFETCH_", kvcache.Prefetch),
        ("KVC_DTYPE_", kvcache.Dtype),
        ("KVC_CODEC_", kvcache.CodecKind),
        ("KVC_TIER_", kvcache.Tier),
        ("KVC_ORDER_", kvcache.layout.Order),
        ("KVC_PLANES_", kvcache.layout.Planes),
    ],
)
def test_every_constant_has_its_member(prefix: str, kind: type[enum.IntEnum]) -> None:
    names = {
        name.removeprefix(prefix): getattr(raw, name)
        for name in dir(raw)
        if name.startswith(prefix) and not name.startswith(("KVC_TIER_STATE_", "KVC_CODEC_LAYERS_"))
    }
    assert {item.name: item.value for item in kind} == names


def test_init_sets_the_size() -> None:
    assert raw.init(raw.kvc_config_t).struct_size == raw.SIZES["kvc_config_t"]
    assert raw.init(raw.kvc_view_t).bytes == 0


@pytest.mark.parametrize("status", [raw.KVC_OK, raw.KVC_MISS, raw.KVC_E_FORKED])
def test_raw_functions_can_be_called(status: int) -> None:
    assert raw.kvc_status_name(status).startswith(b"KVC_")
    assert raw.kvc_abi_version() == raw.KVC_ABI_VERSION
