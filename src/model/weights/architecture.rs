//! Reads an encoder's sizes from the shapes of its tensors, and checks every shape against them.

use super::element::{ElementType, Table};
use super::plan::{Makeup, Plan, Recipe};
use super::report::Refusal;
use super::vocabulary::Spelling;

/// The sizes of an encoder, all of which its tensors' shapes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) struct Architecture {
    /// Width of a token.
    pub(in crate::model) width: usize,
    /// Number of blocks.
    pub(in crate::model) depth: usize,
    /// Side of a patch in pixels.
    pub(in crate::model) patch: usize,
    /// Side of the grid that the position table covers; 0 where positions are rotary.
    pub(in crate::model) table_side: usize,
    /// Number of register tokens.
    pub(in crate::model) registers: usize,
    /// Width of what goes into the second layer of a feed-forward: almost always 4 times `width`.
    pub(in crate::model) hidden: usize,
    /// Whether feed-forwards are gated: the first layer gives that twice, a gate first.
    pub(in crate::model) gated: bool,
    /// Whether the branches of the blocks are scaled.
    pub(in crate::model) layer_scale: bool,
    /// Whether the position table has a row for CLS.
    pub(in crate::model) class_row: bool,
    /// Whether positions are rotary: queries and keys are turned, and there is no table.
    pub(in crate::model) rotary: bool,
    /// How many periods of rotary positions the file holds, a quarter of a head's channels; 0 where
    /// they are the family's.
    pub(in crate::model) periods: usize,
}

/// No vision transformer is larger in any direction; what claims to be is damage.
const LARGEST: usize = 1 << 20;

impl Architecture {
    /// The sizes of the encoder in `table`, sorted by `plan`.
    ///
    /// # Errors
    /// The shapes are not those of a ViT on colour images with a square position table.
    pub(super) fn read(table: &Table, plan: &Plan, spelling: Spelling) -> Result<Self, Refusal> {
        let shape = |name: &str| match plan.recipes.get(name) {
            Some(Recipe::Whole(key)) => table.get(key).map(|stored| stored.shape.as_slice()),
            _ => None,
        };
        let need = |name: &str| {
            shape(name)
                .ok_or_else(|| Refusal::new(format!("lacks `{}`", spelling.native(name)), ""))
        };
        let (width, patch) = read_patch(
            need("patch_embed.proj.weight")?,
            &plan.key_of("patch_embed.proj.weight", spelling),
        )?;
        let registers =
            shape("register_tokens").and_then(|shape| shape.get(1)).copied().unwrap_or(0);
        let rotary = spelling.rotary();
        let (table_side, class_row) = match rotary {
            true => (0, true),
            false => read_table(need("pos_embed")?.get(1).copied().unwrap_or(0), registers)?,
        };
        let (hidden, gated) = read_feed_forward(table, plan, width);
        let architecture = Self {
            width,
            depth: plan.depth(),
            patch,
            table_side,
            registers,
            hidden,
            gated,
            layer_scale: plan.layer_scale(),
            class_row,
            rotary,
            periods: shape("rope_embed.periods").and_then(|it| it.first()).copied().unwrap_or(0),
        };
        architecture.check_size().map(|()| architecture)
    }

    fn check_size(&self) -> Result<(), Refusal> {
        let Self { width, patch, hidden, registers, table_side, periods, .. } = *self;
        let sizes = [width, patch, hidden, registers, table_side, periods];
        if self.width > 0 && self.patch > 0 && sizes.iter().all(|&size| size <= LARGEST) {
            return Ok(());
        }
        Err(Refusal::new(
            format!("claims impossible sizes (width {}, patch {})", self.width, self.patch),
            "download or copy it again",
        ))
    }

