#!/usr/bin/env python3
"""Writes the generated parts of this package from include/kvcache.h.

    generate.py          write them
    generate.py --check  exit with 1 and name the files that are not what would be written

Written are src/c.zig (the declarations of C, as they are), src/status.zig (statuses and errors), src/types.zig (the
structs and enums as Zig likes them), and tests/layout.c with tests/layout_entries.zig, by which a test compares every
size, offset, constant and signature with those of a C compiler.

What the header does not say (which numbers an enum takes together, which field takes which enum) is in
generate_tables.py. Names and fields that are new in the header appear by themselves; a number without an enum stays a
number.
"""

import pathlib
import re
import sys
import textwrap

from generate_tables import (
    ENUM_ZEROS,
    ENUMS,
    FIELD_NAMES,
    FIELD_TYPES,
    FLAGS,
    METHODS,
    NATIVE,
    NO_DEFAULTS,
    NOT_REQUIRED,
    NOT_VALUES,
    OPAQUE,
    SCALARS,
    TYPE_NAMES,
)

HERE = pathlib.Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "include" / "kvcache.h"

WIDTH = 118


class Header:
    """The declarations of the header, in its order."""

    def __init__(self, text):
        self.constants, self.structs, self.functions, self.opaque = [], [], [], []
        self.sized = set(re.findall(r"#define KVC_\w+_INIT KVC_SIZED_\((\w+)\)", text))
        text = text[text.index('extern "C"') : text.index(" * INITIALIZERS AND SIZES")]
        item = re.compile(
            r"/\* ?(?P<doc>(?:(?!\*/).)*?)\s*\*/\n"
            r"(?:#define (?P<name>KVC_\w+) (?P<value>[^\n]+)\n"
            r"|typedef struct (?P<opaque>\w+) (?P=opaque);"
            r"|typedef struct (?P<struct>\w+) \{\n(?P<body>.*?)\n\} (?P=struct);"
            r"|(?P<returns>[\w ]+?[ *]+)(?P<function>kvc_\w+)\((?P<params>[^)]*)\);)",
            re.DOTALL,
        )
        for found in item.finditer(text):
            doc = [re.sub(r"^ \* ?", "", line) for line in found["doc"].split("\n")]
            if found["name"]:
                self.constants.append((found["name"], number(found["value"]), doc))
            elif found["opaque"]:
                self.opaque.append((found["opaque"], doc))
            elif found["struct"]:
                self.structs.append((found["struct"], fields(found["body"]), doc))
            else:
                params = [] if found["params"] == "void" else [declaration(p) for p in found["params"].split(",")]
                self.functions.append((found["function"], found["returns"].strip(), params, doc))
        self.complete(text)

    def complete(self, text):
        """Nothing in the header that the pattern above passed over."""
        plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        expected = {
            "constants": set(re.findall(r"#define (KVC_\w+) ", plain)),
            "functions": set(re.findall(r"\b(kvc_\w+)\(", plain)),
            "structs": set(re.findall(r"typedef struct (\w+) \{", plain)),
        }
        for what, names in expected.items():
            missed = names - {one[0] for one in getattr(self, what)}
            if missed:
                sys.exit(f"generate.py: {what} that were not understood: {', '.join(sorted(missed))}")


def number(text):
    text = text.strip().strip("()")
    return 2**64 - 1 if text == "UINT64_MAX" else int(text)


def declaration(text):
    """The C type and the name of a field or a parameter, and the length of an array, or None."""
    found = re.fullmatch(r"\s*(.*?[ *])(\w+)(?:\[(\d+)\])?\s*", " ".join(text.split()))
    return found[1].strip(), found[2], found[3] and int(found[3])


def fields(body):
    result, doc = [], []
    for comment, line in re.findall(r"    /\* (.*?)\s*\*/\n    ([^\n]*);", body, re.DOTALL):
        doc = [re.sub(r"^     \* ?", "", one) for one in comment.split("\n")]
        result.append((*declaration(line), doc))
    return result


