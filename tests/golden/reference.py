"""Label propagation as the field computes it, in PyTorch, OpenCV, Pillow and NumPy.

Written for this repository to be read, not to be fast: every step is spelled out, the padded queue
is a list with copies in it, the affinity is one matrix. Where a program's own arithmetic is part of
the result (resampling frames, labels and position tables) its operation is called, in the precision
that it is used in; matrix products are in f64, so that what is stored is the value itself to the
last bit of an f32 and the differences of the tests are ours alone. `make_reference.py` beside this
file writes what the tests compare with.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

# --- positions -----------------------------------------------------------------------------------


def sincos_table(width, side):
    """MAE's fixed table [1 + side², width]: a row of zeros for CLS, then x and y of each patch."""
    frequencies = 1.0 / 10000.0 ** (np.arange(width // 4) / (width / 4))
    rows, columns = np.mgrid[0:side, 0:side].reshape(2, -1).astype(np.float64)
    angles = [np.outer(positions, frequencies) for positions in (columns, rows)]
    table = np.concatenate([part for a in angles for part in (np.sin(a), np.cos(a))], axis=1)
    return np.concatenate([np.zeros((1, width)), table]).astype(np.float32)


def interpolate_positions(table, grid, rule):
    """A trained table's patch rows [side², D] f32 on another grid (rows, columns).

    offset: MAE, DINO, DINOv2 (a scale factor from the size and 0.1, used as the sampling step);
    size: Hugging Face's ViTMAE (the sizes alone); antialias: DINOv2 with registers.
    """
    side = math.isqrt(len(table))
    if tuple(grid) == (side, side):
        return table
    image = torch.as_tensor(table).reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if rule == "offset":
        factor = tuple((n + 0.1) / side for n in grid)
        out = F.interpolate(image, scale_factor=factor, mode="bicubic")
    else:
        out = F.interpolate(image, size=grid, mode="bicubic", antialias=rule == "antialias")
    assert out.shape[-2:] == tuple(grid)
    return out.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], -1)


# --- encoder -------------------------------------------------------------------------------------


def tokens(weights, frame, heads, rule="offset", eps=1e-6, layers=None):
    """Tokens [1 + h·w, D] of a normalised frame [3, H, W]; CLS first, registers left out.

    Pre-norm blocks, exact GELU, the last LayerNorm. `layers`: blocks (from 1) whose normed outputs
    are averaged, by default the last one.
    """
    w = {name: torch.as_tensor(value).double() for name, value in weights.items()}
    kernel = w["patch_embed.proj.weight"]
    patches = F.conv2d(frame.double()[None], kernel, w["patch_embed.proj.bias"], kernel.shape[-1])
    grid = patches.shape[-2:]
    patches = patches.flatten(2).transpose(1, 2)[0]
    table = torch.as_tensor(weights["pos_embed"]).float()[0]
    stretched = interpolate_positions(table[1:], grid, rule).double()
    cls = w["cls_token"][0] + table[:1].double()
    # registers come in after the positions and have none
    registers = w.get("register_tokens", torch.zeros(1, 0, cls.shape[1]))[0]
    x = torch.cat([cls, registers.double(), patches + stretched])
    depth = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))
    outputs = []
    for index in range(depth):
        x = block(x, w, f"blocks.{index}.", heads, eps)
        outputs.append(norm(x, w, "norm", eps))
    mean = torch.stack([outputs[layer - 1] for layer in layers or [depth]]).mean(0)
    return torch.cat([mean[:1], mean[1 + len(registers) :]])


def block(x, w, at, heads, eps):
    attended = attention(norm(x, w, at + "norm1", eps), w, at + "attn.", heads)
    x = x + attended * w.get(at + "ls1.gamma", 1.0)
    hidden = F.gelu(linear(norm(x, w, at + "norm2", eps), w, at + "mlp.fc1"))
    return x + linear(hidden, w, at + "mlp.fc2") * w.get(at + "ls2.gamma", 1.0)


