"""Writes `reference/` beside this file: what `reference.py` makes of tiny inputs, for the test
binary `reference`.

    python make_reference.py

with torch 2.2.1 (CPU), numpy 1.26.4, opencv-python-headless 4.11.0, pillow 11.3.0, safetensors
0.8.0. Since version 13 Pillow begins with the columns where a picture loses more rows than columns,
which gives other bytes of the bicubic filter; published numbers were made before it. All inputs are
drawn from fixed seeds or rendered here; a second run writes the same bytes.
"""

import functools
import json
import pathlib
import shutil
import struct

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

import reference as ref

OUT = pathlib.Path(__file__).parent / "reference"
DEPTH, HEADS = 2, 3
FRAMES, HEIGHT, BREADTH = 8, 80, 100

# --- the clip ------------------------------------------------------------------------------------


def clip():
    """Eight frames of 80x100 and their masks: a disk and a bar that move over a panning ground. The
    bar leaves the picture; a strip of void lies in the later masks."""
    y, x = np.mgrid[0:HEIGHT, 0:BREADTH].astype(np.float64)
    frames, masks = [], []
    for t in range(FRAMES):
        ground = np.sin((x + 2 * t) / 9) * np.cos((y - t) / 7) + np.sin((x + y + t) / 17)
        rgb = [ground, np.sin((x + 2 * t) / 13 + 1), np.cos((y - t) / 11 + (x + 2 * t) / 29)]
        rgb = 128 + 45 * np.stack(rgb, -1)
        mask = np.zeros((HEIGHT, BREADTH), np.uint8)
        disk = np.hypot(x - 25 - 4 * t, y - 35 - 2 * t)
        bar = (np.abs(x - 70 - 5 * t) < 11) & (np.abs(y - 30 + t) < 21)
        rgb[bar] = np.stack([230 - 2 * y, 60 + x % 16 * 4, 40 + 0 * x], -1)[bar]
        mask[bar] = 2
        rgb[disk < 16] = np.stack([30 + 4 * disk, 200 - 6 * disk, 120 + 5 * disk], -1)[disk < 16]
        mask[disk < 16] = 1
        if t >= 3:
            mask[70:73, 20:60] = 255
        frames.append((np.clip(rgb, 0, 255) // 4 * 4).astype(np.uint8))
        masks.append(mask)
    return frames, masks


def joints(pose):
    """Joints (x, y) in pixels counted from 1, as JHMDB stores them [T, 15, 2]: they ride on the
    disk and the bar, one is always outside the picture and one near its upper left corner."""
    t = np.arange(FRAMES)[:, None]
    around = np.array([[np.cos(a), np.sin(a)] for a in np.arange(13) * 0.9 + pose])
    positions = np.zeros((FRAMES, 15, 2))
    positions[:, :8, 0] = 26 + 4 * t + 12.3 * around[:8, 0]
    positions[:, :8, 1] = 36 + 2 * t + 12.3 * around[:8, 1]
    positions[:, 8:13, 0] = 71 + 5 * t + 8.7 * around[8:, 0]
    positions[:, 8:13, 1] = 31 - t + 15.1 * around[8:, 1]
    positions[:, 13] = [-60, 20]
    positions[:, 14] = [4.2, 6.9]
    return positions


def matlab(name, values):
    """A level 5 file with one array of doubles, the first index running fastest."""

    def element(kind, content):
        return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)

    matrix = element(6, struct.pack("<II", 6, 0))
    matrix += element(5, np.array(values.shape, "<i4").tobytes()) + element(1, name.encode())
    matrix += element(9, values.astype("<f8").tobytes(order="F"))
    head = b"MATLAB 5.0 MAT-file".ljust(116) + b"\0" * 8 + b"\0\1IM"
    return head + element(14, matrix)


def save_png(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, optimize=True)


def save_clip(frames, masks):
    for t, (frame, mask) in enumerate(zip(frames, masks)):
        save_png(OUT / f"clip/frames/{t:05}.png", frame)
        save_png(OUT / f"clip/masks/{t:05}.png", mask)
    (OUT / "clip/joint_positions.mat").write_bytes(matlab("pos_img", joints(0).transpose(2, 1, 0)))


# --- encoders ------------------------------------------------------------------------------------

# width, patch, side of the position table, registers, layer scale, position rule, epsilon, sizes of
# frames
ENCODERS = {
    "mae16": (12, 16, 14, 0, False, "offset", 1e-6, [(80, 112)]),
    "mae8": (24, 8, 10, 0, False, "offset", 1e-6, [(72, 104)]),
    "dino8": (12, 8, 7, 0, False, "offset", 1e-6, [(56, 56), (64, 96)]),
    "dinov2": (12, 14, 6, 0, True, "offset", 1e-6, [(84, 84), (70, 98)]),
    "dinov2_registers": (12, 14, 6, 4, True, "antialias", 1e-6, [(84, 84), (56, 126)]),
    "hf_vitmae8": (12, 8, 5, 0, False, "size", 1e-12, [(40, 40), (64, 88)]),
}
# mae8's is one with which no label hangs on a tie between two keys.
SEEDS = {name: seed for seed, name in enumerate(ENCODERS)} | {"mae8": 1}


def draw_weights(name):
    """Random weights, rounded to f16 so that half of the bytes suffice. The patches enter small
    beside the norms' epsilon, so that its value shows; but for mae8, which is to follow things."""
    width, patch, side, registers, scaled, *_ = ENCODERS[name]
    rng = np.random.default_rng(SEEDS[name])
    into = 1 / patch if name == "mae8" else 0.2 / patch**2

    def normal(*shape, spread=None):
        spread = spread or 1 / np.sqrt(shape[-1])
        return torch.from_numpy(rng.normal(0, spread, shape)).half()

    if name.startswith("mae"):
        table = torch.from_numpy(ref.sincos_table(width, side)).half()[None]
    else:
        table = normal(1, 1 + side * side, width, spread=0.02)
    weights = {
        "cls_token": normal(1, 1, width, spread=0.02),
        "pos_embed": table,
        "patch_embed.proj.weight": normal(width, 3, patch, patch, spread=into),
        "patch_embed.proj.bias": normal(width, spread=0.02),
        "norm.weight": 1 + normal(width, spread=0.2),
        "norm.bias": normal(width, spread=0.2),
    }
    if registers:
        weights["register_tokens"] = normal(1, registers, width, spread=0.02)
    for index in range(DEPTH):
        at = f"blocks.{index}."
        for part in ("norm1", "norm2"):
            weights[f"{at}{part}.weight"] = 1 + normal(width, spread=0.2)
            weights[f"{at}{part}.bias"] = normal(width, spread=0.1)
        shapes = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (2, 1), "mlp.fc2": (1, 2)}
        for part, (rows, columns) in shapes.items():
            weights[f"{at}{part}.weight"] = normal(rows * width, columns * width)
            weights[f"{at}{part}.bias"] = normal(rows * width, spread=0.1)
        if scaled:
            for part in ("ls1", "ls2"):
                weights[f"{at}{part}.gamma"] = normal(width, spread=0.5)
    return weights