def pointee(c_type):
    """What a pointer points to, and whether that is const; None for what is no pointer."""
    if not c_type.endswith("*"):
        return None
    target = c_type[:-1].strip()
    if target.endswith("*const"):
        return target[: -len("const")].strip(), True
    return (target[len("const ") :], True) if target.startswith("const ") and "*" not in target else (target, False)


def zig_type(c_type):
    """The type in c.zig."""
    target = pointee(c_type)
    if target is None:
        return SCALARS.get(c_type, c_type)
    name, const = target[0], "const " if target[1] else ""
    if name == "void":
        return f"?*{const}anyopaque"
    if name in OPAQUE:
        return f"?*{const}{name}"
    return f"[*c]{const}{zig_type(name)}"


def type_name(c_name):
    return TYPE_NAMES.get(c_name) or "".join(part.capitalize() for part in c_name[4:-2].split("_"))


def lookup(table, struct, field):
    return table.get(f"{struct[4:-2]}.{field}", table.get(field) if "." not in field else None)


def comment(lines, mark, indent=""):
    if any(len(f"{indent}{mark} {line}") > WIDTH for line in lines):
        lines = textwrap.wrap(" ".join(lines), WIDTH - len(f"{indent}{mark} "))
    return "".join(f"{indent}{mark} {line}".rstrip() + "\n" for line in lines)


HEAD = "//! Generated by generate.py from include/kvcache.h; do not edit.\n"


def c_zig(header):
    out = HEAD + (
        "//!\n//! The C interface as it is: names, numbers and types of C. Its documentation is in the header.\n"
        "//! `kvcache.zig` wraps all of it; use this where you want C's own terms.\n\n"
    )
    out += "pub const kvc_status_t = i32;\n\n"
    for name, value, _ in header.constants:
        out += f"pub const {name} = {value};\n"
    for name, _ in header.opaque:
        out += f"\npub const {name} = opaque {{}};\n"
    for name, members, _ in header.structs:
        out += f"\npub const {name} = extern struct {{\n"
        for c_type, field, length, _ in members:
            kind = zig_type(c_type)
            if field == "struct_size":
                default = " = @sizeOf(@This())"
            elif name not in header.sized:
                default = ""
            elif length is not None:
                default = " = @splat(.{})" if c_type.startswith("kvc_") else " = @splat(0)"
            elif pointee(c_type):
                default = " = null"
            elif c_type.startswith("kvc_") and c_type != "kvc_status_t":
                default = " = .{}"
            else:
                default = " = 0"
            if length is not None:
                kind = f"[{length}]{kind}"
            out += f"    {field}: {kind}{default},\n"
        out += "};\n"
    # Plain structs inside of sized ones need defaults as well.
    for name in ("kvc_key_t", "kvc_block_t", "kvc_pin_t", "kvc_codec_layer_t", "kvc_component_t"):
        head, tail = out.split(f"pub const {name} = extern struct {{\n")
        body, tail = tail.split("};", 1)
        body = re.sub(r": (\[\d+\])(\w+),", r": \1\2 = @splat(0),", body)
        body = re.sub(r": (u\d+),", r": \1 = 0,", body)
        out = f"{head}pub const {name} = extern struct {{\n{body}}};{tail}"
    out += "\n"
    for name, returns, params, _ in header.functions:
        arguments = [f"{field}: {zig_type(c_type)}" for c_type, field, _ in params]
        returned = "[*:0]const u8" if returns == "const char *" else zig_type(returns)
        line = f"pub extern fn {name}({', '.join(arguments)}) {returned};\n"
        if len(line) > 121:
            line = f"pub extern fn {name}(\n" + "".join(f"    {one},\n" for one in arguments) + f") {returned};\n"
        out += line
    return out


def statuses(header):
    """Status constants: those from KVC_OK to the first that is followed by another chapter."""
    names = [name for name, _, _ in header.constants]
    end = names.index("KVC_E_INTERNAL") + 1
    return [one for one in header.constants[names.index("KVC_OK") : end]]


