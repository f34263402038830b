"""Writes training.pth beside this file: a training checkpoint as CropMAE's program saves one.

A tiny network with the reference's module names (encoder of width 8, depth 1, patch 4; decoder of
width 8, one nn.TransformerDecoderLayer; views of 8x8 pixels), stepped twice by torch.optim.AdamW in
timm's two groups. Every value of a parameter has the same gradient, which follows from the
parameter's name (see `slope`), so tests/pretrain/start.rs can tell whose moments are whose.

    python make_training.py        with torch 2.2.1
"""

import argparse
import pathlib

import torch
from torch import nn

WIDTH, PATCH, SIDE = 8, 4, 2


def slope(name):
    """A gradient between 1/64 and 61/64."""
    return (sum((i + 1) * byte for i, byte in enumerate(name.encode())) % 61 + 1) / 64


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(WIDTH), Attention()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH), Mlp()


class PatchEmbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        table = torch.zeros(1, 1 + SIDE * SIDE, WIDTH)
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.pos_embed = nn.Parameter(table.clone(), requires_grad=False)
        self.blocks = nn.ModuleList([Block()])
        self.norm = nn.LayerNorm(WIDTH)
        self.decoder_embed = nn.Linear(WIDTH, WIDTH)
        self.mask_token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.decoder_pos_embed = nn.Parameter(table.clone(), requires_grad=False)
        layer = nn.TransformerDecoderLayer(WIDTH, 2, 16, batch_first=True)
        self.decoder_blocks = nn.ModuleList([layer])
        self.decoder_norm = nn.LayerNorm(WIDTH)
        self.decoder_pred = nn.Linear(WIDTH, 3 * PATCH * PATCH)


def main():
    torch.manual_seed(0)
    network = Network()
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    spared = [p for name, p in named if p.ndim <= 1 or name.endswith(".bias")]
    others = [p for name, p in named if not (p.ndim <= 1 or name.endswith(".bias"))]
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.05}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    for _ in range(2):
        for name, parameter in named:
            parameter.grad = torch.full_like(parameter, slope(name))
        optimizer.step()
    training = {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 1,
        "scaler": {},
        "args": argparse.Namespace(model="tiny", blr=1e-4),
    }
    torch.save(training, pathlib.Path(__file__).parent / "training.pth")


main()