    /// Every tensor's canonical name and its shape in the file, in canonical order.
    pub(in crate::model) fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let makeup = Makeup {
            depth: self.depth,
            layer_scale: self.layer_scale,
            registers: self.registers > 0,
            table: !self.rotary,
        };
        let periods = (self.periods > 0).then(|| "rope_embed.periods".to_string());
        let names = makeup.needed().into_iter().chain(periods);
        names.map(|name| (self.shape_of(&name), name)).map(|(shape, name)| (name, shape)).collect()
    }

    fn shape_of(&self, name: &str) -> Vec<usize> {
        let (width, hidden) = (self.width, self.hidden);
        let first = if self.gated { 2 * hidden } else { hidden };
        let part = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
        match part.map_or(name, |(_, part)| part) {
            "cls_token" => vec![1, 1, width],
            "pos_embed" => {
                vec![1, self.table_side * self.table_side + usize::from(self.class_row), width]
            }
            "register_tokens" => vec![1, self.registers, width],
            "patch_embed.proj.weight" => vec![width, 3, self.patch, self.patch],
            "attn.qkv.weight" => vec![3 * width, width],
            "attn.qkv.bias" | "attn.qkv.bias_mask" => vec![3 * width],
            "attn.proj.weight" => vec![width, width],
            "mlp.fc1.weight" => vec![first, width],
            "mlp.fc1.bias" => vec![first],
            "mlp.fc2.weight" => vec![width, hidden],
            "rope_embed.periods" => vec![self.periods],
            _ => vec![width],
        }
    }

    /// Compares every tensor's shape and type with what these sizes ask for.
    pub(super) fn check(&self, table: &Table, plan: &Plan) -> Result<(), Refusal> {
        for (name, recipe) in &plan.recipes {
            let mut wanted = self.shape_of(name);
            match recipe {
                Recipe::Whole(key) => check_tensor(table, key, &wanted)?,
                Recipe::Pieces(parts) => {
                    wanted[0] /= parts.len();
                    for key in parts.iter().flatten() {
                        check_tensor(table, key, &wanted)?;
                    }
                }
                Recipe::Zeros => {}
            }
        }
        Ok(())
    }
}

/// The width of what goes into the second layer of a feed-forward, and whether the first gives a
/// gate too: as pieces, or as twice so many rows.
fn read_feed_forward(table: &Table, plan: &Plan, width: usize) -> (usize, bool) {
    let rows = |key: &String| table.get(key).and_then(|stored| stored.shape.first()).copied();
    let taken = match plan.recipes.get("blocks.0.mlp.fc2.weight") {
        Some(Recipe::Whole(key)) => table.get(key).and_then(|stored| stored.shape.get(1)).copied(),
        _ => None,
    };
    let (given, pieces) = match plan.recipes.get("blocks.0.mlp.fc1.weight") {
        Some(Recipe::Whole(key)) => (rows(key), false),
        Some(Recipe::Pieces(parts)) => (parts.iter().flatten().find_map(rows), true),
        _ => (None, false),
    };
    match (given, taken) {
        (Some(given), _) if pieces => (given, true),
        (Some(given), Some(taken)) if given == taken.saturating_mul(2) => (taken, true),
        (given, taken) => (given.or(taken).unwrap_or(width.saturating_mul(4)), false),
    }
}

fn check_tensor(table: &Table, key: &str, wanted: &[usize]) -> Result<(), Refusal> {
    let Some(stored) = table.get(key) else { return Ok(()) };
    if let ElementType::Other(element) = &stored.element {
        return Err(not_plain(key, element));
    }
    if stored.shape == wanted {
        return Ok(());
    }
    Err(Refusal::new(
        format!(
            "`{key}` has shape {:?} where the rest of the encoder asks for {wanted:?}",
            stored.shape
        ),
        "pass an unmodified plain ViT encoder",
    ))
}

/// Refuses numbers of a type that is not read.
fn not_plain(key: &str, element: &str) -> Refusal {
    if element.starts_with("float8") || element.starts_with("f8_") {
        return Refusal::new(
            format!("`{key}` holds {element} values"),
            "convert them to f32, f16 or bf16: in Python, tensor.float()",
        );
    }
    if element.ends_with(" view") {
        return Refusal::new(
            format!("`{key}` is stored as a {element} of other numbers"),
            "save its own: in Python, tensor.resolve_conj().resolve_neg()",
        );
    }
    Refusal::new(
        format!("`{key}` holds {element} values, not floats; the model seems to be quantised"),
        "pass its float weights",
    )
}