def status_zig(header):
    def tag(name):
        return name[len("KVC_") :].removeprefix("E_").lower()

    def error(name):
        return "".join(part.capitalize() for part in tag(name).split("_"))

    found = statuses(header)
    out = HEAD + (
        "//!\n//! What functions answer: the numbers of C as `Status`, and an error for each of them but KVC_OK.\n\n"
        'const c = @import("c.zig");\n\n'
    )
    for title, positive in (
        ("Answers that a correct program meets in normal use: the positive statuses.", True),
        ("Failures: the program, the configuration or the machine is at fault. The negative statuses.", False),
    ):
        out += f"/// {title}\npub const {'Answer' if positive else 'Failure'} = error{{\n"
        for name, value, doc in found:
            if value != 0 and (value > 0) == positive:
                out += comment(doc, "///", "    ") + f"    {error(name)},\n"
        if not positive:
            out += "    /// A status that this version of the package does not know.\n    Unknown,\n"
        out += "};\n\n"
    out += "/// Whatever a function can answer but KVC_OK.\npub const Error = Answer || Failure;\n\n"
    out += "/// A status as it stands in items and completions.\npub const Status = enum(i32) {\n"
    for name, _, doc in found:
        out += comment(doc, "///", "    ") + f"    {tag(name)} = c.{name},\n"
    out += """    _,

    /// Nothing for `.ok`, and the error of the same name for any other.
    pub inline fn check(self: Status) Error!void {
        if (self != .ok) return self.toError();
    }

    /// The error of the same name; error.Unknown for `.ok`, which is none.
    pub fn toError(self: Status) Error {
        @branchHint(.cold);
        return switch (self) {
"""
    for name, value, _ in found:
        if value != 0:
            out += f"            .{tag(name)} => error.{error(name)},\n"
    out += """            else => error.Unknown,
        };
    }

    /// The status of an error; `fromError(error.Unknown)` is none that the library has.
    pub fn fromError(err: Error) Status {
        return switch (err) {
"""
    for name, value, _ in found:
        if value != 0:
            out += f"            error.{error(name)} => .{tag(name)},\n"
    out += """            error.Unknown => @fromBackingInt(-1),
        };
    }

    /// The name in C, "KVC_MISS" for one; "KVC_UNKNOWN" for a number that means nothing.
    pub fn name(self: Status) [:0]const u8 {
        const text = c.kvc_status_name(@backingInt(self));
        var len: usize = 0;
        while (text[len] != 0) len += 1;
        return text[0..len :0];
    }
};

/// Turns what a function of C answers into nothing or an error.
pub inline fn check(status: c.kvc_status_t) Error!void {
    if (status != c.KVC_OK) {
        const answered: Status = @fromBackingInt(status);
        return answered.toError();
    }
}
"""
    return out


def values(header, prefix):
    other = [one[1] for one in (*ENUMS.values(), *FLAGS.values()) if one[1] != prefix and one[1].startswith(prefix)]
    for name, value, doc in header.constants:
        foreign = name.startswith(tuple(other)) or (NOT_VALUES.search(name) and prefix != "KVC_TIER_STATE_")
        if name.startswith(prefix) and not foreign:
            yield name, value, doc


def quoted(name):
    return f'@"{name}"' if re.fullmatch(r"error|null|true|false", name) else name


