"""Writes the tiny DINOv3 checkpoints beside this file, and what DINOv3's own program computes from
them.

    python make_dinov3.py DINOV3        DINOV3: a checkout of facebookresearch/dinov3;
                                        with torch 2.15, safetensors 0.8, transformers 5.24

An encoder of width 16 with two heads, two blocks, patches of 4 and two storage tokens, once with a
plain and once with a gated feed-forward, of seeded random values that f16 and bf16 represent
exactly. `dinov3_*.pth` hold them as that program saves them; `timm_dinov3.safetensors` and
`hf_dinov3.safetensors` hold the gated one under timm's and Hugging Face's names, and Hugging Face's
model must compute the same from the latter.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
WIDTH, DEPTH, HEADS, PATCH, STORAGE = 16, 2, 2, 4, 2
GENERATOR = torch.Generator().manual_seed(3)


def draw(shape):
    """Multiples of 1/64 in [-1, 1): at most 7 significant bits."""
    return torch.randint(-64, 64, shape, generator=GENERATOR).float() / 64


def encoder(feed_forward):
    from dinov3.models.vision_transformer import DinoVisionTransformer

    model = DinoVisionTransformer(
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        ffn_ratio=3,
        pos_embed_rope_dtype="fp32",
        pos_embed_rope_rescale_coords=2,
        layerscale_init=1e-5,
        norm_layer="layernormbf16",
        ffn_layer=feed_forward,
        n_storage_tokens=STORAGE,
        mask_k_bias=True,
    )
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(draw(parameter.shape))
    return model.eval()


def timm_names(state):
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(("periods", "bias_mask", "mask_token")):
            continue
        if name.endswith("qkv.bias"):
            query, _, value = tensor.chunk(3)
            renamed[name.replace("qkv.bias", "q_bias")] = query
            renamed[name.replace("qkv.bias", "v_bias")] = value
            continue
        for own, other in [
            ("ls1.gamma", "gamma_1"),
            ("ls2.gamma", "gamma_2"),
            ("storage_tokens", "reg_token"),
            ("mlp.w1.", "mlp.fc1_g."),
            ("mlp.w2.", "mlp.fc1_x."),
            ("mlp.w3.", "mlp.fc2."),
        ]:
            name = name.replace(own, other)
        renamed[name] = tensor
    return renamed


def hugging_face_names(state):
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(("periods", "bias_mask")):
            continue
        name = name.replace("patch_embed.proj.", "embeddings.patch_embeddings.")
        name = name.replace("storage_tokens", "embeddings.register_tokens")
        name = name.replace("blocks.", "layer.").replace(".attn.", ".attention.")
        name = name.replace("attention.proj.", "attention.o_proj.")
        for branch in "12":
            name = name.replace(f"ls{branch}.gamma", f"layer_scale{branch}.lambda1")
        for own, other in [("w1", "gate"), ("w2", "up"), ("w3", "down")]:
            name = name.replace(f"mlp.{own}.", f"mlp.{other}_proj.")
        if name in ("cls_token", "mask_token"):
            name = f"embeddings.{name}"
        if name == "embeddings.mask_token":
            tensor = tensor[None]
        if "attention.qkv." in name:
            for part, piece in zip("qkv", tensor.chunk(3)):
                if (part, name[-4:]) != ("k", "bias"):
                    renamed[name.replace("qkv", f"{part}_proj")] = piece
            continue
        renamed[name] = tensor
    return renamed


def hugging_face_tokens(state, frames):
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=state["layer.0.mlp.gate_proj.bias"].numel(),
        use_gated_mlp=True,
        hidden_act="silu",
        patch_size=PATCH,
        num_register_tokens=STORAGE,
    )
    model = DINOv3ViTModel(config).eval()
    named = {n.replace("layer.", "model.layer.", 1) if n.startswith("layer.") else n: t for n, t in state.items()}
    model.load_state_dict(named)
    return model(frames).last_hidden_state


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    frames = torch.randn((2, 3, 5 * PATCH, 7 * PATCH), generator=GENERATOR)
    tensors = {"frames": frames}
    with torch.inference_mode():
        for name, feed_forward in [("plain", "mlp"), ("gated", "swiglu")]:
            model = encoder(feed_forward)
            state = model.state_dict()
            torch.save(state, HERE / f"dinov3_{name}.pth")
            output = model.forward_features(frames)
            tokens = [output["x_norm_clstoken"][:, None], output["x_norm_patchtokens"]]
            tensors[name] = torch.cat(tokens, 1)
    save_file(tensors, HERE / "dinov3_tokens.safetensors")
    state = {name: tensor.contiguous() for name, tensor in timm_names(state).items()}
    save_file({n: t.clone().bfloat16() for n, t in state.items()}, HERE / "timm_dinov3.safetensors")
    state = {n: t.clone() for n, t in hugging_face_names(model.state_dict()).items()}
    save_file({n: t.half() for n, t in state.items()}, HERE / "hf_dinov3.safetensors")
    with torch.inference_mode():
        theirs = hugging_face_tokens(state, frames)
    theirs = torch.cat([theirs[:, :1], theirs[:, 1 + STORAGE :]], 1)
    gap = (theirs - tensors["gated"]).abs().max().item()
    assert gap < 1e-4, gap
    print(f"Hugging Face's model is off by {gap:.1e}")
