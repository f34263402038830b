#!/usr/bin/env python3
"""The CropMAE repository's DAVIS evaluation and `propagate davis` on the same clip, by turns.

    python3 benchmarks/compare.py --reference CHECKOUT

CHECKOUT is your own clone of the CropMAE repository; this is to be run by a Python that can run it
(torch, timm, opencv, scikit-image, pandas, imageio, matplotlib). Without --data a clip of 70 frames
is rendered at 480x880; without --weights both get the same random ViT-S/16. Printed: medians of
each stage's seconds, of both programs' wall and processor time from start to table, and of their
peak memory, with their ratios, the matrix-product rate that torch reaches here, and how far the
two programs' masks agree.
"""

import argparse
import json
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import measure

STAGES = {
    "decode": "frames and labels read",
    "encode": "encoder",
    "propagate": "affinity (ours: and propagation)",
    "write": "masks read out, written",
    "score": "scores",
}
# The protocol's grid at 480x880 in patches of 16, and its neighbourhood.
ROWS, COLUMNS, RADIUS, QUEUE, PATCH_VALUES = 30, 55, 20, 20, 768
WIDTHS = {"vits16": (384, 12), "vitb16": (768, 12), "vitl16": (1024, 24)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--reference", required=True, type=Path, metavar="DIR", help="checkout of the CropMAE repository"
    )
    parser.add_argument("--data", type=Path, metavar="ROOT", help="a DAVIS folder [default: a rendered clip]")
    parser.add_argument("--clip", nargs="+", metavar="NAME", help="clips of ROOT [default: its validation list]")
    parser.add_argument("--frames", type=int, default=70, help="length of the rendered clip [default: 70]")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a .pth of the reference [default: random]")
    parser.add_argument("--model", choices=WIDTHS, default="vits16", help="the reference's name of the network")
    parser.add_argument("--propagate", metavar="FILE", help="our program [default: this checkout's release build]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program [default: 3]")
    return parser.parse_args()


def reference(given, weights):
    """The command that runs the checkout; without more words it writes random weights."""
    script = Path(__file__).with_name("reference_davis.py")
    return sys.executable, script, given.reference.resolve(), given.model, weights


def run_reference(given, weights, data, out):
    """One run: what the process took, its stages' seconds and its masks' folder."""
    copy = measure.emptied(out / "reference" / "data")
    # Its label caches land beside the annotations: a fresh copy each time, or later runs skip work.
    measure.linked(data, measure.clips_of(data), copy / "davis", frames=True)
    results = measure.emptied(out / "reference" / "out")
    took = measure.run(*reference(given, weights), copy / "davis", results)
    stages = defaultdict(float)
    for stage, value in re.findall(r"^@ (\w+) ([\d.]+)$", took.text, re.MULTILINE):
        stages[stage] += float(value)
    return took, stages, results / "masks"


def run_ours(program, weights, data, out):
    """The same of ours."""
    results = measure.emptied(out / "ours") / "run"
    options = ("--out", results, "--device", "cpu", "--json", "--quiet")
    took = measure.run(program, "davis", "--data", data, "--weights", weights, *options)
    stages = json.loads(took.text)["provenance"]["seconds"]
    stages["write"] += stages.pop("read_out", 0.0)
    return took, stages, results / "predictions"


def in_turn(number, theirs, ours):
    """Both runs of a round, theirs first in even rounds, so that a drift of the load favours neither."""
    if number % 2 == 0:
        first = theirs()
        return first, ours()
    first = ours()
    return theirs(), first


def agreement(one: Path, other: Path) -> float:
    """Share of pixels to which both programs gave the same label, over all frames but the given first."""
    import numpy
    from PIL import Image

    same = pixels = 0
    for path in sorted(one.glob("*/*.png")):
        if int(path.stem) == 0:
            continue
        a, b = (numpy.array(Image.open(root / path.parent.name / path.name)) for root in (one, other))
        same, pixels = same + int((a == b).sum()), pixels + a.size
    return same / pixels


