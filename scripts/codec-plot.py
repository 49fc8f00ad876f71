#!/usr/bin/env python3
"""Draws docs/codecs/error-bits.svg: the error of attention's output against bits per element, for all codecs and for
references.

Usage:
    kvcache codec eval SAMPLES.safetensors --json > eval.json
    python scripts/codec-plot.py eval.json [--references FILE.csv] [--out FILE.svg]

The codecs' points come from the JSON of `kvcache codec eval`, those of the references from a table with the columns
codec, family, bits, attention_error, kld_x1000 (docs/codecs/references.csv). Needs matplotlib. The same input gives the
same file.
"""

import argparse
import csv
import json
import math
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "docs" / "codecs"
MARKERS = {
    "integer blocks": "s",
    "floats": "D",
    "KIVI": "v",
    "TurboQuant": "^",
    "codebooks": "P",
    "transform": "X",
}


def measured(path):
    """The points of an evaluation: (name, bits, error). Codecs that lose nothing have no place on a logarithmic axis."""
    report = json.loads(pathlib.Path(path).read_text())
    points = []
    for row in report["codecs"]:
        error = row["attention_error"]
        if error is None:
            sys.exit(f"{path}: the samples have no queries, so there is no error of attention")
        if error > 0:
            points.append((row["codec"], row["bits_per_element"], error))
    if not points:
        sys.exit(f"{path}: there is no codec with an error in it")
    return points, report


def references(path):
    """Family -> [(name, bits, error)]."""
    families = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            point = (row["codec"], float(row["bits"]), float(row["attention_error"]))
            families.setdefault(row["family"], []).append(point)
    return families


def lines(points):
    """The points that belong to one codec at several rates, as lines from left to right."""
    groups = {}
    for name, bits, error in points:
        stem = re.match(r"t[234]|[a-z]+[0-9]?", name).group()
        key = "t" if stem in ("t2", "t3", "t4") else stem
        groups.setdefault((key, name[len(stem):] if key == "t" else ""), []).append((bits, error))
    return [sorted(group) for group in groups.values() if len(group) > 1]


def shift(placed, bits, error):
    """How many lines a label has to go down so that it does not lie over those of points nearby."""
    place = (bits, math.log10(error))
    lines = sum(abs(place[0] - x) < 0.9 and abs(place[1] - y) < 0.035 for x, y in placed)
    placed.append(place)
    return lines


def main():
    """Reads, draws, writes."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("eval", help="output of kvcache codec eval --json")
    arguments.add_argument("--references", default=FOLDER / "references.csv")
    arguments.add_argument("--out", default=FOLDER / "error-bits.svg")
    given = arguments.parse_args()
    points, report = measured(given.eval)

    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kvcache"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6.2), layout="constrained")
    placed = []
    for family, members in references(given.references).items():
        axes.scatter(
            [bits for _, bits, _ in members],
            [error for _, _, error in members],
            s=26,
            marker=MARKERS.get(family, "o"),
            facecolors="none",
            edgecolors="#6f6f6f",
            label=family,
        )
        for name, bits, error in members:
            place = (5, 2 - 6 * shift(placed, bits, error))
            axes.annotate(name, (bits, error), place, textcoords="offset points", fontsize=5.5, color="#6f6f6f")
    for line in lines(points):
        axes.plot([bits for bits, _ in line], [error for _, error in line], color="#c0392b", linewidth=0.9, zorder=3)
    axes.scatter(
        [bits for _, bits, _ in points],
        [error for _, _, error in points],
        s=44,
        color="#c0392b",
        zorder=4,
        label="kvcache",
    )
    for name, bits, error in points:
        axes.annotate(
            name, (bits, error), (-6, -8), textcoords="offset points", fontsize=8, color="#c0392b", ha="right", zorder=5
        )
    axes.set_yscale("log")
    axes.set_xlim(0.8, 9.8)
    axes.set_xlabel("bits per element, everything counted")
    axes.set_ylabel("relative error of attention's output")
    axes.set_title(
        f"Error against bits: head dimension {report['dim']}, {report['dtype']}, "
        f"blocks of {report['tokens_per_block']} tokens",
        fontsize=10,
    )
    axes.grid(True, which="both", linewidth=0.3, color="#dddddd")
    axes.legend(fontsize=7, loc="upper right")
    figure.savefig(given.out, metadata={"Date": None, "Creator": None})
    # The writer leaves blanks at the ends of lines.
    path = pathlib.Path(given.out)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


if __name__ == "__main__":
    main()
