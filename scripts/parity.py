#!/usr/bin/env python3
"""Writes docs/bindings.md: which function of the C interface each language's binding reaches.

    scripts/parity.py            writes the table
    scripts/parity.py --check    fails if the table is stale, or if a binding that exists lacks a function

The functions and their chapters are those of include/kvcache.h. A function counts as reached when its name stands as a
word in the code of the binding; comments, tests, samples and benchmarks do not count. A binding exists when its sources
do. The C binding is the list of exports, bindings/c/symbols.txt.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path("docs/bindings.md")
HEADER = Path("include/kvcache.h")

# Folders in which nothing is part of a binding: what is no product, and what tools leave behind.
FOLDERS_PASSED_OVER = {
    "bench", "benches", "build", "dist", "env", "examples", "node_modules", "samples", "target", "test", "testdata",
    "tests", "tools", "venv", "zig-cache", "zig-out", "__pycache__",
}


@dataclass(frozen=True)
class Language:
    """A language and where its binding is."""

    name: str
    # A file, or a folder of which all files with one of the endings count.
    place: str
    endings: tuple[str, ...]
    # What its comments look like: "c" for // and /* */, "go" for the same where what stands before import "C" is code,
    # "python", or "#" for lines.
    comments: str


LANGUAGES = (
    Language("C", "bindings/c/symbols.txt", (".txt",), "#"),
    Language("C++", "include/kvcache.hpp", (".hpp",), "c"),
    Language("Python", "bindings/python", (".py", ".pyi"), "python"),
    Language("Go", "bindings/go", (".go", ".h"), "go"),
    Language("Zig", "bindings/zig", (".zig",), "c"),
)


class Wrong(Exception):
    """What keeps the table from being made."""


def chapters(header: str) -> list[tuple[str, list[str]]]:
    """The chapters of the header that declare functions, each with its functions, in order."""
    banner = re.compile(r"/\* =+\n \* ([A-Z].*)\n \* =+")
    comment_or_text = re.compile(r"/\*.*?\*/|[^/]+|/", re.DOTALL)
    prototype = re.compile(r"^(?:const )?[a-z_0-9]+ \*?(kvc_[a-z0-9_]+)\(", re.MULTILINE)
    found: list[tuple[str, list[str]]] = []
    for piece in comment_or_text.findall(header):
        title = banner.match(piece)
        if title:
            found.append((title.group(1), []))
        elif not piece.startswith("/*"):
            names = prototype.findall(piece)
            if names and not found:
                raise Wrong(f"{HEADER}: {names[0]} is in no chapter")
            if names:
                found[-1][1].extend(names)
    found = [(title, names) for title, names in found if names]
    if not found:
        raise Wrong(f"{HEADER}: no functions were found")
    return found


def without_comments(text: str, comments: str) -> str:
    """The text of a source without its comments. Strings stay: cffi and ctypes name functions in them."""
    if comments == "#":
        return re.sub(r"#.*", "", text)
    if comments == "python":
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        return " ".join(token.string for token in tokens if token.type != tokenize.COMMENT)
    if comments == "go":
        preamble = re.compile(r'(/\*(?:(?!\*/).)*\*/|(?://[^\n]*\n)+)(\s*import "C")', re.DOTALL)
        text = preamble.sub(lambda match: re.sub(r"/\*|\*/|^//", "", match.group(1), flags=re.M) + match.group(2), text)
    pattern = re.compile(r"""'(?:\\.|[^'\\\n])'|"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/""", re.DOTALL)
    return pattern.sub(lambda match: " " if match.group().startswith("/") else match.group(), text)


def is_test(name: str) -> bool:
    stem = name.rsplit(".", 1)[0]
    return stem.startswith("test_") or stem.endswith("_test") or stem in {"conftest", "tests", "test", "build"}


def sources(root: Path, language: Language) -> list[Path]:
    """The files of a binding that count, sorted."""
    place = root / language.place
    if place.is_file():
        return [place]
    files = []
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if name not in FOLDERS_PASSED_OVER and not name.startswith("."))
        files += [Path(folder) / name for name in names if name.endswith(language.endings) and not is_test(name)]
    return sorted(files)


def reached(root: Path, language: Language) -> set[str] | None:
    """The functions that a binding names, or None where there is no such binding."""
    files = sources(root, language)
    if not files:
        return None
    words: set[str] = set()
    for file in files:
        text = file.read_text(encoding="utf-8")
        try:
            code = without_comments(text, language.comments)
        except (tokenize.TokenError, IndentationError) as error:
            raise Wrong(f"{file.relative_to(root)}: not to be read as Python: {error}") from error
        words.update(re.findall(r"\bkvc_[a-z0-9_]+\b", code))
    return words


def table(functions: list[tuple[str, list[str]]], bindings: dict[str, set[str]]) -> str:
    """The text of docs/bindings.md."""
    count = sum(len(names) for _, names in functions)
    lines = [
        "# Bindings: function by language",
        "",
        "Made by `scripts/parity.py` from `include/kvcache.h` and the sources of the bindings; do not edit. A mark",
        "says that the binding's own code, not its tests or samples, names the function. `scripts/parity.py --check`",
        "fails where a mark is missing.",
        "",
        "| language | where | functions |",
        "| --- | --- | --- |",
    ]
    for language in LANGUAGES:
        if language.name in bindings:
            have = sum(name in bindings[language.name] for _, names in functions for name in names)
            lines.append(f"| {language.name} | `{language.place}` | {have} of {count} |")
    for title, names in functions:
        lines += ["", f"## {title.capitalize()}", ""]
        lines.append("| function | " + " | ".join(bindings) + " |")
        lines.append("| --- |" + " :-: |" * len(bindings))
        for name in names:
            marks = ("✓" if name in words else "**missing**" for words in bindings.values())
            lines.append(f"| `{name}` | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes docs/bindings.md, or checks it.")
    parser.add_argument("--check", action="store_true", help="fail if the table is stale or a function is missing")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of the sources (default: this one)")
    arguments = parser.parse_args()
    root = arguments.root
    try:
        functions = chapters((root / HEADER).read_text(encoding="utf-8"))
        found = {language.name: reached(root, language) for language in LANGUAGES}
    except (Wrong, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    bindings = {name: words for name, words in found.items() if words is not None}
    text = table(functions, bindings)
    path = root / TABLE
    if not arguments.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return 0

    faults = []
    known = {name for _, names in functions for name in names}
    for language in LANGUAGES:
        if language.name not in bindings:
            print(f"{language.name}: no binding in {language.place}")
            continue
        missing = sorted(known - bindings[language.name])
        faults += [f"{language.name}: {name} is missing in {language.place}" for name in missing]
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        faults.append(f"{TABLE} is stale: run scripts/parity.py")
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"parity: {len(known)} functions in {', '.join(bindings)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