def hugging_face(weights):
    """Under the names of Hugging Face's ViTMAE: query, key and value apart."""
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    state = {}
    for name, tensor in weights.items():
        if name in names:
            state["vit." + names[name]] = tensor
            continue
        module, leaf = name.rsplit(".", 1)
        layer = "vit."
        if module.startswith("blocks."):
            _, index, module = module.split(".", 2)
            layer += f"encoder.layer.{index}."
        if module == "attn.qkv":
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3)):
                state[f"{layer}attention.attention.{part}.{leaf}"] = rows
        else:
            state[f"{layer}{names[module]}.{leaf}"] = tensor
    return state


def save_weights(name, weights):
    """As the family's program saves them."""
    path = OUT / "encoders" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.startswith("dino8"):
        teacher = {f"backbone.{key}": tensor for key, tensor in weights.items()}
        torch.save({"teacher": teacher}, path.with_suffix(".pth"))
        return
    if name.startswith("mae"):
        # what tells MAE's encoders from others
        weights = weights | {"decoder_embed.weight": torch.zeros_like(weights["cls_token"][0])}
    if name.startswith("hf"):
        weights = hugging_face(weights)
    arrays = {key: tensor.contiguous().numpy() for key, tensor in weights.items()}
    save_file(arrays, path.with_suffix(".safetensors"), metadata={"num_heads": str(HEADS)})


def encode(name, weights, frame, layers=None):
    *_, rule, eps, _ = ENCODERS[name]
    return ref.tokens(weights, frame, HEADS, rule, eps, layers)


def encoders(frame):
    """Tokens of every encoder on its own grid and on another, and dino8's earlier layers."""
    expected = {}
    for name, (_, patch, *_, sizes) in ENCODERS.items():
        weights = draw_weights(name)
        save_weights(name, weights)
        for height, width in sizes:
            protocol = ref.CROPMAE | {"input": ("exact", height, width)}
            planes = ref.input_planes(frame, protocol, patch)
            key = f"{name}.{height}x{width}"
            all_tokens = encode(name, weights, planes)
            expected[f"{key}.last"] = all_tokens
            if name == "dino8" and height == 56:
                expected[f"{key}.1"] = encode(name, weights, planes, [1])
                expected[f"{key}.mean-last2"] = encode(name, weights, planes, [1, 2])
                expected[f"{key}.features"] = ref.features(all_tokens)
    save("encoders", expected)


