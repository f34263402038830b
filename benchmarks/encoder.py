"""Our encoder against PyTorch on the same frame size, in turn, on as many threads.

    python3 benchmarks/encoder.py [--arch vits16] [--frames 15] [--size 480x880] [--bf16]

Needs PyTorch. Builds benchmarks/encoder.rs and runs it as a server. The PyTorch side is a plain
vision transformer with random weights in inference mode, its attention
`scaled_dot_product_attention`; the time depends on the sizes, not on the weights. Prints medians
and the median of the ratios of neighbouring frames.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import time

import torch
from torch import nn
from torch.nn import functional

SIZES = {"vitti16": (192, 12, 3), "vits16": (384, 12, 6), "vitb16": (768, 12, 12)}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*qkv)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self, arch, height, width):
        super().__init__()
        channels, depth, heads = SIZES[arch]
        self.patches = nn.Conv2d(3, channels, 16, 16)
        self.cls = nn.Parameter(torch.randn(1, 1, channels))
        self.positions = nn.Parameter(torch.randn(1, 1 + (height // 16) * (width // 16), channels))
        self.blocks = nn.Sequential(*(Block(channels, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(channels, 1e-6)

    def forward(self, frames):
        x = self.patches(frames).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions
        return self.norm(self.blocks(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="vits16", choices=SIZES)
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--size", default="480x880")
    parser.add_argument("--bf16", action="store_true", help="PyTorch in bf16; ours stays f32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))

    root = pathlib.Path(__file__).parent.parent
    build = ["cargo", "bench", "--bench", "encoder", "--", arguments.arch, "1", arguments.size]
    server = subprocess.Popen(
        [*build, "--serve"],
        cwd=root,
        env={**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(what):
        server.stdin.write(what + "\n")
        server.stdin.flush()
        return float(server.stdout.readline())

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if arguments.bf16 else torch.float32
    model = Encoder(arguments.arch, height, width).eval().to(dtype)
    frame = torch.randn(1, 3, height, width).to(dtype)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def theirs():
        start = time.perf_counter()
        with torch.inference_mode():
            model(frame)
        return time.perf_counter() - start

    ask("frame"), theirs()  # the first ones take memory that later ones find
    peak = int(ask("memory"))  # now: the ceiling takes more
    ours_all, theirs_all, ceilings = [], [], []
    for _ in range(arguments.frames):
        ceilings.append(ask("ceiling"))
        ours_all.append(ask("frame"))
        time.sleep(0.05)  # threads that wait busily for more work have given up by then
        theirs_all.append(theirs())
        time.sleep(0.05)
    server.stdin.close()
    server.wait()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    ratio = statistics.median(t / o for o, t in zip(ours_all, theirs_all))
    print(f"{arguments.arch}, {arguments.size}, {arguments.threads} threads, "
          f"{arguments.frames} frames, PyTorch {torch.__version__} in {dtype}")
    print(f"ours          {1e3 * statistics.median(ours_all):.0f} ms (fastest {1e3 * min(ours_all):.0f})")
    print(f"PyTorch       {1e3 * statistics.median(theirs_all):.0f} ms (fastest {1e3 * min(theirs_all):.0f})")
    print(f"ratio         {ratio:.2f} (median of frame by frame)")
    print(f"ceiling       {statistics.median(ceilings):.0f} GFLOP/s")
    print(f"peak memory   ours {peak >> 20} MiB; PyTorch {after >> 10} MiB, of which {before >> 10} "
          "MiB before the first frame")


if __name__ == "__main__":
    main()
