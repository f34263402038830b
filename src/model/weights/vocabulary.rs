//! The names that each program gives to an encoder's tensors, and their canonical ones.
//!
//! A new program with names of its own is a table here, its [`Spelling`] and, in `site`, a few of
//! its keys by which it is recognised.

/// How the keys of a checkpoint are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spelling {
    /// MAE, DINO, DINOv2, timm.
    Timm,
    /// DINOv3.
    Dinov3,
    /// timm's copies of DINOv3.
    TimmDinov3,
    /// Hugging Face's ViT and ViTMAE.
    HuggingFaceVit,
    /// The same as Transformers 5 names them in memory, so in what `torch.save` writes of them; what
    /// it saves itself has the older names.
    HuggingFace5Vit,
    /// Hugging Face's Dinov2, with or without registers.
    HuggingFaceDinov2,
    /// The same in the memory of Transformers 5.
    HuggingFace5Dinov2,
    /// Hugging Face's `DINOv3ViT`.
    HuggingFaceDinov3,
}

/// The names of one spelling.
pub(super) struct Vocabulary {
    /// Tensors outside the blocks, and their canonical names, in groups that several spellings
    /// share. Where several stand for one, the first is the usual one.
    pub(super) stem: &'static [&'static [(&'static str, &'static str)]],
    /// What stands before a block's number.
    pub(super) blocks: &'static str,
    /// Parts of a block, likewise.
    pub(super) parts: &'static [&'static [Part]],
    /// How keys outside the blocks begin that change what the encoder computes, so cannot be left
    /// out: rotary positions, a norm before the blocks, a second class token, extra final norms.
    pub(super) foreign: &'static [&'static str],
}

/// A part of a block: a tensor, or a module with a weight and a bias.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) canonical: &'static str,
    /// Where it is but some rows of the canonical tensor: which of how many pieces.
    pub(super) piece: Option<(usize, usize)>,
}

const fn part(name: &'static str, canonical: &'static str) -> Part {
    Part { name, canonical, piece: None }
}

const fn piece(name: &'static str, canonical: &'static str, piece: (usize, usize)) -> Part {
    Part { name, canonical, piece: Some(piece) }
}

impl Spelling {
    /// Whether queries and keys are turned by their patch's place, and there is no position table.
    pub(super) fn rotary(self) -> bool {
        matches!(self, Self::Dinov3 | Self::TimmDinov3 | Self::HuggingFaceDinov3)
    }

    /// Whether it is one of Hugging Face's.
    pub(super) fn hugging_face(self) -> bool {
        !matches!(self, Self::Timm | Self::Dinov3 | Self::TimmDinov3)
    }

    /// Its table.
    pub(super) fn vocabulary(self) -> &'static Vocabulary {
        match self {
            Self::Timm => &TIMM,
            Self::Dinov3 => &DINOV3,
            Self::TimmDinov3 => &TIMM_DINOV3,
            Self::HuggingFaceVit => &HUGGING_FACE_VIT,
            Self::HuggingFace5Vit => &HUGGING_FACE_5_VIT,
            Self::HuggingFaceDinov2 => &HUGGING_FACE_DINOV2,
            Self::HuggingFace5Dinov2 => &HUGGING_FACE_5_DINOV2,
            Self::HuggingFaceDinov3 => &HUGGING_FACE_DINOV3,
        }
    }
}

/// The stem that all canonical spellings share.
const STEM: &[(&str, &str)] = &[
    ("cls_token", "cls_token"),
    ("patch_embed.proj.weight", "patch_embed.proj.weight"),
    ("patch_embed.proj.bias", "patch_embed.proj.bias"),
    ("norm.weight", "norm.weight"),
    ("norm.bias", "norm.bias"),
];

/// The parts that they share.
const PARTS: &[Part] = &[
    part("norm1", "norm1"),
    part("attn.qkv", "attn.qkv"),
    part("attn.proj", "attn.proj"),
    part("norm2", "norm2"),
    part("mlp.fc1", "mlp.fc1"),
    part("mlp.fc2", "mlp.fc2"),
];

/// LayerScale, as DINOv2's and DINOv3's own programs call it.
const SCALES: &[Part] = &[part("ls1.gamma", "ls1.gamma"), part("ls2.gamma", "ls2.gamma")];

const TIMM: Vocabulary = Vocabulary {
    stem: &[
        STEM,
        &[
            ("pos_embed", "pos_embed"),
            ("register_tokens", "register_tokens"),
            ("reg_token", "register_tokens"),
        ],
    ],
    blocks: "blocks.",
    parts: &[
        PARTS,
        SCALES,
        // SwiGLU of DINOv2's own program: the gate's rows stand before the others
        &[part("mlp.w12", "mlp.fc1"), part("mlp.w3", "mlp.fc2")],
    ],
    foreign: &["norm_pre", "dist_token", "rope", "rel_pos", "cls_norm"],
};

/// DINOv3's own program. `local_cls_norm` is for crops in training, and never used after it.
const DINOV3: Vocabulary = Vocabulary {
    stem: &[
        STEM,
        &[("storage_tokens", "register_tokens"), ("rope_embed.periods", "rope_embed.periods")],
    ],
    blocks: "blocks.",
    parts: &[
        PARTS,
        SCALES,
        &[
            part("attn.qkv.bias_mask", "attn.qkv.bias_mask"),
            piece("mlp.w1", "mlp.fc1", (0, 2)),
            piece("mlp.w2", "mlp.fc1", (1, 2)),
            part("mlp.w3", "mlp.fc2"),
        ],
    ],
    foreign: &["pos_embed", "cls_norm"],
};

