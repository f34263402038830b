#!/usr/bin/env python3
"""J and F of the same masks by the official DAVIS-2017 evaluator and by `propagate score davis`, by turns.

    python3 benchmarks/scoring.py --evaluator CHECKOUT --data ROOT --predictions DIR

CHECKOUT is your own clone of davis2017-evaluation; this is to be run by a Python that can run it
(numpy, pandas, opencv, scikit-image, scipy, tqdm). ROOT is a DAVIS folder; frames are not needed.
DIR holds CLIP/FRAME.png of every clip of the validation list. The evaluator's time is that of its
evaluation alone, ours that of the whole program; it is also given as processes, with the start of
Python. The scores of both must be equal to the last digit but rounding, or this fails.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from time import perf_counter

import measure

# The evaluator sums in another order, in f64.
TOLERANCE = 1e-9


def evaluate(checkout, data, predictions):
    """The child: one evaluation by the checkout, its seconds and every object's means as JSON."""
    sys.path.insert(0, checkout)
    from davis2017.evaluation import DAVISEvaluation

    begin = perf_counter()
    scores = DAVISEvaluation(davis_root=data, task="semi-supervised", gt_set="val").evaluate(predictions)
    seconds = perf_counter() - begin
    objects = scores["J"]["M_per_object"]
    found = {
        name: {
            f"{letter}-{long}": float(scores[letter][short][at])
            for letter in "JF"
            for short, long in (("M", "Mean"), ("R", "Recall"), ("D", "Decay"))
        }
        for at, name in enumerate(objects)
    }
    print("\n" + json.dumps({"seconds": seconds, "objects": found}))


def compare(theirs, ours):
    """The largest difference between the objects' scores; ends the program where there is a real one."""
    if theirs.keys() != ours.keys():
        sys.exit(f"other objects: {sorted(theirs.keys() ^ ours.keys())}")
    differences = [abs(value - ours[name][key]) for name, scores in theirs.items() for key, value in scores.items()]
    if not max(differences) <= TOLERANCE:
        sys.exit(f"the scores differ, by up to {max(differences)}")
    return max(differences)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluator", required=True, type=Path, metavar="DIR", help="checkout of davis2017-evaluation")
    parser.add_argument("--data", required=True, type=Path, metavar="ROOT", help="a DAVIS folder")
    parser.add_argument("--predictions", required=True, type=Path, metavar="DIR", help="masks: CLIP/FRAME.png")
    parser.add_argument("--propagate", metavar="FILE", help="our program [default: this checkout's release build]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program [default: 3]")
    given = parser.parse_args()
    program = measure.propagate(given.propagate)
    with measure.scratch() as folder:
        data, clips = Path(folder) / "davis", measure.clips_of(given.data)
        # It finds clips by their frames, which a folder of masks may lack.
        measure.linked(given.data, clips, data, frames=False)
        masks = sum(1 for clip in clips for _ in (data / "Annotations/480p" / clip).glob("*.png"))
        print(f"{measure.machine()} before the runs", flush=True)
        theirs, alone, ours = [], [], []
        for number in range(given.rounds):
            theirs.append(
                measure.run(
                    sys.executable,
                    __file__,
                    "evaluate",
                    given.evaluator.resolve(),
                    data,
                    given.predictions.resolve(),
                )
            )
            ours.append(
                measure.run(
                    program,
                    "score",
                    "davis",
                    "--data",
                    data,
                    "--predictions",
                    given.predictions,
                    "--json",
                    "--quiet",
                )
            )
            official = json.loads(theirs[-1].text.splitlines()[-1])
            alone.append(official["seconds"])
            difference = compare(official["objects"], json.loads(ours[-1].text)["per_object"])
            print(
                f"round {number + 1}: evaluator {alone[-1]:.2f} s, propagate {ours[-1].seconds:.3f} s",
                flush=True,
            )
    report(len(clips), masks, official["objects"], difference, theirs, alone, ours)


def report(clips, masks, objects, difference, theirs, alone, ours):
    middle = statistics.median
    print(f"\n{measure.machine()} after the runs")
    print(f"{clips} clips, {masks} masks, {len(objects)} objects, {len(ours)} rounds, medians\n")
    print("| | evaluator | propagate | ratio |\n| --- | --: | --: | --: |")
    rows = (
        ("evaluation alone", alone, [run.seconds for run in ours], "s"),
        ("process, start to end", [run.seconds for run in theirs], [run.seconds for run in ours], "s"),
        ("processor time", [run.processor for run in theirs], [run.processor for run in ours], "s"),
        ("peak memory", [run.peak / 2**20 for run in theirs], [run.peak / 2**20 for run in ours], "MiB"),
    )
    for name, *both, unit in rows:
        one, other = map(middle, both)
        print(f"| {name} | {one:.2f} {unit} | {other:.3f} {unit} | {one / other:.1f}x |")
    print(f"\nratio of each round: {', '.join(f'{a / o.seconds:.1f}' for a, o in zip(alone, ours))}")
    print(f"largest difference of an object's score: {difference:.1e}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["evaluate"]:
        evaluate(*sys.argv[2:])
    else:
        main()