def work(model, lengths):
    """GFLOP of the encoder's and of the affinity's matrix products over clips of these lengths.

    Of the affinity only what cannot be skipped: keys within the radius, copies of frame 0 once.
    """
    width, depth = WIDTHS[model]
    cells = ROWS * COLUMNS
    tokens = cells + 1
    encoder = depth * (24 * tokens * width**2 + 4 * tokens**2 * width) + 2 * tokens * PATCH_VALUES * width
    near = sum(
        max(0, ROWS - abs(dy)) * max(0, COLUMNS - abs(dx))
        for dy in range(-RADIUS, RADIUS + 1)
        for dx in range(-RADIUS, RADIUS + 1)
        if dy**2 + dx**2 < RADIUS**2
    )
    pairs = sum(cells**2 + min(t - 1, QUEUE) * near for length in lengths for t in range(1, length))
    return encoder * sum(lengths) / 1e9, 2 * width * pairs / 1e9


def row(name, theirs, ours, unit="s", digits=1):
    theirs, ours = statistics.median(theirs), statistics.median(ours)
    ratio = f"{theirs / ours:.2f}x" if ours else ""
    print(f"| {name} | {theirs:.{digits}f} {unit} | {ours:.{digits}f} {unit} | {ratio} |")


def report(given, lengths, theirs, ours):
    print(f"\n{measure.machine()} after the runs")
    print(f"{sum(lengths)} frames, {given.model}, {len(ours)} rounds, medians\n")
    print("| | reference | propagate | ratio |\n| --- | --: | --: | --: |")
    for stage, name in STAGES.items():
        # The loader's workers are not watched where Python starts them afresh.
        if all(stage in stages for _, stages, _ in theirs):
            row(name, [s[stage] for _, s, _ in theirs], [s.get(stage, 0.0) for _, s, _ in ours], digits=2)
    walls = [took.seconds for took, *_ in ours]
    row("evaluation, without the start of Python", [stages["total"] for _, stages, _ in theirs], walls)
    row("**start to table**", [took.seconds for took, *_ in theirs], walls)
    row("processor time", *([took.processor for took, *_ in runs] for runs in (theirs, ours)))
    row("**peak memory**", *([took.peak / 2**20 for took, *_ in runs] for runs in (theirs, ours)), "MiB", 0)

    best = max(stages["ceiling"] for _, stages, _ in theirs)
    print(f"\nceiling: a product of 2048x2048 f32 matrices in torch, best of all rounds: {best:.0f} GFLOP/s")
    for stage, amount in zip(("encode", "propagate"), work(given.model, lengths)):
        rate = amount / statistics.median(stages[stage] for _, stages, _ in ours)
        share = f"{amount:.0f} GFLOP, {rate:.0f} GFLOP/s, {100 * rate / best:.0f} % of it"
        print(f"ours, {STAGES[stage]}: {share}")
    each = ", ".join(f"{t.seconds / o.seconds:.2f}" for (t, *_), (o, *_) in zip(theirs, ours))
    print(f"start to table, ratio of each round: {each}")
    print(f"cores had: reference {cores(theirs):.2f}, propagate {cores(ours):.2f}")
    print(f"pixels labelled alike: {100 * agreement(theirs[-1][2], ours[-1][2]):.3f} %")


def cores(runs):
    """Cores that a program was given on average: below the machine's number where others worked too."""
    return statistics.median(took.processor / took.seconds for took, *_ in runs)


def main():
    given = arguments()
    program = measure.propagate(given.propagate)
    with measure.scratch() as folder:
        folder = Path(folder)
        data, clips = given.data, given.clip
        if data is None:
            data = measure.render(program, folder / "sample", given.frames, "480x880")
        measure.linked(data, clips or measure.clips_of(data), folder / "davis", frames=True)
        data = folder / "davis"
        weights = given.weights.resolve() if given.weights else folder / "random.pth"
        if given.weights is None:
            measure.run(*reference(given, weights))
        lengths = [sum(1 for _ in clip.glob("*.jpg")) for clip in data.glob("JPEGImages/480p/*")]
        print(f"{measure.machine()} before the runs", flush=True)
        theirs, ours = [], []
        try:
            for number in range(given.rounds):
                one, other = in_turn(
                    number,
                    lambda: run_reference(given, weights, data, folder),
                    lambda: run_ours(program, weights, data, folder),
                )
                theirs.append(one)
                ours.append(other)
                took = f"reference {one[0].seconds:.1f} s, propagate {other[0].seconds:.1f} s"
                print(f"round {number + 1}: {took}", flush=True)
        except KeyboardInterrupt:
            # What was measured so far is worth its table.
            if not ours:
                raise
        report(given, lengths, theirs, ours)


if __name__ == "__main__":
    main()
