#!/usr/bin/env python3
"""Every public item of kvcache.hpp has a comment before it: documented.py HEADER.

Relies on the formatter: items begin in the column of their scope, and what goes on is indented further or closes.
"""

import re
import sys

PASSED_OVER = re.compile(r"(#|//|}|namespace|inline namespace|static_assert|public:|friend (class|detail::)|$)")


def undocumented(text: str) -> list[str]:
    """The items without a comment, as "number: line"."""
    faults = []
    # Scopes that are open: the column of their items, and whether those are public.
    scopes = [(0, True)]
    documented = False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        column = len(line) - len(line.lstrip())
        if line.startswith("namespace detail {"):
            scopes.append((0, False))
        elif line.startswith("} // namespace detail"):
            scopes.pop()
        elif stripped in ("};", "}") and len(scopes) > 1 and column < scopes[-1][0]:
            scopes.pop()
        elif stripped == "private:":
            scopes[-1] = (scopes[-1][0], False)
        elif stripped.startswith("///"):
            documented = True
            continue
        elif column == scopes[-1][0] and scopes[-1][1] and not PASSED_OVER.match(stripped):
            if not documented:
                faults.append(f"{number}: {stripped}")
            elif stripped.startswith("template") and stripped[-1] not in ";{}":
                continue  # What it is a template of stands on a line of its own.
            if re.match(r"(template <.*> )?(class|struct|enum class) ", stripped) and stripped.endswith("{"):
                scopes.append((column + 4, True))
        elif column == scopes[-1][0] and re.match(r"(class|struct) .*{$", stripped):
            scopes.append((column + 4, False))
        if column <= scopes[-1][0]:
            documented = False
    return faults


def main() -> int:
    # What this finds, it must be able to find.
    probe = "/// A.\nclass a {\npublic:\n    a();\n    /// B.\n    int b();\n\nprivate:\n    int c;\n};\nint d();\n"
    if undocumented(probe) != ["4: a();", "11: int d();"]:
        print(f"the check finds {undocumented(probe)} in the probe", file=sys.stderr)
        return 1
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    faults = undocumented(text)
    for fault in faults:
        print(f"{sys.argv[1]}:{fault}: say what it is", file=sys.stderr)
    items = text.count("\n    /// ") + text.count("\n/// ")
    if not faults:
        print(f"documented: {items} lines of comments, no public item without")
    return 1 if faults or items < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