def types_zig(header):
    out = HEAD + (
        "//!\n//! Structs and enums. Names like kvc_get in the text are those of the manual, include/kvcache.h; each\n"
        "//! is a function or a method of the same name here. A number without a name is allowed in every enum.\n\n"
        'const std = @import("std");\nconst c = @import("c.zig");\nconst status = @import("status.zig");\n\n'
        "const Error = status.Error;\nconst Status = status.Status;\n"
    )
    for name, (kind, prefix, doc, zero) in ENUMS.items():
        out += f"\n/// {doc}\npub const {name} = enum({kind}) {{\n"
        found = list(values(header, prefix))
        ENUM_ZEROS[name] = zero or next(one[len(prefix) :].lower() for one, value, _ in found if value == 0)
        if zero is not None:
            if any(value == 0 for _, value, _ in found):
                sys.exit(f"generate.py: {name}: 0 has a name in the header")
            text = "The library's default." if zero in ("default", "auto") else "None: not to be used."
            out += f"    /// {text}\n    {zero} = 0,\n"
        for constant, _, lines in found:
            member = constant[len(prefix) :].lower()
            out += comment(lines, "///", "    ") + f"    {quoted(member)} = c.{constant},\n"
        out += "    _,\n};\n"
    for name, (kind, prefix, doc) in FLAGS.items():
        out += f"\n/// {doc}\npub const {name} = packed struct({kind}) {{\n"
        place = 0
        for constant, value, lines in values(header, prefix):
            if value != 1 << place:
                sys.exit(f"generate.py: {constant} is not the bit after the one before it")
            out += comment(lines, "///", "    ") + f"    {constant[len(prefix) :].lower()}: bool = false,\n"
            place += 1
        out += f"    /// Bits without a meaning yet.\n    reserved: u{int(kind[1:]) - place} = 0,\n}};\n"
    out += (
        "\n/// No or yes, in 64 bits.\npub const Switch = enum(u64) {\n    off = 0,\n    on = 1,\n    _,\n};\n"
        "\n/// Codecs that need tables, as a set.\npub const CodecSet = packed struct(u64) {\n"
        "    below: u8 = 0,\n    vq: bool = false,\n    xc: bool = false,\n    above: u54 = 0,\n};\n"
        "\n/// The tiers that a block is in.\npub const Tiers = packed struct(u8) {\n"
    )
    found = list(values(header, "KVC_TIER_"))
    out += "".join(f"    {name[len('KVC_TIER_') :].lower()}: bool = false,\n" for name, _, _ in found)
    out += f"    reserved: u{8 - len(found)} = 0,\n\n"
    out += "    /// Whether it is in any.\n    pub fn any(self: Tiers) bool {\n"
    out += "        return @as(u8, @bitCast(self)) != 0;\n    }\n};\n"
    for name, members, doc in header.structs:
        out += native(name, members, doc) if name in NATIVE else plain(header, name, members, doc)
    return out


def typed(struct, c_type, field, length):
    """The type in types.zig of a field of a struct that C knows."""
    chosen = lookup(FIELD_TYPES, struct, field)
    if chosen and not (chosen.startswith("[]") or chosen == "bool"):
        return chosen
    target = pointee(c_type)
    if target is not None:
        name, const = target[0], "const " if target[1] else ""
        if name == "void":
            return f"?*{const}anyopaque"
        if name == "char":
            return "?[*:0]const u8"
        return f"?*{const}{type_name(name)}"
    kind = type_name(c_type) if c_type.startswith("kvc_") else SCALARS[c_type]
    return kind if length is None else f"[{length}]{kind}"


def default_of(kind):
    if kind.startswith("?"):
        return "null"
    if kind.startswith("[]"):
        return "&.{}"
    if re.match(r"\[\d+\]", kind):
        return "@splat(0)" if re.search(r"\][uif]\d", kind) else "@splat(.{})"
    if re.fullmatch(r"[uif]\d+", kind):
        return "0"
    if kind == "bool":
        return "false"
    if kind == "Status":
        return ".ok"
    if kind == "Switch":
        return ".off"
    if kind in ENUMS:
        return f".{ENUM_ZEROS[kind]}"
    return ".{}"