def attention(x, w, at, heads):
    count, width = x.shape
    q, k, v = linear(x, w, at + "qkv").reshape(count, 3, heads, -1).permute(1, 2, 0, 3)
    scores = q @ k.transpose(1, 2) / math.sqrt(width // heads)
    mixed = scores.softmax(dim=-1) @ v
    return linear(mixed.transpose(0, 1).reshape(count, width), w, at + "proj")


def linear(x, w, name):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def norm(x, w, name, eps):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], eps)


def features(all_tokens):
    """Patch features of length 1: CLS dropped, x / max(|x|, 1e-12)."""
    return F.normalize(all_tokens[1:], dim=-1)


# --- pictures ------------------------------------------------------------------------------------


def pillow(image, size, how):
    """Pillow's resampling of bytes (grey or colours) to (rows, columns)."""
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), how))


def opencv(image, size, how):
    """OpenCV's resampling to (rows, columns); one-channel pictures keep their last axis."""
    out = cv2.resize(image, (size[1], size[0]), interpolation=how)
    return out.reshape(*size, *image.shape[2:])


def resize_frame(rgb, size, how):
    """RGB bytes as f32 in [0, 1] at (rows, columns); untouched where they have that size."""
    if rgb.shape[:2] == tuple(size):
        return rgb.astype(np.float32) / 255
    if how == "bilinear":
        return opencv(rgb.astype(np.float32) / 255, size, cv2.INTER_LINEAR)
    if how == "bilinear-8bit":
        resized = opencv(rgb, size, cv2.INTER_LINEAR)
    else:
        names = {"bicubic": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST}
        resized = pillow(rgb, size, names[how])
    return resized.astype(np.float32) / 255


