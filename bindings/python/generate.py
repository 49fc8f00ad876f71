#!/usr/bin/env python3
"""Writes src/kvcache/raw.py from include/kvcache.h: constants, structs and functions, as ctypes wants them.

    generate.py          writes the file
    generate.py --check  fails if the file is not what the header says

Needs nothing but Python. The header is regular (it is generated itself), so regular expressions read it.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "include" / "kvcache.h"
TARGET = HERE / "src" / "kvcache" / "raw.py"

INTEGERS = {
    "uint8_t": "c_uint8",
    "int32_t": "c_int32",
    "uint32_t": "c_uint32",
    "int64_t": "c_int64",
    "uint64_t": "c_uint64",
    "kvc_status_t": "c_int32",
}

TOP = '''\
"""The C interface as it is: generated from include/kvcache.h by generate.py, do not edit.

Everything of the header under its own name, for what the classes of this package do not do: the constants, the structs
and the functions, whose manual is the header. All pointers are `c_void_p` here: an address as an int, a ctypes array,
`byref(struct)`, bytes for what is only read, or None. Functions answer their status as an int and raise nothing; they
release the GIL. Nothing keeps memory alive that C holds on to: that is the caller's task.

    import ctypes
    from kvcache import raw

    bytes_out = ctypes.c_uint64()
    status = raw.kvc_geometry_block_bytes(ctypes.byref(raw.init(raw.kvc_geometry_t)), ctypes.byref(bytes_out))
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, c_char, c_char_p, c_double, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from ctypes import sizeof as size_of
from typing import Any, Final, TypeVar

from ._load import library

_Bytes = bytes  # The structs have fields of that name.
_Struct = TypeVar("_Struct", bound=Structure)


def init(struct: type[_Struct]) -> _Struct:
    """A struct of this type as its KVC_..._INIT makes it: everything zero but struct_size, if it has one."""
    value = struct()
    if struct._fields_[0][0] == "struct_size":
        value.struct_size = size_of(struct)
    return value