/// Width and patch side from the patch embedding [D, 3, p, p].
fn read_patch(shape: &[usize], key: &str) -> Result<(usize, usize), Refusal> {
    match *shape {
        [width, 3, rows, columns] if rows == columns => Ok((width, rows)),
        [_, _, _, _, _] => Err(Refusal::new(
            format!("`{key}` has shape {shape:?}: a video encoder that embeds tubelets (VideoMAE)"),
            "pass an image encoder, whose patch embedding has 4 dimensions",
        )),
        [_, channels, rows, columns] if rows == columns => Err(Refusal::new(
            format!("`{key}` takes images of {channels} channels, not 3"),
            "pass an encoder of colour images",
        )),
        _ => Err(Refusal::new(
            format!("`{key}` has shape {shape:?}, not [width, 3, patch, patch]"),
            "pass a ViT with square patches",
        )),
    }
}

/// The side of the position table and whether it has a row for CLS, from its number of rows.
fn read_table(rows: usize, registers: usize) -> Result<(usize, bool), Refusal> {
    let square =
        |count: usize| Some(count.isqrt()).filter(|side| side * side == count && count > 0);
    if let Some(side) = rows.checked_sub(1).and_then(square) {
        return Ok((side, true));
    }
    if let Some(side) = square(rows) {
        return Ok((side, false));
    }
    let prefixed = registers > 0 && rows.checked_sub(1 + registers).and_then(square).is_some();
    let why = if prefixed {
        "it has rows for the registers, which this program does not add"
    } else {
        "a CLS row and a square grid would need one more than a square number"
    };
    Err(Refusal::new(
        format!("its position table has {rows} rows: {why}"),
        "pass an encoder trained on square images",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_embedding_tells_width_and_patch() {
        assert_eq!(read_patch(&[384, 3, 16, 16], "k").unwrap(), (384, 16));
        let problem = |shape: &[usize]| read_patch(shape, "k").unwrap_err().problem;
        assert!(problem(&[384, 3, 2, 16, 16]).contains("VideoMAE"));
        assert!(problem(&[384, 1, 16, 16]).contains("1 channels"));
        assert!(problem(&[384, 3, 16, 8]).contains("[width, 3, patch, patch]"));
        assert!(problem(&[384]).contains("[384]"));
    }

    #[test]
    fn the_table_tells_its_side_and_whether_cls_has_a_row() {
        assert_eq!(read_table(197, 0).unwrap(), (14, true));
        assert_eq!(read_table(1369, 4).unwrap(), (37, false));
        assert_eq!(read_table(2, 0).unwrap(), (1, true));
        assert!(read_table(198, 0).unwrap_err().problem.contains("198 rows"));
        assert!(read_table(1374, 4).unwrap_err().problem.contains("registers"));
        assert!(read_table(0, 0).is_err());
    }

    #[test]
    fn shapes_follow_the_sizes() {
        let architecture = Architecture {
            width: 32,
            depth: 2,
            patch: 8,
            table_side: 4,
            registers: 0,
            hidden: 128,
            gated: false,
            layer_scale: false,
            class_row: true,
            rotary: false,
            periods: 0,
        };
        let shapes = architecture.shapes();
        assert_eq!(shapes[1], ("pos_embed".into(), vec![1, 17, 32]));
        assert_eq!(shapes[2], ("patch_embed.proj.weight".into(), vec![32, 3, 8, 8]));
        assert_eq!(shapes[6], ("blocks.0.attn.qkv.weight".into(), vec![96, 32]));
        let other =
            Architecture { gated: true, rotary: true, periods: 4, table_side: 0, ..architecture };
        let shapes = other.shapes();
        assert_eq!(shapes[1].0, "patch_embed.proj.weight");
        assert!(shapes.contains(&("blocks.1.mlp.fc1.weight".into(), vec![256, 32])));
        assert!(shapes.contains(&("rope_embed.periods".into(), vec![4])));
    }
}