def save(name, tensors):
    """Floats as f32; keys in order, so that a second run writes the same bytes."""
    arrays = {}
    for key, value in tensors.items():
        value = np.ascontiguousarray(value)
        arrays[key] = value.astype(np.float32) if value.dtype == np.float64 else value
    save_file(arrays, OUT / f"{name}.safetensors")


def positions():
    rng = np.random.default_rng(100)
    tensors = {f"sincos.{w}x{s}": ref.sincos_table(w, s) for w, s in [(24, 7), (32, 4)]}
    for side, grids in [(14, [(30, 55), (20, 20), (9, 14)]), (5, [(4, 3), (11, 6), (5, 5)])]:
        table = rng.normal(size=(side * side, 1)).astype(np.float32)
        tensors[f"table.{side}"] = table
        for grid in grids:
            for rule in ("offset", "size", "antialias"):
                out = ref.interpolate_positions(table, grid, rule)
                tensors[f"{rule}.{side}.{grid[0]}x{grid[1]}"] = np.asarray(out)
    save("positions", tensors)


# --- propagation ---------------------------------------------------------------------------------

SMALL_COPY = (72, 104)
# The presets at sizes that fit the clip, then with a queue and a radius that bind on small grids.
RUNS = {
    "cropmae": {"input": ("exact", 72, 104)},
    "cropmae-480x880": {"copy": SMALL_COPY, "input": ("exact", 72, 104)},
    "dino": {"input": ("short", 128)},
    "crw": {},
    "rsp": {"copy": SMALL_COPY, "input": ("short", 96)},
    "dinov3": {"input": ("short-up", 67)},
    "cropmae, tight": {"input": ("exact", 64, 88), "queue": 3, "radius": 3},
    "dino, tight": {"input": ("short", 64), "queue": 2, "radius": 2},
    "dinov3, tight": {"input": ("short-up", 67), "queue": 3, "radius": 4},
}


def protocol_values(protocol):
    """What the test sets in our preset: the sizes, and where a run is tight queue and radius."""
    return {name: protocol[name] for name in ("copy", "input", "queue", "radius")}


def as_copied(mask, protocol):
    how = Image.Resampling.NEAREST
    return ref.pillow(mask, protocol["copy"], how) if protocol["copy"] else mask


def runs(frames, masks):
    """Every preset through the clip, and its scores."""
    weights = draw_weights("mae8")
    through = functools.partial(encode, "mae8", weights)
    table, tensors = {}, {}
    protocols = {name: ("davis", ref.PRESETS[name.split(",")[0]]) for name in RUNS}
    protocols |= {"vip": ("vip", ref.VIP), "jhmdb": ("jhmdb", ref.JHMDB)}
    own = RUNS | {"vip": {"input": ("long", 128)}, "jhmdb": {"input": ("exact", 64, 80)}}
    for name, (benchmark, protocol) in protocols.items():
        protocol = protocol | own[name]
        preset = name.split(",")[0] if benchmark == "davis" else "cropmae"
        entry = {"benchmark": benchmark, "preset": preset, "tight": name.endswith("tight")}
        entry |= protocol_values(protocol)
        if benchmark == "jhmdb":
            soft, entry["joints"], ties = poses(frames, protocol, through)
            entry["scores"] = ref.pck(joints(0), soft, (BREADTH, HEIGHT))
        else:
            soft, found, ties = ref.run(frames, masks[0], protocol, through, 8)
            truth = np.stack([as_copied(mask, protocol) for mask in masks])
            save_png(OUT / f"masks/{name.replace(', ', '_')}.png", np.concatenate(found))
            if benchmark == "davis":
                entry["scores"] = ref.davis_scores(truth, found)
            else:
                entry["scores"] = {"mIoU": ref.mean_iou(truth, found)}
        assert ties == 0, f"{name}: {ties} queries hang on ties; choose another seed"
        print(name, soft.shape, entry.get("scores"))
        table[name], tensors[name] = entry, soft
    save("runs", tensors)
    (OUT / "runs.json").write_text(json.dumps(table, indent=1) + "\n")


