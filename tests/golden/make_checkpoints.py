"""Writes the tiny checkpoints beside this file, one as each program would save it.

All hold the same encoder (width 8, depth 2, patch 4, a 4x4 position table) of seeded random
values that f16 and bf16 represent exactly, so tests/weights can ask for equality.

    python make_checkpoints.py        with torch 2.2.1, numpy 1.26, safetensors 0.8
"""

import argparse
import collections
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
WIDTH, DEPTH, PATCH, SIDE = 8, 2, 4, 4
GENERATOR = torch.Generator().manual_seed(1)


def draw(*shape):
    """Multiples of 1/64 in [-1, 127/64]: at most 8 significant bits."""
    return torch.randint(-64, 128, shape, generator=GENERATOR).float() / 64


def encoder():
    weights = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, 1 + SIDE * SIDE, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": draw(WIDTH),
    }
    for block in range(DEPTH):
        shapes = {
            "norm1.weight": (WIDTH,),
            "norm1.bias": (WIDTH,),
            "attn.qkv.weight": (3 * WIDTH, WIDTH),
            "attn.qkv.bias": (3 * WIDTH,),
            "attn.proj.weight": (WIDTH, WIDTH),
            "attn.proj.bias": (WIDTH,),
            "norm2.weight": (WIDTH,),
            "norm2.bias": (WIDTH,),
            "mlp.fc1.weight": (4 * WIDTH, WIDTH),
            "mlp.fc1.bias": (4 * WIDTH,),
            "mlp.fc2.weight": (WIDTH, 4 * WIDTH),
            "mlp.fc2.bias": (WIDTH,),
        }
        weights |= {f"blocks.{block}.{name}": draw(*shape) for name, shape in shapes.items()}
    return weights | {"norm.weight": draw(WIDTH), "norm.bias": draw(WIDTH)}


def ordered(weights):
    """As Module.state_dict() returns it: an OrderedDict that carries an attribute."""
    state = collections.OrderedDict(weights)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return state


def prefixed(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


def scaled(weights):
    """DINOv2's extra tensors."""
    gammas = {
        f"blocks.{block}.ls{branch}.gamma": draw(WIDTH)
        for block in range(DEPTH)
        for branch in (1, 2)
    }
    return weights | gammas


def mae(weights):
    decoder = {
        "mask_token": draw(1, 1, 4),
        "decoder_embed.weight": draw(4, WIDTH),
        "decoder_pos_embed": draw(1, 17, 4),
    }
    state = ordered(weights | decoder)
    parameter = torch.nn.Parameter(torch.ones(WIDTH))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, betas=(0.9, 0.95))
    parameter.sum().backward()
    optimizer.step()
    checkpoint = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 12},
        "args": argparse.Namespace(
            model="mae_vit_tiny", lr=None, mask_ratio=0.985, output_dir=pathlib.PurePosixPath("out")
        ),
    }
    torch.save(checkpoint, HERE / "mae.pth")
    save_file(dict(state), HERE / "mae.safetensors", metadata={"num_heads": "2"})


def dino(weights):
    head = {"mlp.0.weight": draw(2, WIDTH), "last_layer.weight_g": draw(2, 1)}
    student = {name: -tensor.half() for name, tensor in weights.items()}
    parts = {
        "teacher": prefixed("backbone.", weights) | prefixed("head.", head),
        "student": prefixed("module.backbone.", student) | prefixed("module.head.", head),
    }
    checkpoint = {name: ordered(state) for name, state in parts.items()}
    checkpoint |= {"epoch": 100, "dino_loss": {"center": draw(1, 2)}}
    torch.save(checkpoint, HERE / "dino.pth")


def dinov2(weights):
    # one chunk, as trained: blocks.<chunk>.<block>
    chunked = {name.replace("blocks.", "blocks.0."): t for name, t in scaled(weights).items()}
    state = {name: t.half() for name, t in chunked.items()} | {"mask_token": draw(1, WIDTH)}
    torch.save(ordered(state), HERE / "dinov2.pth")