/// timm's copies of DINOv3, which it counts among its EVA models.
const TIMM_DINOV3: Vocabulary = Vocabulary {
    stem: &[STEM, &[("reg_token", "register_tokens")]],
    blocks: "blocks.",
    parts: &[
        PARTS,
        &[
            piece("attn.q_bias", "attn.qkv.bias", (0, 3)),
            piece("attn.v_bias", "attn.qkv.bias", (2, 3)),
            part("gamma_1", "ls1.gamma"),
            part("gamma_2", "ls2.gamma"),
            piece("mlp.fc1_g", "mlp.fc1", (0, 2)),
            piece("mlp.fc1_x", "mlp.fc1", (1, 2)),
        ],
    ],
    foreign: &["pos_embed", "norm_pre", "rope"],
};

/// The stem of Hugging Face's models with a position table.
const HUGGING_FACE_STEM: &[(&str, &str)] = &[
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.register_tokens", "register_tokens"),
    ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight"),
    ("embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"),
    ("layernorm.weight", "norm.weight"),
    ("layernorm.bias", "norm.bias"),
];

/// Their attention.
const HUGGING_FACE_ATTENTION: &[Part] = &[
    piece("attention.attention.query", "attn.qkv", (0, 3)),
    piece("attention.attention.key", "attn.qkv", (1, 3)),
    piece("attention.attention.value", "attn.qkv", (2, 3)),
    part("attention.output.dense", "attn.proj"),
];

/// Attention as Transformers 5 names it, and always in `DINOv3ViT`.
const HUGGING_FACE_5_ATTENTION: &[Part] = &[
    piece("attention.q_proj", "attn.qkv", (0, 3)),
    piece("attention.k_proj", "attn.qkv", (1, 3)),
    piece("attention.v_proj", "attn.qkv", (2, 3)),
    part("attention.o_proj", "attn.proj"),
];

/// Feed-forwards with a gate, likewise.
const HUGGING_FACE_5_GATED: &[Part] = &[
    piece("mlp.gate_proj", "mlp.fc1", (0, 2)),
    // without a gate, the whole first layer
    piece("mlp.up_proj", "mlp.fc1", (1, 2)),
    part("mlp.down_proj", "mlp.fc2"),
];

/// What Hugging Face's models with a position table may have that a plain ViT has not: rotary
/// positions, a second class token, tokens for boxes.
const HUGGING_FACE_FOREIGN: &[&str] =
    &["rope", "embeddings.distillation_token", "embeddings.detection_tokens"];

/// Norms and LayerScale of Hugging Face's models of DINO's later versions.
const HUGGING_FACE_DINO: &[Part] = &[
    part("norm1", "norm1"),
    part("layer_scale1.lambda1", "ls1.gamma"),
    part("norm2", "norm2"),
    part("layer_scale2.lambda1", "ls2.gamma"),
];

const HUGGING_FACE_VIT: Vocabulary = Vocabulary {
    stem: &[HUGGING_FACE_STEM],
    blocks: "encoder.layer.",
    parts: &[
        HUGGING_FACE_ATTENTION,
        &[
            part("layernorm_before", "norm1"),
            part("layernorm_after", "norm2"),
            part("intermediate.dense", "mlp.fc1"),
            part("output.dense", "mlp.fc2"),
        ],
    ],
    foreign: HUGGING_FACE_FOREIGN,
};

const HUGGING_FACE_5_VIT: Vocabulary = Vocabulary {
    stem: &[HUGGING_FACE_STEM],
    blocks: "layers.",
    parts: &[
        HUGGING_FACE_5_ATTENTION,
        &[
            part("layernorm_before", "norm1"),
            part("layernorm_after", "norm2"),
            part("mlp.fc1", "mlp.fc1"),
            part("mlp.fc2", "mlp.fc2"),
        ],
    ],
    foreign: HUGGING_FACE_FOREIGN,
};

const HUGGING_FACE_DINOV2: Vocabulary = Vocabulary {
    stem: &[HUGGING_FACE_STEM],
    blocks: "encoder.layer.",
    parts: &[
        HUGGING_FACE_ATTENTION,
        HUGGING_FACE_DINO,
        &[
            part("mlp.fc1", "mlp.fc1"),
            part("mlp.fc2", "mlp.fc2"),
            part("mlp.weights_in", "mlp.fc1"),
            part("mlp.weights_out", "mlp.fc2"),
        ],
    ],
    foreign: HUGGING_FACE_FOREIGN,
};

const HUGGING_FACE_5_DINOV2: Vocabulary = Vocabulary {
    stem: &[HUGGING_FACE_STEM],
    blocks: "encoder.layer.",
    parts: &[
        HUGGING_FACE_5_ATTENTION,
        HUGGING_FACE_DINO,
        &[part("mlp.fc1", "mlp.fc1"), part("mlp.fc2", "mlp.fc2")],
        HUGGING_FACE_5_GATED,
    ],
    foreign: HUGGING_FACE_FOREIGN,
};

const HUGGING_FACE_DINOV3: Vocabulary = Vocabulary {
    stem: &[&[
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "register_tokens"),
        ("embeddings.patch_embeddings.weight", "patch_embed.proj.weight"),
        ("embeddings.patch_embeddings.bias", "patch_embed.proj.bias"),
        ("norm.weight", "norm.weight"),
        ("norm.bias", "norm.bias"),
    ]],
    blocks: "layer.",
    parts: &[HUGGING_FACE_5_ATTENTION, HUGGING_FACE_DINO, HUGGING_FACE_5_GATED],
    foreign: &["embeddings.position_embeddings"],
};
