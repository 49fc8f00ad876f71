#!/usr/bin/env python3
"""Tests of parity.py, on trees of a few lines."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent / "parity.py"

HEADER = """/* About kvc_never, which is no function. */
/* ====
 * KEYS: OF BLOCKS
 * ====
 */
typedef struct kvc_key_t { int bytes; } kvc_key_t;
/* Makes one. See kvc_never(). */
kvc_status_t kvc_make(const kvc_key_t *key,
                      int flags);
/* ====
 * TEXT
 * ====
 */
const char *kvc_text(void);
"""


class Parity(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write("include/kvcache.h", HEADER)
        self.write("bindings/c/symbols.txt", "# exports\nkvc_make 0.1\nkvc_text 0.1\n")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def parity(self, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, str(SCRIPT), "--root", str(self.root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def checked(self) -> tuple[int, str]:
        self.assertEqual(self.parity()[0], 0)
        return self.parity("--check")

    def test_a_complete_tree_passes(self) -> None:
        self.write("include/kvcache.hpp", "int a = kvc_make(), b = kvc_text();\n")
        code, said = self.checked()
        self.assertEqual(code, 0, said)
        self.assertIn("parity: 2 functions in C, C++\n", said)
        self.assertIn("Go: no binding in bindings/go", said)
        text = (self.root / "docs/bindings.md").read_text(encoding="utf-8")
        self.assertIn("## Keys: of blocks\n\n| function | C | C++ |\n| --- | :-: | :-: |\n| `kvc_make` | ✓ | ✓ |", text)
        self.assertNotIn("kvc_never", text)

    def test_a_stale_or_absent_table_fails(self) -> None:
        self.assertEqual(self.parity("--check")[0], 1)
        self.assertIn("docs/bindings.md is stale", self.parity("--check")[1])
        self.assertEqual(self.checked()[0], 0)
        self.write("include/kvcache.h", HEADER.replace("kvc_text", "kvc_words"))
        self.assertIn("docs/bindings.md is stale", self.parity("--check")[1])

    def test_a_missing_function_fails(self) -> None:
        for path, language in [
            ("include/kvcache.hpp", "C++"),
            ("bindings/python/src/kvcache/engine.py", "Python"),
            ("bindings/go/engine.go", "Go"),
            ("bindings/zig/src/kvcache.zig", "Zig"),
        ]:
            with self.subTest(path):
                self.write(path, "x = lib.kvc_make\n")
                code, said = self.checked()
                self.assertEqual(code, 1)
                self.assertIn(f"{language}: kvc_text is missing in", said)
                self.assertNotIn("kvc_make is missing", said)
                self.write(path, "x = lib.kvc_make\ny = lib.kvc_text\n")
                self.assertEqual(self.checked()[0], 0)

    def test_comments_and_longer_names_do_not_count(self) -> None:
        for path, text in [
            ("include/kvcache.hpp", "kvc_make(); // kvc_text\n/* kvc_text\n*/ kvc_texts, my_kvc_text;\n"),
            ("include/kvcache.hpp", "kvc_make('\"'); // \"kvc_text\"\n"),
            ("bindings/python/a.py", "lib.kvc_make()  # kvc_text\n"),
            ("bindings/go/a.go", 'package a\n// #include "k.h"\nimport "C"\n\nvar a = C.kvc_make // kvc_text\n'),
            ("bindings/zig/a.zig", "const a = c.kvc_make; // kvc_text\n"),
            ("bindings/c/symbols.txt", "# kvc_text\nkvc_make 0.1\n"),
        ]:
            with self.subTest(path):
                self.write(path, text)
                code, said = self.checked()
                self.assertEqual(code, 1)
                self.assertIn("kvc_text is missing", said)
                (self.root / path).unlink()

    def test_names_in_strings_and_preambles_count(self) -> None:
        self.write("bindings/python/cdef.py", 'CDEF = """\nint kvc_make(int); // of C\nint kvc_text(void);\n"""\n')
        preamble = '/*\nint made(void) { return kvc_make(); }\n*/\nimport "C"\n'
        self.write("bindings/go/a.go", preamble + "var a = C.kvc_text\n")
        self.assertEqual(self.checked()[0], 0)
        self.assertIn("in C, Python, Go", self.checked()[1])

    def test_tests_and_samples_do_not_count(self) -> None:
        self.write("bindings/go/engine.go", "package a\nvar a = C.kvc_make\n")
        for path in ["bindings/go/engine_test.go", "bindings/go/samples/a.go", "bindings/go/tests/a.go"]:
            self.write(path, "package a\nvar b = C.kvc_text\n")
        code, said = self.checked()
        self.assertEqual(code, 1)
        self.assertIn("Go: kvc_text is missing", said)

    def test_a_header_without_functions_is_refused(self) -> None:
        self.write("include/kvcache.h", "/* nothing */\n")
        self.assertEqual(self.parity()[0], 1)
        self.assertIn("no functions were found", self.parity("--check")[1])


if __name__ == "__main__":
    unittest.main()
