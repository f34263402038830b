#!/usr/bin/env python3
"""Time and peak memory of `propagate davis` as a clip grows: a table and a plot.

    python3 benchmarks/growth.py [--plot growth.svg]

Clips of several lengths are rendered and propagated by turns, round after round. Time ought to be
linear in the frames and memory flat. Needs nothing but Python.
"""

import argparse
import json
import statistics
from pathlib import Path

import measure


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[25, 50, 100, 200, 400], help="lengths")
    parser.add_argument(
        "--size", default="480x880", help="of the frames, and of the encoder's input [default: 480x880]"
    )
    parser.add_argument("--weights", default="random:vitti16@0", help="[default: random:vitti16@0]")
    parser.add_argument("--device", default="cpu", help="[default: cpu]")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each length [default: 3]")
    parser.add_argument("--propagate", metavar="FILE", help="our program [default: this checkout's release build]")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the two curves, as SVG")
    return parser.parse_args()


def line(xs, ys):
    """Slope, intercept and r² of the least-squares line."""
    slope, intercept = statistics.linear_regression(xs, ys)
    return slope, intercept, statistics.correlation(xs, ys) ** 2


def panel(left, title, xs, ys, unit):
    """One plot, 300 by 200 at `left`: points joined by lines over axes from 0."""
    top = 1.15 * max(ys)
    place = lambda x, y: (left + 45 + 235 * x / max(xs), 170 - 130 * y / top)
    points = [place(x, y) for x, y in zip(xs, ys)]
    (x0, y0), (x1, y1) = place(0, 0), place(max(xs), top)
    curve = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [
        f'<text x="{left + 45}" y="22" font-weight="bold">{title}</text>',
        f'<path d="M{x0},{y1:.1f}V{y0}H{x1:.1f}" fill="none" stroke="#888"/>',
        f'<polyline points="{curve}" fill="none" stroke="#1f6feb" stroke-width="2"/>',
        f'<text x="{x0 - 5}" y="{y0}" text-anchor="end">0</text>',
    ]
    for number, (x, y) in zip(xs, points):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f6feb"/>')
        # Labels of the shortest clips would lie on each other.
        if number >= 0.1 * max(xs):
            parts.append(f'<text x="{x:.1f}" y="185" text-anchor="middle">{number}</text>')
    x, y = points[-1]
    parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="end">{ys[-1]:.0f} {unit}</text>')
    return "\n".join(parts)


def plot(path, frames, seconds, memory):
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 200" font-family="sans-serif" font-size="11">\n'
        '<rect width="620" height="200" fill="white"/>\n'
        f"{panel(0, 'processor time over frames', frames, seconds, 's')}\n"
        f"{panel(310, 'peak memory over frames', frames, memory, 'MiB')}\n</svg>\n"
    )


def main():
    given = arguments()
    program = measure.propagate(given.propagate)
    runs = {frames: [] for frames in given.frames}
    with measure.scratch() as folder:
        folder = Path(folder)
        data = {n: measure.render(program, folder / str(n), n, given.size) for n in given.frames}
        print(f"{measure.machine()} before the runs; {given.weights}, {given.size}", flush=True)
        options = ("--weights", given.weights, "--size", given.size, "--device", given.device)
        for _ in range(given.rounds):
            for frames, root in data.items():
                out = measure.emptied(folder / "out") / "run"
                took = measure.run(program, "davis", "--data", root, *options, "--out", out, "--json", "--quiet")
                affinity = json.loads(took.text)["provenance"]["seconds"]["propagate"]
                runs[frames].append((took, affinity))
                print(f"{frames} frames: {took.seconds:.1f} s, {took.peak / 2**20:.0f} MiB", flush=True)
    report(given, runs)


def report(given, runs):
    middle = lambda what: [statistics.median(map(what, taken)) for taken in runs.values()]
    seconds, processor = middle(lambda run: run[0].seconds), middle(lambda run: run[0].processor)
    affinity, memory = middle(lambda run: run[1]), middle(lambda run: run[0].peak / 2**20)
    print(f"\n{measure.machine()} after the runs; {given.rounds} rounds, medians\n")
    print("| frames | seconds | a frame | processor time a frame | affinity a frame | peak memory |")
    print("| --: | --: | --: | --: | --: | --: |")
    for frames, wall, busy, near, peak in zip(runs, seconds, processor, affinity, memory):
        each, busy, near = (1e3 * value / frames for value in (wall, busy, near))
        print(f"| {frames} | {wall:.1f} | {each:.0f} ms | {busy:.0f} ms | {near:.1f} ms | {peak:.0f} MiB |")
    for name, values, unit in (
        ("wall time", seconds, "s"),
        ("processor time", processor, "s"),
        ("peak memory", memory, "MiB"),
    ):
        slope, intercept, fit = line(list(runs), values)
        print(f"{name}: {intercept:.2f} {unit} + {slope:.4f} {unit} a frame, r² {fit:.4f}")
    if given.plot:
        plot(given.plot, list(runs), processor, memory)
        print(f"plot (processor time, peak memory) in {given.plot}")


if __name__ == "__main__":
    main()
