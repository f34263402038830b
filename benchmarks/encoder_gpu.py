"""The encoder in PyTorch on a GPU, frames a second by number type and batch: a table's rows.

    python3 benchmarks/encoder_gpu.py [ARCH] [DEVICE] [HEIGHTxWIDTH] [STEPS] [BATCH ...]

As encoder_gpu.rs, with the same defaults; the network is encoder.py's: `scaled_dot_product_attention`,
inference mode, weights and frames in bf16 where that is the type. `--compile` adds torch.compile.
"""

import sys
import time

import torch
from encoder import Encoder


def main():
    given = [word for word in sys.argv[1:] if not word.startswith("--")]
    usual = ["vits16", "cuda", "480x880", "15"]
    arch, device, size, steps = given[:4] + usual[len(given[:4]) :]
    height, width = map(int, size.split("x"))
    batches = [int(batch) for batch in given[4:]] or [1, 2, 4, 8, 16]
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    print(f"| {arch}, {size}, PyTorch {torch.__version__}, {name} | batch | frames/s |")
    print("| --- | --: | --: |")
    for precision in ("f32", "tf32", "bf16"):
        if precision == "tf32" and not device.startswith("cuda"):
            continue
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        model = Encoder(arch, height, width).eval().to(device, dtype)
        if "--compile" in sys.argv:
            model = torch.compile(model)
        for batch in batches:
            frames = torch.randn(batch, 3, height, width, device=device, dtype=dtype)
            times = []
            with torch.inference_mode():
                for _ in range(int(steps) + 3):
                    wait()
                    start = time.perf_counter()
                    features = model(frames)[:, 1:].float()
                    torch.nn.functional.normalize(features, dim=-1)
                    wait()
                    times.append(time.perf_counter() - start)
            times = sorted(times[3:])
            print(f"| {precision} | {batch} | {batch / times[len(times) // 2]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
