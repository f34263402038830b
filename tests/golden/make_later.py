"""Writes checkpoints beside this file as later versions of PyTorch can save them, from the encoder of
mae.safetensors.

    python make_later.py        with torch 2.15, numpy 2, safetensors 0.8
"""

import pathlib

import torch
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).parent


def encoder():
    tensors = load_file(HERE / "mae.safetensors")
    return {
        # f16 represents them exactly, and keeps the files small
        name: tensor.half()
        for name, tensor in tensors.items()
        if "decoder" not in name and name != "mask_token"
    }


def with_average(state):
    """timm's training checkpoint: averaged weights beside the others; and a view that repeats one
    number."""
    expanded = state | {"cls_token": torch.full((1,), 0.5).expand(1, 1, 8)}
    average = {name: -tensor for name, tensor in state.items()}
    checkpoint = {"epoch": 3, "state_dict": expanded, "state_dict_ema": average, "optimizer": {}}
    torch.save(checkpoint, HERE / "with_average.pth")


if __name__ == "__main__":
    weights = encoder()
    with_average(weights)
    torch.save({"epoch": 3, "model": torch.nn.Identity()}, HERE / "module_in_dict.pth")
    arrays = {name: weights[name].numpy() for name in ("cls_token", "norm.bias")}
    torch.save(arrays, HERE / "numpy.pth")
    negated = torch._neg_view(weights["norm.bias"])
    torch.save(weights | {"norm.bias": negated}, HERE / "negated.pth")
    float8 = weights["norm.bias"].to(torch.float8_e4m3fn)
    torch.save(weights | {"norm.bias": float8}, HERE / "float8.pth")
