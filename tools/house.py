"""Shows the imports between the folders of a checkout, and the sizes of the folders.

    python -m tools.house [--root CHECKOUT] [--picture docs/house.svg]

Prints the numbers of folders, files and lines, the median and maximum length of a file, and import cycles between folders.
--picture draws the folders in layers, with arrows from each folder to the folders that it imports.
"""

import argparse
import ast
import collections
import statistics
from collections.abc import Mapping
from html import escape
from pathlib import Path

PACKAGES = ("hmmn_jax", "data", "configs", "tools", "benchmarks")
SCRIPTS = ("train.py", "evaluate.py", "convert_weights.py")
ROW, GAP, HEIGHT, LETTER = (
    92,
    22,
    34,
    7.6,
)  # in pixels: distance between rows, distance between boxes, height of a box, width of a letter

Graph = dict[str, set[str]]


def rooms(root: Path) -> dict[str, list[Path]]:
    """Returns the files of each part of a checkout.

    A part is a package, or a folder or module of a package. The scripts at the root form the part "scripts".
    """
    found: dict[str, list[Path]] = collections.defaultdict(list)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            deep = package in ("hmmn_jax", "configs") and parts[1] != "__init__"
            found["/".join(parts[:2]) if deep else package].append(path)
    found["scripts"] = [root / name for name in SCRIPTS if (root / name).is_file()]
    return dict(found)


def imports(root: Path) -> Graph:
    """Returns, for each folder, the other folders that its files import.

    The result includes local imports and imports for type checkers.
    """
    of_file = {path.relative_to(root).with_suffix(""): room for room, paths in rooms(root).items() for path in paths}
    graph: Graph = {room: set() for room in of_file.values()}
    for path, room in of_file.items():
        for name in imported(root / path.with_suffix(".py")):
            for module in (Path(*name.split(".")), Path(*name.split(".")[:-1])):
                other = of_file.get(module) or of_file.get(module / "__init__")
                if other is not None:
                    if other != room:
                        graph[room].add(other)
                    break
    return graph


def imported(path: Path) -> set[str]:
    """Returns the dotted names that a file imports. `from MODULE import NAME` is listed as `MODULE.NAME`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns the groups of folders that import each other, directly or indirectly."""
    reach = {room: _reachable(graph, room) for room in graph}
    groups = {tuple(sorted({room, *(other for other in reach[room] if room in reach[other])})) for room in graph}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def layers(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns the layers of folders from top to bottom. Each folder is above all folders that it imports, except in a cycle.

    Folders in a cycle share a layer.
    """
    reach = {room: _reachable(graph, room) for room in graph}
    depth: dict[str, int] = {}
    for room in sorted(graph, key=lambda room: len(reach[room])):
        below = [depth[other] for other in reach[room] if other in depth and room not in reach[other]]
        depth[room] = 1 + max(below, default=-1)
    return [[room for room in sorted(graph) if depth[room] == level] for level in range(max(depth.values()), -1, -1)]


def picture(graph: Mapping[str, set[str]], sizes: Mapping[str, int]) -> str:
    """Draws the folders in layers as SVG.

    Omits folders without arrows, single files that import nothing, and arrows that are implied by other arrows.
    """
    used = set().union(*graph.values())
    shown = {room for room, others in graph.items() if others or (room in used and sizes[room] > 1)}
    graph = {room: others & shown for room, others in graph.items() if room in shown}
    rows = layers(graph)
    widths = {room: LETTER * len(_label(room, sizes)) + 20 for room in graph}
    total = max(sum(widths[room] + GAP for room in row) for row in rows) + GAP
    boxes = {}
    for level, row in enumerate(rows):
        x = (total - sum(widths[room] + GAP for room in row) + GAP) / 2
        for room in row:
            boxes[room] = x, 20 + ROW * level
            x += widths[room] + GAP
    lines = []
    for room, others in graph.items():
        direct = {other for other in others if not any(other in _reachable(graph, between) for between in others - {other})}
        for other in sorted(direct):
            x1, y1 = boxes[room][0] + widths[room] / 2, boxes[room][1] + HEIGHT
            x2, y2 = boxes[other][0] + widths[other] / 2, boxes[other][1] - 3
            bend = f"C{x1:.0f} {y1 + 30:.0f} {x2:.0f} {y2 - 30:.0f} {x2:.0f} {y2:.0f}"
            lines.append(f'<path class="arrow" d="M{x1:.0f} {y1:.0f} {bend}" marker-end="url(#head)"/>')
    for room, (x, y) in boxes.items():
        box = f'<rect x="{x:.0f}" y="{y:.0f}" width="{widths[room]:.0f}" height="{HEIGHT}" rx="6"/>'
        text = f'<text x="{x + widths[room] / 2:.0f}" y="{y + 22:.0f}">{escape(_label(room, sizes))}</text>'
        lines.append(f"<g>{box}{text}</g>")
    height = 20 + ROW * len(rows) - (ROW - HEIGHT) + 20
    head = (
        '<marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto"><path d="M0 0L6 3L0 6z"/></marker>'
    )
    style = (
        "text{font:13px monospace;text-anchor:middle;fill:#1c2430}rect{fill:#eef3f8;stroke:#7d93ab}"
        ".arrow{fill:none;stroke:#7d93ab;stroke-width:1.2}marker path{fill:#7d93ab}svg{background:#fff}"
    )
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total:.0f} {height:.0f}" role="img">'
        f"<title>Imports between folders</title><style>{style}</style><defs>{head}</defs>\n{body}\n</svg>\n"
    )


def report(root: Path) -> str:
    """Formats the statistics of a checkout."""
    graph, lines = imports(root), []
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for paths in rooms(root).values() for path in paths}
    for room, paths in rooms(root).items():
        sizes = [lengths[path] for path in paths]
        below = ", ".join(sorted(graph.get(room, ()))) or "nothing"
        lines.append(f"{room:<24}{len(paths):>4} files {sum(sizes):>6} lines, imports {below}")
    longest = sorted(lengths, key=lengths.get, reverse=True)[:3]
    arrows = sum(map(len, graph.values()))
    median = statistics.median(lengths.values())
    lines += [
        f"folders: {len(graph)}, files: {len(lengths)}, lines: {sum(lengths.values())}, median lines per file: {median:.0f}",
        "longest files, in lines: " + ", ".join(f"{path.relative_to(root)} ({lengths[path]})" for path in longest),
        f"imports between folders: {arrows}, cycles: {'; '.join(' <-> '.join(group) for group in circles(graph)) or 'none'}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints the statistics. With --picture, also draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    print(report(args.root))
    if args.picture:
        sizes = {room: len(paths) for room, paths in rooms(args.root).items()}
        args.picture.write_text(picture(imports(args.root), sizes), encoding="utf-8")


def _reachable(graph: Mapping[str, set[str]], room: str) -> set[str]:
    seen: set[str] = set()
    waiting = [room]
    while waiting:
        for other in graph.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def _label(room: str, sizes: Mapping[str, int]) -> str:
    return f"{room.removeprefix('hmmn_jax/')} ({sizes[room]})"


if __name__ == "__main__":
    main()