def poses(frames, protocol, through):
    """The joints of the clip, propagated; `None` where the fifth and the sixth cell all but tie."""
    planes = [ref.input_planes(frame, protocol, 8) for frame in frames]
    height, width = planes[0].shape[1:]
    cells = (joints(0)[0] - 1) * (width / BREADTH / 8, height / HEIGHT / 8)
    first = ref.joint_labels(cells, (height // 8, width // 8))
    soft, ties = ref.propagate([ref.features(through(frame)) for frame in planes], first, protocol)
    soft = soft.astype(np.float32)
    found = []
    for labels in soft:
        best = np.sort(labels[..., 1:].reshape(-1, 15), axis=0)[::-1]
        clear = (best[4] - best[5] > 1e-5) | (best[0] == 0)
        joint = zip(ref.read_joints(labels).tolist(), clear)
        found.append([position if clear else None for position, clear in joint])
    return soft, found, ties


# --- labels, joints, resampling -------------------------------------------------------------------


def labels(masks):
    """First labels by both rules from the clip's first mask, and read-outs of random maps."""
    rng = np.random.default_rng(200)
    tensors = {}
    for frame, grid in [((80, 100), (10, 12)), ((96, 64), (6, 4)), ((70, 98), (5, 7))]:
        for rule in ("bilinear", "nearest"):
            soft, ids = ref.first_labels(masks[3], frame, grid, rule)
            key = f"first.{rule}.{frame[0]}x{frame[1]}.{grid[0]}x{grid[1]}"
            tensors |= {key: soft, f"{key}.ids": ids}
    for channels, grid, patch in [(2, (5, 9), 8), (4, (6, 4), 16), (11, (4, 3), 14)]:
        soft = rng.dirichlet(np.full(channels, 0.3), grid).astype(np.float32)
        soft[..., -1] = 0  # a label that is nowhere
        tensors[f"soft.{channels}"] = soft
        size = (grid[0] * patch, grid[1] * patch)
        for readout in ("argmax", "min-max-argmax", "cell-min-max-argmax"):
            hard = ref.hard_labels(soft, np.arange(channels), size, readout)
            tensors[f"hard.{channels}.{patch}.{readout}"] = hard
    save("labels", tensors)


def joint_maps():
    """First-frame maps of poses on JHMDB's grid, and read-outs of them and of maps full of ties."""
    rng = np.random.default_rng(300)
    entries = []
    corners = [(0.2, 0.4), (1.2, 18.9), (19.6, 0), (21.4, 10), (-1.2, 5), (-3.2, 5), (10, 22.9)]
    for pose in range(3):
        cells = rng.uniform(-1, 21, (15, 2)) if pose else np.resize(corners, (15, 2)) + 0.05
        maps = ref.joint_labels(cells, (20, 20))
        where = np.flatnonzero(maps[..., 1:])
        entry = {"cells": cells.tolist(), "background": int(maps[..., 0].sum())}
        entry |= {"places": where.tolist(), "values": maps[..., 1:].flat[where].tolist()}
        entries.append(entry | {"read": ref.read_joints(maps).tolist()})
    tied = rng.integers(0, 12, (20, 20, 16), dtype=np.uint8)
    tied[..., 5] = 0
    tied[..., 6] = np.where(rng.random((20, 20)) < 0.008, tied[..., 6], 0)
    read = ref.read_joints(tied.astype(np.float32) / 8).tolist()
    save("joints", {"tied": tied})
    (OUT / "joints.json").write_text(json.dumps({"poses": entries, "tied": read}) + "\n")


FILTERS = ("bilinear", "bilinear-8bit", "bicubic", "nearest")
SIZES = [((11, 17), (7, 9)), ((11, 17), (24, 31)), ((40, 30), (13, 48))]
AXES = [(854, 880), (880, 854), (448, 480), (480, 448), (480, 60), (7, 13), (240, 320), (37, 20)]


def resampling():
    """Random frames by every filter; along one axis, the source that both nearest rules take."""
    rng = np.random.default_rng(400)
    tensors = {}
    for index, (source, target) in enumerate(SIZES):
        frame = rng.integers(0, 256, (*source, 3), dtype=np.uint8)
        tensors[f"frame.{index}"] = frame
        for how in FILTERS:
            planes = ref.resize_frame(frame, target, how)
            stored = planes if how == "bilinear" else np.round(planes * 255).astype(np.uint8)
            tensors[f"{how}.{index}.{target[0]}x{target[1]}"] = stored
    for source, target in AXES:
        # places as two bytes, each resampled as a picture of one row
        high, low = (np.arange(source, dtype=np.uint16)[None] >> 8), np.arange(source)[None] & 255
        for name, rule in [("floor", ref.opencv), ("centered", ref.pillow)]:
            how = ref.cv2.INTER_NEAREST if name == "floor" else Image.Resampling.NEAREST
            parts = [rule(part.astype(np.uint8), (1, target), how) for part in (high, low)]
            tensors[f"{name}.{source}.{target}"] = np.concatenate(parts)
    save("resampling", tensors)


def main():
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    frames, masks = clip()
    save_clip(frames, masks)
    encoders(frames[0])
    positions()
    labels(masks)
    joint_maps()
    resampling()
    runs(frames, masks)


if __name__ == "__main__":
    main()
