#!/usr/bin/env python3
"""The affinity as label-propagation programs in PyTorch do it, timed on the GPU that `ladder` ran on.

    python3 reference.py [FILE]     FILE: the times that `ladder FILE` left

The same case as the ladder's: 30x55 cells, 21 context frames, 384 values, k 7, radius 20,
temperature 0.7, frame 0 seen from everywhere. A hundred queries at a time are multiplied with all
keys, what the radius excludes is pushed down by a mask, then top-k, softmax and a weighted sum of
labels; once more with all queries at a time. Float32 products are exact ones unless TF32 is named.
"""

import json
import statistics
import sys

import torch

HEIGHT, WIDTH, FRAMES, DIM, CHANNELS, TOPK, RADIUS, TEMPERATURE = 30, 55, 21, 384, 4, 7, 20, 0.7
CELLS = HEIGHT * WIDTH


def problem(seed, device):
    """Unit features [1 + FRAMES, CELLS, DIM], the query's last, and labels [FRAMES, CELLS, CHANNELS]."""
    generator = torch.Generator(device).manual_seed(seed)
    normal = dict(generator=generator, device=device)
    base = torch.randn(CELLS, DIM, **normal)
    features = base + 0.8 * torch.randn(FRAMES + 1, CELLS, DIM, **normal)
    labels = torch.rand(FRAMES, CELLS, CHANNELS, **normal)
    return torch.nn.functional.normalize(features, dim=-1), labels / labels.sum(-1, keepdim=True)


def outside(device):
    """[CELLS, CELLS]: 0 within the radius, -1e10 elsewhere."""
    y, x = torch.arange(CELLS, device=device) // WIDTH, torch.arange(CELLS, device=device) % WIDTH
    squares = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    return torch.where(squares < RADIUS**2, 0.0, -1e10)


def propagate(features, labels, mask, batch):
    """Soft labels [CELLS, CHANNELS] of the last frame."""
    keys, query = features[:-1].flatten(0, 1), features[-1]
    values, mixed = labels.flatten(0, 1), []
    for start in range(0, CELLS, batch):
        part = query[start : start + batch]
        scores = (part @ keys.T).float().view(len(part), FRAMES, CELLS)
        scores[:, 1:] += mask[start : start + batch, None]
        best, index = scores.flatten(1).topk(TOPK, dim=1)
        weights = (best / TEMPERATURE).softmax(1)
        mixed.append((weights[:, :, None] * values[index]).sum(1))
    return torch.cat(mixed)


def median_ms(run, repeats=9):
    """Median time of run(0), run(1), … by device events."""
    run(0), run(1)
    times = []
    for repeat in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(repeat)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


@torch.inference_mode()
def main():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    cases, mask = [problem(seed, device) for seed in range(3)], outside(device)
    exact = propagate(*(part.double() for part in cases[0]), mask.double(), CELLS)
    ours = json.load(open(sys.argv[1])) if len(sys.argv) > 1 else {}
    if device == "cpu":
        print("no GPU: checked, not timed", (propagate(*cases[0], mask, 100) - exact).abs().max().item())
        return
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    print(f"{'PyTorch':38} {'ms':>9} {'error':>9} {'ours, ms':>9} {'ratio':>7}")
    reduced = [(features.bfloat16(), labels) for features, labels in cases]
    for name, tf32, inputs, key in [
        ("f32", False, cases, "f32_ms"),
        ("TF32", True, cases, "tf32_ms"),
        ("bfloat16 products", False, reduced, "bf16_ms"),
    ]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        for batch in (100, CELLS):
            run = lambda n: propagate(*inputs[n % len(inputs)], mask, batch)
            error = (run(0) - exact).abs().median().item()
            ms = median_ms(run)
            mine = ours.get(key, float("nan"))
            print(f"{f'{name}, {batch} queries at a time':38} {ms:9.3f} {error:9.1e} {mine:9.4f} {ms / mine:6.1f}x")


if __name__ == "__main__":
    main()