def _bind(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    return function  # type: ignore[no-any-return]


'''


Constant = tuple[str, str, str]
Struct = tuple[str, str, list[tuple[str, str, "str | None", str]]]
Function = tuple[str, str, list[tuple[str, str]], str]


def comment_text(comment: str) -> str:
    """What a C comment says, without its stars."""
    lines = [re.sub(r"^\s*(/\*+|\*/|\*)? ?", "", line) for line in comment.splitlines()]
    return "\n".join(line.replace("*/", "").rstrip() for line in lines).strip()


def sentence(text: str, width: int = 118) -> str:
    """The first paragraph, on one line, not longer than the width."""
    first = " ".join(text.split("\n\n")[0].split())
    return first if len(first) <= width else first[: first.rfind(" ", 0, width - 4)] + " ..."


def ctype(declared: str) -> str:
    """The ctypes name of a C type of a field or parameter, without array bounds."""
    declared = " ".join(declared.replace("const", "").split())
    if declared.endswith("*"):
        return "c_void_p"
    return INTEGERS.get(declared, {"char": "c_char", "double": "c_double"}.get(declared, declared))


def python_type(c_type: str, bound: str | None) -> str:
    """What reading the field gives in Python."""
    if bound:
        return "_Bytes" if c_type == "c_char" else "Any"
    if c_type == "c_void_p":
        return "int | None"
    return {"c_double": "float"}.get(c_type, c_type if c_type.startswith("kvc_") else "int")


def parse(header: str) -> tuple[list[Constant], list[Struct], list[Function]]:
    """Constants (name, value, text), structs (name, text, fields) and functions (name, result, parameters, text)."""
    constants = [
        (name, value.strip("()"), comment_text(comment))
        for comment, name, value in re.findall(
            r"(/\*(?:(?!\*/).)*?\*/)\n#define (KVC_[A-Z0-9_]+) (\(?-?\d+\)?|UINT64_MAX)$", header, re.S | re.M
        )
    ]
    structs = []
    for comment, body, name in re.findall(
        r"(/\*(?:(?!\*/).)*?\*/)\ntypedef struct \w+ \{\n(.*?)\n\} (\w+);", header, re.S
    ):
        fields = []
        for text, declared, field, bound in re.findall(
            r"(/\*(?:(?!\*/).)*?\*/)\s+([\w\s]+?[\s*]+(?:const \*)?)(\w+)(?:\[(\w+)\])?;", body, re.S
        ):
            fields.append((field, ctype(declared), bound or None, comment_text(text)))
        assert len(fields) == body.count(";\n") + 1 - sum(t.count(";\n") for *_, t in fields), name
        structs.append((name, comment_text(comment), fields))
    functions = []
    for comment, result, name, parameters in re.findall(
        r"(/\*(?:(?!\*/).)*?\*/)\n([\w ]+?[ *]+)(kvc_\w+)\(([^)]*)\);", header, re.S
    ):
        arguments = []
        for parameter in parameters.split(","):
            if parameter.strip() == "void":
                continue
            found = re.fullmatch(r"(.*?[\s*])(\w+)", parameter.strip(), re.S)
            assert found is not None, parameter
            arguments.append((found[2], ctype(found[1])))
        functions.append((name, "c_char_p" if "char" in result else ctype(result), arguments, comment_text(comment)))
    return constants, structs, functions


def emit(header: str) -> str:
    """The text of raw.py."""
    constants, structs, functions = parse(header)
    out = [TOP]
    for name, value, text in constants:
        out.append(f"{name}: Final = {'2**64 - 1' if value == 'UINT64_MAX' else value}\n")
        out.append(f'"""{sentence(text, 113)}"""\n')
    for name, text, fields in structs:
        out.append(f'\n\nclass {name}(Structure):\n    """{sentence(text, 109)}"""\n\n')
        out.append("    _fields_ = [\n")
        for field, c_type, bound, _ in fields:
            out.append(f'        ("{field}", {c_type}{" * " + bound if bound else ""}),\n')
        out.append("    ]\n")
        for field, c_type, bound, field_text in fields:
            out.append(f"    {field}: {python_type(c_type, bound)}\n")
            out.append(f'    """{sentence(field_text, 109)}"""\n')
    out.append("\n\n")
    for name, result, arguments, text in functions:
        names = ", ".join(argument for argument, _ in arguments)
        types = ", ".join([result] + [c_type for _, c_type in arguments])
        line = f'{name} = _bind("{name}", {types})'
        if len(line) > 120:
            parts = [f'"{name}"', *types.split(", ")]
            line = f"{name} = _bind(\n    {', '.join(parts)}\n)"
            if max(map(len, line.splitlines())) > 120:
                line = f"{name} = _bind(\n" + "".join(f"    {part},\n" for part in parts) + ")"
        out.append(f"{line}\n")
        doc = f'"""({names}): {sentence(text, 113 - len(names) - 4)}"""'
        if len(doc) > 120:
            doc = f'"""({names}):\n{sentence(text, 113)}\n"""'
        out.append(f"{doc}\n")
    out.append("\nSIZES: Final[dict[str, int]] = {\n")
    for name, size in re.findall(r"KVC_ASSERT_\(sizeof\((\w+)\) == (\d+)", header):
        out.append(f'    "{name}": {size},\n')
    out.append("}\n")
    out.append('"""What the header asserts that its structs have, in bytes."""\n')
    out.append("\nFUNCTIONS: Final[tuple[str, ...]] = (\n")
    out.extend(f'    "{name}",\n' for name, *_ in functions)
    out.append(')\n"""Every function of the header."""\n')
    return "".join(out)


def main() -> int:
    text = emit(HEADER.read_text(encoding="utf-8"))
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text(encoding="utf-8") != text:
            print(f"{TARGET} is not what {HEADER} says; run {Path(__file__).name}", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
