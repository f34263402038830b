"""The training step of training_step.rs in PyTorch: the same network, sizes and optimiser.

    python3 benchmarks/training_step.py [ARCH] [BATCH] [STEPS] [cpu|cuda] [f32|bf16] [OURS]

OURS is the program of training_step.rs (`cargo bench --bench training_step --no-run` says where it
is): then the two take turns, step by step, and the ratio is printed.
bf16 is autocast over f32 weights. Attention is scaled_dot_product_attention, AdamW fused on a GPU.
"""

import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

ARCHS = {"vitti16": (192, 3), "vits16": (384, 6), "vitb16": (768, 12)}
PATCHES, VISIBLE, VALUES = 196, 2, 768


def attend(queries, keys, values, heads, drop=0.0):
    batch, count, width = queries.shape
    split = lambda xs: xs.view(batch, -1, heads, width // heads).transpose(1, 2)
    mixed = scaled_dot_product_attention(split(queries), split(keys), split(values), dropout_p=drop)
    return mixed.transpose(1, 2).reshape(batch, count, width)


class EncoderBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, xs):
        xs = xs + self.proj(attend(*self.qkv(self.norm1(xs)).chunk(3, -1), self.heads))
        return xs + self.fc2(gelu(self.fc1(self.norm2(xs))))


class DecoderBlock(nn.Module):
    def __init__(self, width, heads, hidden, drop):
        super().__init__()
        self.heads, self.drop = heads, drop
        self.query, self.memory = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.qkv, self.proj = nn.Linear(width, width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(drop)

    def forward(self, xs, memory):
        keys, values = self.memory(memory).chunk(2, -1)
        looked_up = self.out(attend(self.query(xs), keys, values, self.heads, self.drop))
        xs = self.norms[1](xs + self.dropout(looked_up))
        xs = self.norms[2](xs + self.dropout(self.fc2(self.dropout(gelu(self.fc1(xs))))))
        among = self.proj(attend(*self.qkv(xs).chunk(3, -1), self.heads, self.drop))
        return self.norms[0](xs + self.dropout(among))


class Autoencoder(nn.Module):
    def __init__(self, width, heads, inner=256):
        super().__init__()
        self.embed, self.cls = nn.Linear(VALUES, width), nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(EncoderBlock(width, heads) for _ in range(12))
        self.norm, self.into = nn.LayerNorm(width, 1e-6), nn.Linear(width, inner)
        self.mask, self.decoder = nn.Parameter(torch.zeros(1, 1, inner)), nn.ModuleList(
            DecoderBlock(inner, 8, 2048, 0.1) for _ in range(4)
        )
        self.last, self.pixels = nn.LayerNorm(inner, 1e-6), nn.Linear(inner, VALUES)
        self.register_buffer("positions", torch.randn(1, PATCHES, width))
        self.register_buffer("inner_positions", torch.randn(1, 1 + PATCHES, inner))

    def encode(self, patches, positions):
        xs = self.embed(patches) + positions
        xs = torch.cat([self.cls.expand(len(xs), -1, -1).to(xs.dtype), xs], 1)
        for block in self.blocks:
            xs = block(xs)
        return self.norm(xs)

    def forward(self, first, second, kept):
        memory = self.into(self.encode(patchify(first), self.positions))
        patches = patchify(second)
        rows = kept[..., None]
        visible = torch.gather(patches, 1, rows.expand(-1, -1, VALUES))
        places = torch.gather(self.positions.expand(len(kept), -1, -1), 1, rows.expand(-1, -1, self.positions.shape[2]))
        few = self.into(self.encode(visible, places))
        xs = self.mask.expand(len(kept), PATCHES, -1).to(few.dtype)
        xs = xs.scatter(1, rows.expand(-1, -1, few.shape[2]), few[:, 1:])
        xs = torch.cat([few[:, :1], xs], 1) + self.inner_positions
        for block in self.decoder:
            xs = block(xs, memory)
        predicted = self.pixels(self.last(xs[:, 1:])).float()
        target = patches.view(-1, PATCHES, 3, 256).transpose(2, 3).flatten(2)
        target = (target - target.mean(-1, True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        removed = torch.ones(kept.shape[0], PATCHES, device=kept.device).scatter(1, kept, 0)
        return (((predicted - target) ** 2).mean(-1) * removed).sum() / removed.sum()


def patchify(views):
    batch = len(views)
    return views.view(batch, 3, 14, 16, 14, 16).permute(0, 2, 4, 1, 3, 5).reshape(batch, PATCHES, VALUES)


def served(program, *arguments):
    """A function that has our program do a step and returns the seconds that it took."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen([program, *arguments, "--serve"], **pipes)

    def step():
        server.stdin.write("step\n")
        server.stdin.flush()
        seconds = float(server.stdout.readline())
        time.sleep(0.3)  # threads that wait busily for more work have given up by then
        return seconds

    return step


def main():
    usual = ["vits16", "16", "5", "cpu", "f32", ""]
    arch, batch, steps, device, dtype, program = sys.argv[1:] + usual[len(sys.argv) - 1 :]
    ours = served(program, arch, batch, steps, device, dtype) if program else lambda: None
    batch, steps = int(batch), int(steps)
    model = Autoencoder(*ARCHS[arch]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, (0.9, 0.95), fused=device == "cuda")
    first, second = (torch.randn(batch, 3, 224, 224, device=device) for _ in range(2))
    kept = torch.rand(batch, PATCHES, device=device).argsort(1)[:, :VISIBLE]
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times, our_times = [], []
    for _ in range(steps + 2):
        time.sleep(0.3)  # as in served()
        our_times.append(ours())
        wait()
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bf16"):
            loss = model(first, second, kept)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
        optimizer.step()
        wait()
        times.append(time.perf_counter() - start)
    median = sorted(times[2:])[len(times[2:]) // 2]
    threads = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name()
    print(f"PyTorch {torch.__version__}, {arch}, batch {batch}, {dtype}, {threads}, {steps} steps")
    print(f"step          {1e3 * median:.1f} ms ({batch / median:.1f} images/s)")
    if program:
        our_median = sorted(our_times[2:])[steps // 2]
        ratio = sorted(theirs / ours for theirs, ours in zip(times[2:], our_times[2:]))[steps // 2]
        print(f"ours          {1e3 * our_median:.1f} ms ({batch / our_median:.1f} images/s)")
        print(f"ratio         {ratio:.2f} (median of step by step)")
    if device == "cuda":
        print(f"peak memory   {torch.cuda.max_memory_allocated() >> 20} MiB of the GPU's")


main()
