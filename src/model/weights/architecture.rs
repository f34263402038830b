//! Reads an encoder's sizes from the shapes of its tensors, and checks every shape against them.

use super::element::{ElementType, Table};
use super::names::Spelling;
use super::plan::{Plan, Recipe, needed};
use super::report::Refusal;

/// The sizes of an encoder, all of which its tensors' shapes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) struct Architecture {
    /// Width of a token.
    pub(in crate::model) width: usize,
    /// Number of blocks.
    pub(in crate::model) depth: usize,
    /// Side of a patch in pixels.
    pub(in crate::model) patch: usize,
    /// Side of the grid that the position table covers.
    pub(in crate::model) table_side: usize,
    /// Number of register tokens.
    pub(in crate::model) registers: usize,
    /// Width between the two layers of a feed-forward: almost always 4 times `width`.
    pub(in crate::model) hidden: usize,
    /// Whether the branches of the blocks are scaled.
    pub(in crate::model) layer_scale: bool,
    /// Whether the position table has a row for CLS.
    pub(in crate::model) class_row: bool,
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
        let positions = need("pos_embed")?;
        let rows = positions.get(1).copied().unwrap_or(0);
        let (table_side, class_row) = read_table(rows, registers)?;
        let hidden = shape("blocks.0.mlp.fc1.weight").and_then(|shape| shape.first()).copied();
        let architecture = Self {
            width,
            depth: plan.depth(),
            patch,
            table_side,
            registers,
            hidden: hidden.unwrap_or(width.saturating_mul(4)),
            layer_scale: plan.layer_scale(),
            class_row,
        };
        architecture.check_size().map(|()| architecture)
    }

    fn check_size(&self) -> Result<(), Refusal> {
        let sizes = [self.width, self.patch, self.hidden, self.registers, self.table_side];
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
        let names = needed(self.depth, self.layer_scale, self.registers > 0).into_iter();
        names.map(|name| (self.shape_of(&name), name)).map(|(shape, name)| (name, shape)).collect()
    }

    fn shape_of(&self, name: &str) -> Vec<usize> {
        let (width, hidden) = (self.width, self.hidden);
        let part = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
        match part.map_or(name, |(_, part)| part) {
            "cls_token" => vec![1, 1, width],
            "pos_embed" => {
                vec![1, self.table_side * self.table_side + usize::from(self.class_row), width]
            }
            "register_tokens" => vec![1, self.registers, width],
            "patch_embed.proj.weight" => vec![width, 3, self.patch, self.patch],
            "attn.qkv.weight" => vec![3 * width, width],
            "attn.qkv.bias" => vec![3 * width],
            "attn.proj.weight" => vec![width, width],
            "mlp.fc1.weight" => vec![hidden, width],
            "mlp.fc1.bias" => vec![hidden],
            "mlp.fc2.weight" => vec![width, hidden],
            _ => vec![width],
        }
    }

    /// Compares every tensor's shape and type with what these sizes ask for.
    pub(super) fn check(&self, table: &Table, plan: &Plan) -> Result<(), Refusal> {
        for (name, wanted) in self.shapes() {
            match plan.recipes.get(&name) {
                Some(Recipe::Whole(key)) => check_tensor(table, key, &wanted)?,
                Some(Recipe::Rows(parts)) => {
                    let mut wanted = wanted;
                    wanted[0] = self.width;
                    for key in parts.iter().flatten() {
                        check_tensor(table, key, &wanted)?;
                    }
                }
                Some(Recipe::Zeros) | None => {}
            }
        }
        Ok(())
    }
}

fn check_tensor(table: &Table, key: &str, wanted: &[usize]) -> Result<(), Refusal> {
    let Some(stored) = table.get(key) else { return Ok(()) };
    if let ElementType::Other(element) = &stored.element {
        return Err(Refusal::new(
            format!("`{key}` holds {element} values, not floats; the model seems to be quantised"),
            "pass its float weights",
        ));
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
            layer_scale: false,
            class_row: true,
        };
        let shapes = architecture.shapes();
        assert_eq!(shapes[1], ("pos_embed".into(), vec![1, 17, 32]));
        assert_eq!(shapes[2], ("patch_embed.proj.weight".into(), vec![32, 3, 8, 8]));
        assert_eq!(shapes[6], ("blocks.0.attn.qkv.weight".into(), vec![96, 32]));
    }
}