def plain(header, name, members, doc):
    zig = type_name(name)
    doc = [re.sub(r" ?Initialise with KVC_\w+\.", "", line) for line in doc]
    out = "\n" + comment(doc, "///") + f"pub const {zig} = extern struct {{\n"
    for c_type, field, length, lines in members:
        if field == "struct_size":
            out += "    /// Bytes of this struct as the caller knows it; leave it.\n"
            out += "    struct_size: u64 = @sizeOf(@This()),\n"
            continue
        kind = typed(name, c_type, field, length)
        shown = lookup(FIELD_NAMES, name, field) or field
        required = lines[-1].endswith("Required.") and f"{name[4:-2]}.{field}" not in NOT_REQUIRED
        out += comment(lines, "///", "    ")
        if required or name in NO_DEFAULTS:
            out += f"    {shown}: {kind},\n"
        else:
            out += f"    {shown}: {kind} = {default_of(kind)},\n"
    return out + METHODS.get(name, "") + "};\n"


def native(name, members, doc):
    """A struct with slices: it is turned into that of C for each call."""
    zig = type_name(name)
    doc = " ".join(doc)
    doc = re.sub(r" ?Initialise with KVC_.*$", "", doc).strip()
    out = "\n" + comment([doc], "///") + f"pub const {zig} = struct {{\n"
    raw, back = "", ""
    names = {field for _, field, _, _ in members}
    lengths = {}
    for c_type, field, _, _ in members:
        chosen = lookup(FIELD_TYPES, name, field) or ""
        if pointee(c_type) and (chosen.startswith("[]") or pointee(c_type)[0].startswith("kvc_")):
            for ending in ("_count", "_bytes"):
                if field + ending in names:
                    lengths[field + ending] = field
    for c_type, field, length, lines in members:
        if field == "struct_size" or field in lengths:
            continue
        chosen = lookup(FIELD_TYPES, name, field)
        target = pointee(c_type)
        if target and (field in lengths.values() or (chosen or "").startswith("[]")):
            kind = chosen or f"[]const {type_name(target[0])}"
            pointer = f"@ptrCast(self.{field}.ptr)"
            raw += f"            .{field} = if (self.{field}.len == 0) null else {pointer},\n"
            for count, of in lengths.items():
                if of == field:
                    raw += f"            .{count} = self.{field}.len,\n"
        elif target and target[0] == "char":
            kind = "?[:0]const u8"
            raw += f"            .{field} = if (self.{field}) |text| text.ptr else null,\n"
        elif target:
            kind = typed(name, c_type, field, length)
            raw += f"            .{field} = @ptrCast(self.{field}),\n"
        else:
            kind = chosen or typed(name, c_type, field, length)
            to, of = {
                "bool": (f"@intFromBool(self.{field})", f"from.{field} != 0"),
                "enum": (f"@backingInt(self.{field})", f"@fromBackingInt(from.{field})"),
                "bits": (f"@bitCast(self.{field})", f"@bitCast(from.{field})"),
                "same": (f"self.{field}", f"from.{field}"),
            }["bool" if kind == "bool" else "enum" if kind in ENUMS else "bits" if kind[0].isupper() else "same"]
            raw += f"            .{field} = {to},\n"
            back += f"            .{field} = {of},\n"
        if kind == "bool":
            lines = [re.sub(r"^1 to (.*), else 0(.*?)\.? Default 0\.$", r"True to \1\2.", " ".join(lines))]
        required = any(line.endswith("Required.") for line in lines)
        out += comment(lines, "///", "    ")
        out += f"    {field}: {kind},\n" if required else f"    {field}: {kind} = {default_of(kind)},\n"
    out += "\n    /// The struct of C. It borrows what the slices and pointers of this one point to.\n"
    out += f"    pub fn raw(self: *const {zig}) c.{name} {{\n        return .{{\n{raw}        }};\n    }}\n"
    if name == "kvc_config_t":
        out += "\n    /// The numbers of a struct of C; slices and pointers stay empty.\n"
        out += f"    pub fn fromRaw(from: *const c.{name}) {zig} {{\n        return .{{\n{back}        }};\n    }}\n"
        out += """
    /// A configuration with every default written out, so that they can be looked at and changed one by one.
    /// block_bytes and cpu_bytes are zero: they have no default. (kvc_config_init)
    pub fn defaults() Error!Config {
        var written: c.kvc_config_t = .{};
        try status.check(c.kvc_config_init(&written));
        return fromRaw(&written);
    }
"""
    return out + METHODS.get(name, "") + "};\n"