def input_size(rule, height, width, patch):
    """The encoder's input size for a frame."""
    kind, *values = rule
    if kind == "exact":
        return tuple(values)
    if kind == "native":  # whole patches
        return height // patch * patch, width // patch * patch
    side = values[0]
    if kind == "long":  # CropMAE's single crop number; a square counts as high
        if width > height:
            return int(height * side / width) // 64 * 64, side
        return side, int(width * side / height) // 64 * 64
    if kind == "short":  # DINO
        if width > height:
            return side, int(side * width / height // 64 * 64)
        return int(side * height / width // 64 * 64), side
    assert kind == "short-up"  # DINOv3
    side = math.ceil(side / patch) * patch
    if width > height:
        return side, math.ceil(width * side / height / patch) * patch
    return math.ceil(height * side / width / patch) * patch, side


def input_planes(rgb, protocol, patch):
    """A decoded frame as the encoder takes it: [3, H, W] f32, normalised."""
    if protocol["copy"]:
        rgb = pillow(rgb, protocol["copy"], Image.Resampling.NEAREST)
    size = input_size(protocol["input"], *rgb.shape[:2], patch)
    planes = resize_frame(rgb, size, protocol["filter"])
    mean, std = (np.float32(protocol[name]) for name in ("mean", "std"))
    return torch.from_numpy(((planes - mean) / std).transpose(2, 0, 1).copy())


# --- labels --------------------------------------------------------------------------------------


def first_labels(annotation, frame, grid, rule):
    """Soft labels [h, w, C] f32 of the annotated frame and the ids of the channels."""
    if rule == "bilinear":
        # CropMAE: OpenCV's nearest to the frame, one-hot, OpenCV's bilinear (no antialias) down
        resized = opencv(annotation, frame, cv2.INTER_NEAREST)
        ids = np.unique(resized)
        one_hot = (resized[..., None] == ids).astype(np.float32)
        return opencv(one_hot, grid, cv2.INTER_LINEAR), ids
    # DINO: Pillow's nearest straight to the grid, one-hot
    resized = pillow(annotation, grid, Image.Resampling.NEAREST)
    ids = np.unique(resized)
    return (resized[..., None] == ids).astype(np.float32), ids


def upsampled(soft, size, readout):
    """Soft labels [h, w, C] f32 at that size: what the argmax is taken of."""
    if readout == "argmax":
        return opencv(soft, size, cv2.INTER_LINEAR)
    planes = torch.from_numpy(np.ascontiguousarray(soft.transpose(2, 0, 1)))[None]
    if readout == "cell-min-max-argmax":  # DINOv3: nearest, each label's map to [0, 1]
        planes = F.interpolate(planes, size=size, mode="nearest")[0]
        low, high = planes.amin((1, 2), True), planes.amax((1, 2), True)
        return ((planes - low) / (high - low)).nan_to_num(0).numpy().transpose(1, 2, 0)
    planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)[0]
    for plane in planes:  # DINO: each label's map to [0, 1], empty ones left alone
        if plane.max() > 0:
            plane -= plane.min()
            plane /= plane.max()
    return planes.numpy().transpose(1, 2, 0)


def hard_labels(soft, ids, size, readout):
    """Ids at that size; the first maximum wins."""
    return ids[upsampled(soft, size, readout).argmax(axis=-1)].astype(np.uint8)


# --- propagation ---------------------------------------------------------------------------------

# Scores closer than this are a tie that f32 may break either way: cosines are off by a few 1e-7.
TIE = 1e-6


def neighborhood(grid, shape, radius):
    """Which keys each query may see: bool [h·w, h·w]."""
    cells = np.stack(np.mgrid[0 : grid[0], 0 : grid[1]], -1).reshape(-1, 2)
    offset = np.abs(cells[:, None] - cells[None])
    distance = np.sqrt((offset**2).sum(-1))
    return torch.from_numpy(
        {
            "circle": distance < radius,
            "circle-inclusive": distance <= radius,
            "square": offset.max(-1) <= radius,
        }[shape]
    )


def context(t, protocol):
    """Frames that frame `t` looks at, in order, and whether each is bound by the neighbourhood."""
    queue = range(t - protocol["queue"], t)
    if protocol["padded"]:  # CropMAE: copies of frame 0 until the queue is full
        recent = [max(0, frame) for frame in queue]
    else:
        recent = [frame for frame in queue if frame > 0]
    return [(0, protocol["restrict_first"])] + [(frame, True) for frame in recent]


def propagate(all_features, first, protocol):
    """Soft labels f64 [T, h, w, C] of a clip, and how many queries hang on a tie.

    `all_features`: [h·w, D] f64 of length 1 for each frame; `first`: [h, w, C].
    """
    grid, channels = first.shape[:2], first.shape[2]
    inside = neighborhood(grid, protocol["shape"], protocol["radius"])
    maps = [torch.from_numpy(first).double().reshape(-1, channels)]
    ties = 0
    for t in range(1, len(all_features)):
        slots = context(t, protocol)
        scores, labels = [], []
        for frame, bound in slots:
            cosines = all_features[t] @ all_features[frame].T
            scores.append(cosines.masked_fill(~inside, -math.inf) if bound else cosines)
            labels.append(maps[frame])
        scores, labels = torch.cat(scores, dim=1), torch.cat(labels)
        soft, tied = nearest(scores, labels, protocol)
        ties += tied
        maps.append(soft)
    return torch.stack(maps).reshape(-1, *grid, channels).numpy(), ties


def nearest(scores, labels, protocol):
    """The softmax over the k nearest keys, applied to their labels; queries that hang on a tie."""
    topk, keep_ties = protocol["topk"], protocol["keep_ties"]
    count = min(4 * topk + 64, scores.shape[1])
    best, at = scores.topk(count, dim=1)
    bar = best[:, topk - 1 : topk]
    # keep_ties (DINO): all that reach the k-th, else just k of them
    kept = best >= bar if keep_ties else (torch.arange(count) < topk).expand_as(best)
    kept = kept & (best > -math.inf)
    weights = (best / protocol["temperature"]).masked_fill(~kept, -math.inf).softmax(dim=1)
    soft = (weights[..., None] * labels[at]).sum(dim=1)
    # Where a key left out is as near as one kept, would taking it have changed the labels?
    close = (best - bar).abs() < TIE
    rivals = close | kept if keep_ties else close
    high = labels[at].masked_fill(~rivals[..., None], -math.inf).amax(dim=1)
    low = labels[at].masked_fill(~rivals[..., None], math.inf).amin(dim=1)
    harmful = (close & ~kept).any(dim=1) & ((high - low).amax(dim=1) > TIE)
    return soft, int(harmful.sum())


# --- joints --------------------------------------------------------------------------------------


def joint_labels(joints, grid, sigma=0.5):
    """Label map [h, w, 1 + J] f32 of joints (x, y) in cells: background, then a Gaussian each.

    Borders of the stamp are cut by int(), toward zero, so near the left and upper border it moves.
    """
    height, width = grid
    maps = np.zeros((height, width, 1 + len(joints)), np.float32)
    size = int(6 * sigma + 1)
    places = np.arange(size, dtype=np.float64) - size // 2
    stamp = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * sigma**2))
    for joint, (x, y) in enumerate(joints):
        left, top = int(x - 3 * sigma), int(y - 3 * sigma)
        right, bottom = int(x + 3 * sigma + 1), int(y + 3 * sigma + 1)
        if left >= width or top >= height or right < 0 or bottom < 0:
            continue
        rows = slice(max(0, top), min(bottom, height))
        columns = slice(max(0, left), min(right, width))
        part = stamp[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        if part.size:
            maps[rows, columns, 1 + joint] = part
    maps[..., 0] = maps[..., 1:].sum(-1) == 0
    return maps


def read_joints(soft, count=5):
    """Coordinates (x, y) in cells [J, 2] f32 from a label map [h, w, 1 + J] f32."""
    labels = torch.from_numpy(soft[..., 1:].copy()).flatten(0, 1)
    values, cells = labels.topk(count, dim=0)
    values = values / values.sum(0)
    x, y = cells % soft.shape[1], cells // soft.shape[1]
    found = torch.stack([(values * x).sum(0), (values * y).sum(0)], dim=-1)
    found[labels.sum(0) == 0] = -1
    return found.numpy()


# --- scores --------------------------------------------------------------------------------------


def jaccard(truth, found):
    union = (truth | found).sum()
    return 1.0 if union == 0 else float((truth & found).sum() / union)


def boundary(mask):
    """Pixels that differ from their east, south or south-east neighbour; the border repeats."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def boundary_f(truth, found):
    """DAVIS' F: boundaries matched within 0.008 of the picture's diagonal."""
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    edges = [boundary(mask) for mask in (truth, found)]
    wide = [cv2.dilate(edge.astype(np.uint8), disk) > 0 for edge in edges]
    of_truth, of_found = (int(edge.sum()) for edge in edges)
    if of_truth == 0 or of_found == 0:
        return float(of_truth == of_found)
    precision = (edges[1] & wide[0]).sum() / of_found
    recall = (edges[0] & wide[1]).sum() / of_truth
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def statistics(values):
    """Mean, recall (share above one half) and decay (first quarter less last) of one object."""
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]
    return np.mean(values), np.mean(np.array(values) > 0.5), np.mean(first) - np.mean(last)


def davis_scores(truth, found):
    """The official evaluator's global numbers, semi-supervised, of one clip [T, H, W]."""
    truth = np.where(truth == 255, 0, truth)
    table = {"J": [], "F": []}
    for object_ in range(1, int(truth[0].max()) + 1):
        pairs = [(t == object_, p == object_) for t, p in zip(truth[1:-1], found[1:-1])]
        table["J"].append(statistics([jaccard(*pair) for pair in pairs]))
        table["F"].append(statistics([boundary_f(*pair) for pair in pairs]))
    means = {name: np.mean(rows, axis=0) for name, rows in table.items()}
    scores = {"J&F-Mean": (means["J"][0] + means["F"][0]) / 2}
    for name, row in means.items():
        scores |= {f"{name}-{kind}": v for kind, v in zip(("Mean", "Recall", "Decay"), row)}
    return {name: float(value) for name, value in scores.items()}


def mean_iou(truth, found, classes=20):
    """VIP's mIoU of one clip: one histogram, frame 0 included, absent classes left out."""
    valid = truth < classes
    pairs = classes * truth[valid].astype(int) + found[valid]
    histogram = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    union = histogram.sum(0) + histogram.sum(1) - histogram.diagonal()
    present = union > 0
    return float((histogram.diagonal()[present] / union[present]).mean())


def pck(truth, soft, frame):
    """CropMAE's PCK of one clip: joints [T, 15, 2] in pixels from 1, maps [T, h, w, 16], (W, H)."""
    grid = np.array([soft.shape[2], soft.shape[1]])
    distances = [[] for _ in range(truth.shape[1])]
    for t in range(1, len(soft)):
        cells = read_joints(soft[t]).astype(np.float64)
        seen = cells[:, 0] >= 0
        wanted = truth[t] - 1
        box = np.ptp(wanted[seen], axis=0)  # of the joints that were predicted visible
        off = np.linalg.norm(cells * frame / grid - wanted, axis=1) / (0.6 * np.hypot(*box))
        for joint in np.flatnonzero(seen):
            distances[joint].append(off[joint])
    scores = {}
    for threshold in (0.1, 0.2, 0.3, 0.4, 0.5):
        shares = [np.mean(np.array(row) <= threshold) for row in distances if row]
        scores[f"PCK@{threshold}"] = float(np.mean(shares))
    return scores


# --- presets -------------------------------------------------------------------------------------

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CROPMAE = IMAGENET | {
    "copy": None,
    "input": ("exact", 480, 880),
    "filter": "bilinear",
    "first": "bilinear",
    "topk": 7,
    "keep_ties": False,
    "temperature": 0.7,
    "shape": "circle",
    "radius": 20,
    "restrict_first": False,
    "queue": 20,
    "padded": True,
    "readout": "argmax",
    "output": "floor",
}
DINO = CROPMAE | {
    "input": ("short", 480),
    "filter": "bilinear-8bit",
    "std": (0.228, 0.224, 0.225),
    "first": "nearest",
    "topk": 5,
    "keep_ties": True,
    "temperature": 0.1,
    "shape": "square",
    "radius": 12,
    "restrict_first": True,
    "queue": 7,
    "padded": False,
    "readout": "min-max-argmax",
    "output": "centered",
}
PRESETS = {
    "cropmae": CROPMAE,
    "cropmae-480x880": CROPMAE | {"copy": (480, 880)},
    "dino": DINO,
    "crw": CROPMAE | {"input": ("native",), "topk": 10, "temperature": 0.05, "radius": 12},
    "rsp": DINO | {"copy": (480, 880), "topk": 7, "radius": 30, "queue": 30},
    "dinov3": DINO
    | IMAGENET
    | {"input": ("short-up", 960), "filter": "bicubic", "temperature": 0.2}
    | {"shape": "circle-inclusive", "readout": "cell-min-max-argmax", "output": None},
}
# CropMAE's other two benchmarks; VIP's scorer resizes with Pillow.
VIP = CROPMAE | {"input": ("long", 880), "topk": 10, "output": "centered"}
JHMDB = CROPMAE | {"input": ("exact", 320, 320)}


def run(frames, annotation, protocol, encode, patch):
    """A clip from frames to soft labels [T, h, w, C] and masks at the size that is scored."""
    if protocol["copy"]:
        annotation = pillow(annotation, protocol["copy"], Image.Resampling.NEAREST)
    planes = [input_planes(frame, protocol, patch) for frame in frames]
    size = tuple(planes[0].shape[1:])
    grid = (size[0] // patch, size[1] // patch)
    first, ids = first_labels(annotation, size, grid, protocol["first"])
    soft, ties = propagate([features(encode(frame)) for frame in planes], first, protocol)
    soft = soft.astype(np.float32)
    masks = []
    for index, labels in enumerate(soft):
        read_at = size if protocol["output"] else annotation.shape
        mask = hard_labels(labels, ids, read_at, protocol["readout"])
        if protocol["output"] is None:
            pass  # DINOv3's notebook goes straight to the size that is scored
        elif protocol["output"] == "floor":
            mask = opencv(mask, annotation.shape, cv2.INTER_NEAREST)
        else:
            mask = pillow(mask, annotation.shape, Image.Resampling.NEAREST)
        # DINO's program stores the annotation itself as the first frame's result
        masks.append(annotation if index == 0 and protocol["first"] == "nearest" else mask)
    return soft, np.stack(masks), ties
