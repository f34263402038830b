//! What was found in a checkpoint, for the user and for the run's record.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::error::Error;

/// What a checkpoint file holds, and what of it the encoder uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyReport {
    /// The kind of file.
    pub container: Container,
    /// The dict inside the file that was used (`model`, `teacher`, …); none where it is flat.
    #[serde(rename = "wrapper")]
    pub dictionary: Option<String>,
    /// What was stripped from the front of every key, with its last dot.
    pub prefix: String,
    /// Encoder tensors the file has, counted by canonical name.
    pub found: usize,
    /// Encoder tensors the file lacks, named as this file would name them.
    pub missing: Vec<String>,
    /// Keys inside the encoder that a plain ViT has no place for; they make it unusable.
    pub foreign: Vec<String>,
    /// Tensors that are not the encoder's and stay unread, by group, sorted by name.
    pub extras: Vec<ExtraGroup>,
    /// The types of the encoder's numbers in the file, with the count of tensors of each.
    pub dtypes: Vec<(String, usize)>,
    /// Numbers in the encoder's tensors.
    pub parameters: usize,
    /// The position table in words: its grid, and what was taken for granted; none where the shapes
    /// could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positions: Option<String>,
    /// Whether nothing but the width told the number of heads, and the keys name no program in
    /// which the width settles it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub heads_guessed: bool,
    /// Remarks worth a line: what was filled in or guessed, an epoch found beside the weights.
    pub notes: Vec<String>,
    /// Why the checkpoint cannot be used; none where it can.
    pub refusal: Option<Refusal>,
}

/// The kinds of file that weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Container {
    /// A `.safetensors` file.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6.
    Torch,
    /// No file: drawn from a seed.
    Seeded,
    /// No file: a part of this program.
    Shipped,
    /// No file: weights that are being trained.
    Memory,
}

/// Tensors of one group that the encoder does not use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ExtraGroup {
    /// `decoder_*`, `head.*`, `optimizer`, `mask_token`, …
    pub name: String,
    /// How many tensors.
    pub count: usize,
}

/// Why a checkpoint cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What is wrong.
    pub problem: String,
    /// What the user can do.
    pub remedy: String,
}

impl Refusal {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    pub(super) fn into_error(self, path: &Path) -> Error {
        Error::weights(path, self.problem, self.remedy)
    }
}

impl KeyReport {
    /// A report in which nothing was looked up yet.
    pub(crate) fn new(container: Container) -> Self {
        Self {
            container,
            dictionary: None,
            prefix: String::new(),
            found: 0,
            missing: Vec::new(),
            foreign: Vec::new(),
            extras: Vec::new(),
            dtypes: Vec::new(),
            parameters: 0,
            positions: None,
            heads_guessed: false,
            notes: Vec::new(),
            refusal: None,
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch zip",
            Self::Seeded => "seeded, no file",
            Self::Shipped => "shipped with the program",
            Self::Memory => "in memory, no file",
        })
    }
}

/// One line a fact, as `propagate check weights` prints it.
impl fmt::Display for KeyReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtypes: Vec<_> =
            self.dtypes.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        writeln!(formatter, "container   {}", self.container)?;
        if let Some(dictionary) = &self.dictionary {
            writeln!(formatter, "dict        {dictionary}")?;
        }
        if !self.prefix.is_empty() {
            writeln!(formatter, "prefix      {}", self.prefix)?;
        }
        writeln!(formatter, "found       {} tensors, {} parameters", self.found, self.parameters)?;
        if !dtypes.is_empty() {
            writeln!(formatter, "types       {}", dtypes.join(", "))?;
        }
        if let Some(positions) = &self.positions {
            writeln!(formatter, "positions   {positions}")?;
        }
        if !self.missing.is_empty() {
            writeln!(formatter, "missing     {}", shortened(&self.missing))?;
        }
        if !self.foreign.is_empty() {
            writeln!(formatter, "foreign     {}", shortened(&self.foreign))?;
        }
        for ExtraGroup { name, count } in &self.extras {
            writeln!(formatter, "not used    {name} ({count})")?;
        }
        for note in &self.notes {
            writeln!(formatter, "note        {note}")?;
        }
        match &self.refusal {
            Some(Refusal { problem, remedy }) => {
                write!(formatter, "unusable    {problem}; {remedy}")
            }
            None => write!(formatter, "usable"),
        }
    }
}

/// That a number of heads is only what is usual for the width, in a line.
pub fn assumed_heads(heads: usize, width: usize) -> String {
    let known = if width == 384 { " (MoCo v3's ViT-S has 12)" } else { "" };
    format!(
        "heads: {heads}, assumed from the width; pass the setting `heads` if it is another{known}"
    )
}

/// The first eight of some keys, and how many more there are.
pub(super) fn shortened(keys: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = keys.iter().take(SHOWN).map(String::as_str).collect();
    match keys.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_with_their_count() {
        let keys: Vec<String> = (0..10).map(|index| format!("k{index}")).collect();
        assert_eq!(shortened(&keys[..2]), "k0, k1");
        assert_eq!(shortened(&keys), "k0, k1, k2, k3, k4, k5, k6, k7 and 2 more");
    }

    #[test]
    fn a_report_prints_one_fact_a_line() {
        let mut report = KeyReport::new(Container::Torch);
        report.dictionary = Some("model".into());
        report.found = 3;
        report.parameters = 12;
        report.dtypes = vec![("f32".into(), 3)];
        report.extras = vec![ExtraGroup { name: "optimizer".into(), count: 7 }];
        assert_eq!(
            report.to_string(),
            "container   PyTorch zip\ndict        model\nfound       3 tensors, 12 parameters\n\
             types       f32 (3)\nnot used    optimizer (7)\nusable"
        );
    }
}