def layout_c(header):
    out = (
        "/* Generated by generate.py from include/kvcache.h; do not edit. Sizes, offsets and constants as a C\n"
        " * compiler sees them, and assignments that compile only if the signatures are those of src/c.zig.\n */\n"
        '#include <stddef.h>\n\n#include "kvcache.h"\n\n'
        "typedef struct entry_t {\n    const char *name;\n    uint64_t value;\n} entry_t;\n\n"
        "const entry_t layout_entries[] = {\n"
    )
    count = 0
    for name, value, _ in header.constants:
        out += f'    {{"{name}", (uint64_t)(int64_t){name}}},\n'
        count += 1
    for name, members, _ in header.structs:
        out += f'    {{"{name}", sizeof({name})}},\n'
        for _, field, _, _ in members:
            out += f'    {{"{name}.{field}", offsetof({name}, {field})}},\n'
        count += 1 + len(members)
    out += f"}};\n\nconst uint64_t layout_entries_count = {count};\n"
    for name, returns, params, _ in header.functions:
        star = "" if returns.endswith("*") else " "
        kinds = ", ".join(c_type for c_type, _, _ in params) or "void"
        start = f"typedef {returns}{star}(*type_{name})("
        out += "\n" + "\n".join(textwrap.wrap(f"{start}{kinds});", WIDTH, subsequent_indent=" " * len(start))) + "\n"
        out += f"extern const type_{name} pointer_{name};\nconst type_{name} pointer_{name} = {name};\n"
    return out


def entry(name, value, typed_value):
    parts = [f'.name = "{name}"', f".value = {value}"]
    if typed_value:
        parts.append(f".typed = {typed_value}")
    line = f"    .{{ {', '.join(parts)} }},\n"
    return line if len(line) <= WIDTH else "    .{\n" + "".join(f"        {part},\n" for part in parts) + "    },\n"


def layout_zig(header):
    out = HEAD + (
        "//!\n//! Sizes, offsets and constants of `c.zig`, in the order of layout.c; and those of `types.zig`, for\n"
        '//! structs that it has in the same form.\n\nconst kvcache = @import("kvcache");\nconst c = kvcache.c;\n\n'
        "pub const Entry = struct { name: [:0]const u8, value: u64, typed: ?u64 = null };\n\n"
        "pub const entries = [_]Entry{\n"
    )
    for name, value, _ in header.constants:
        wide = f"@bitCast(@as(i64, c.{name}))" if value < 0 else f"c.{name}"
        out += entry(name, wide, None)
    for name, members, _ in header.structs:
        zig = f"kvcache.{type_name(name)}"
        out += entry(name, f"@sizeOf(c.{name})", None if name in NATIVE else f"@sizeOf({zig})")
        for _, field, _, _ in members:
            shown = lookup(FIELD_NAMES, name, field) or field
            second = None if name in NATIVE else f'@offsetOf({zig}, "{shown}")'
            out += entry(f"{name}.{field}", f'@offsetOf(c.{name}, "{field}")', second)
    return out + "};\n"


def main():
    header = Header(HEADER.read_text())
    written = {
        "src/c.zig": c_zig(header),
        "src/status.zig": status_zig(header),
        "src/types.zig": types_zig(header),
        "tests/layout.c": layout_c(header),
        "tests/layout_entries.zig": layout_zig(header),
    }
    if sys.argv[1:] == ["--check"]:
        there = {path: (HERE / path).read_text() if (HERE / path).is_file() else None for path in written}
        stale = [path for path, text in written.items() if there[path] != text]
        for path in stale:
            print(f"{path} is not what include/kvcache.h says: run bindings/zig/generate.py", file=sys.stderr)
        sys.exit(bool(stale))
    if sys.argv[1:]:
        sys.exit(__doc__)
    for path, text in written.items():
        (HERE / path).write_text(text)


if __name__ == "__main__":
    main()