def timm(weights):
    # registers, no CLS row in the position table, bfloat16, a classifier
    state = dict(weights)
    state["pos_embed"] = state["pos_embed"][:, 1:].contiguous()
    state |= {"reg_token": draw(1, 2, WIDTH), "head.weight": draw(3, WIDTH)}
    state |= {"fc_norm.weight": draw(WIDTH), "head.bias": draw(3)}
    save_file({name: t.bfloat16() for name, t in state.items()}, HERE / "timm.safetensors")


def hugging_face(weights, names):
    """Keys renamed, query, key and value apart."""
    stem = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    state = {}
    for name, tensor in weights.items():
        if name in stem:
            state[stem[name]] = tensor
            continue
        _, block, part = name.split(".", 2)
        module, leaf = part.rsplit(".", 1)
        layer = f"encoder.layer.{block}."
        if module == "attn.qkv":
            for row, piece in zip(("query", "key", "value"), tensor.chunk(3)):
                state[f"{layer}attention.attention.{row}.{leaf}"] = piece.contiguous()
        elif leaf == "gamma":
            state[f"{layer}{module.replace('ls', 'layer_scale')}.lambda1"] = tensor
        else:
            state[f"{layer}{names[module]}.{leaf}"] = tensor
    return state


def hugging_face_vitmae(weights):
    names = {
        "norm1": "layernorm_before",
        "attn.proj": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    state = prefixed("vit.", hugging_face(weights, names)) | {"decoder.mask_token": draw(1, 1, 4)}
    save_file(state, HERE / "hf_vitmae.safetensors", metadata={"format": "pt"})


def hugging_face_dinov2(weights):
    names = {
        "norm1": "norm1",
        "attn.proj": "attention.output.dense",
        "norm2": "norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    state = hugging_face(scaled(weights), names) | {"embeddings.mask_token": draw(1, WIDTH)}
    state = {name: tensor.half() for name, tensor in state.items()}
    save_file(state, HERE / "hf_dinov2.safetensors", metadata={"format": "pt"})


def unusual(weights):
    """What torch.save may write but rarely does: protocol 4, parameters, views of one storage,
    strides, f64 and bfloat16, and one dict under two names."""
    flat = torch.cat([tensor.flatten() for tensor in weights.values()])
    state, start = {}, 0
    for name, tensor in weights.items():
        state[name] = flat[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    transposed = weights["blocks.0.mlp.fc1.weight"].t().contiguous().t()
    assert not transposed.is_contiguous()
    state["blocks.0.mlp.fc1.weight"] = torch.nn.Parameter(transposed)
    state["blocks.1.norm1.weight"] = weights["blocks.1.norm1.weight"].double()
    state["norm.weight"] = weights["norm.weight"].bfloat16()
    state["step"] = torch.tensor([5])
    torch.save({"nothing": {}, "ema": state, "model": state}, HERE / "unusual.pth", pickle_protocol=4)


def awkward_name(weights):
    """torch.save names the folder in the zip after the file. With 21 characters, the first entry's
    header is as long as the zip's two 64-bit end records, which misleads a reader that guesses."""
    state = {name: tensor.half() for name, tensor in weights.items()}
    torch.save(state, HERE / "name_of_21_characters.pth")


def refused():
    state = {"model": {"cls_token": torch.zeros(1, 1, WIDTH)}}
    torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Identity(), HERE / "module.pth")
    torch.jit.save(torch.jit.script(torch.nn.Identity()), HERE / "script.pth")


if __name__ == "__main__":
    encoder_weights = encoder()
    mae(encoder_weights)
    dino(encoder_weights)
    dinov2(encoder_weights)
    timm(encoder_weights)
    hugging_face_vitmae(encoder_weights)
    hugging_face_dinov2(encoder_weights)
    unusual(encoder_weights)
    awkward_name(encoder_weights)
    refused()
