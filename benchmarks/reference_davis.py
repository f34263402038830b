"""Runs the DAVIS evaluation of a CropMAE checkout as its own command does, its stages timed.

    python3 benchmarks/reference_davis.py CHECKOUT MODEL WEIGHTS DATA OUT
    python3 benchmarks/reference_davis.py CHECKOUT MODEL WEIGHTS          write seeded random weights

compare.py calls it. Every call of a stage prints a line `@ STAGE SECONDS`; those of the checkout's
loader come from its worker process. Nothing of the checkout is changed: its functions are wrapped
where they are looked up. `wandb`, which it imports and does not need here, may be missing.
"""

import importlib.util
import sys
import tempfile
import types
from pathlib import Path
from time import perf_counter

PACKAGE = "downstreams.propagation"


def timed(owner, name, stage):
    """Replaces `owner.name` by itself with a stop-watch."""
    inner = getattr(owner, name)

    def wrapper(*args, **named):
        begin = perf_counter()
        result = inner(*args, **named)
        # A line break first: what ran may have left a line open.
        print(f"\n@ {stage} {perf_counter() - begin:.6f}", flush=True)
        return result

    setattr(owner, name, wrapper)


def ceiling(side=2048, rounds=20):
    """GFLOP/s of the best of a few square f32 matrix products."""
    import torch

    a, b = torch.randn(side, side), torch.randn(side, side)
    best = float("inf")
    for _ in range(rounds):
        begin = perf_counter()
        torch.mm(a, b)
        best = min(best, perf_counter() - begin)
    print(f"\n@ ceiling {2 * side**3 / best / 1e9:.1f}", flush=True)


def random_weights(model, path):
    """A checkpoint of the checkout's own network as its constructor leaves it under seed 0."""
    import torch

    models = importlib.import_module(f"{PACKAGE}.src.models_mae")
    torch.manual_seed(0)
    with tempfile.NamedTemporaryFile(suffix=".pth") as nothing:
        torch.save({"model": {}}, nothing.name)
        network = getattr(models, model)(ckpt_path=nothing.name)
    torch.save({"model": network.state_dict()}, path)


def evaluate(model, weights, data, out):
    start = importlib.import_module(f"{PACKAGE}.start")
    utilities = importlib.import_module(f"{PACKAGE}.src.utils.test_utils")
    timed(importlib.import_module(f"{PACKAGE}.src.data.vos").VOSDataset, "__getitem__", "decode")
    timed(importlib.import_module(f"{PACKAGE}.src.models_mae").MaskedAutoencoderViT, "forward", "encode")
    timed(utilities, "mem_efficient_batched_affinity", "propagate")
    timed(utilities, "dump_predictions", "write")
    timed(start, "convert_davis", "write")
    timed(start, "evaluation_davis", "score")
    timed(start, "evaluate_on_davis", "total")

    clips = (data / "ImageSets/2017/val.txt").read_text().split()
    listing = out / "davis.txt"
    folders = [[f"{data}/{kind}/480p/{clip}" for kind in ("JPEGImages", "Annotations")] for clip in clips]
    listing.write_text("".join(f"{pictures} {masks}\n" for pictures, masks in folders))
    between, masks = f"{out}/in/", f"{out}/masks/"
    protocol = dict(temperature=0.7, topk=7, radius=20, video_len=20, crop_size=[480, 880])
    start.evaluate_on_davis(
        dict(model_type=model, resume=str(weights), save_path=between, filelist=str(listing), **protocol),
        dict(out_folder=masks, in_folder=between, dataset=f"{data}/", set="val"),
        dict(davis_path=f"{data}/", set="val", task="semi-supervised", results_path=masks),
    )


def main(checkout, model, weights, data=None, out=None):
    sys.path.insert(0, checkout)
    # Its argument parsers read the command line once more.
    del sys.argv[1:]
    if importlib.util.find_spec("wandb") is None:
        sys.modules["wandb"] = types.ModuleType("wandb")
    if data is None:
        random_weights(model, weights)
    else:
        ceiling()
        evaluate(model, Path(weights), Path(data), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
