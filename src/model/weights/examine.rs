//! Checks a checkpoint: sorts its keys, reads its sizes, and finds the first reason to refuse it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};

use super::architecture::Architecture;
use super::container::Opened;
use super::element::Table;
use super::family::{Clues, Family};
use super::hugging_face::{self, Told};
use super::names::unwrapped;
use super::plan::{Plan, Recipe};
use super::report::{ExtraGroup, KeyReport, Refusal, assumed_heads};
use super::site::Site;
use super::vocabulary::Spelling;
use super::{Overrides, diagnosis, select};
use crate::error::Result;
use crate::model::config::VitConfig;

/// A checkpoint whose keys were looked at and whose numbers were not read yet.
pub(super) struct Examined {
    opened: Opened,
    table: Table,
    plan: Plan,
    architecture: Option<Architecture>,
    pub(super) config: Option<VitConfig>,
    pub(super) family: Option<Family>,
    pub(super) report: KeyReport,
}

impl Examined {
    /// Opens a checkpoint and looks at its keys.
    ///
    /// # Errors
    /// The file cannot be read or is no checkpoint at all.
    pub(super) fn new(path: &Path, overrides: &Overrides) -> Result<Self> {
        let opened = Opened::open(path)?;
        let selection = select::select(&opened, overrides.checkpoint_key.as_deref());
        let mut examined = Self {
            report: KeyReport {
                dictionary: selection.dictionary,
                ..KeyReport::new(opened.container())
            },
            opened,
            table: selection.table,
            plan: Plan::default(),
            architecture: None,
            config: None,
            family: None,
        };
        let judged = selection.site.and_then(|site| examined.judge(&site, (path, overrides)));
        examined.report.refusal = judged.err();
        examined.describe_surroundings();
        if overrides.checkpoint_key.is_none() {
            examined.describe_choice();
        }
        Ok(examined)
    }

    /// Sorts the keys and checks them; the first reason to refuse is the error.
    fn judge(
        &mut self,
        site: &Site,
        (path, overrides): (&Path, &Overrides),
    ) -> Result<(), Refusal> {
        let keys: Vec<String> = self.table.keys().map(|key| within(key, &site.prefix)).collect();
        let dictionary = self.report.dictionary.clone();
        let clues = Clues {
            spelling: site.spelling,
            dictionary: dictionary.as_deref(),
            prefix: &site.prefix,
            keys: &keys,
        };
        let family = Family::of(&clues);
        self.family = Some(family);
        self.plan = Plan::new(&self.table, site);
        self.fill_absent_bias(site.spelling, family);
        self.describe_keys(site);
        let architecture = Architecture::read(&self.table, &self.plan, site.spelling);
        let mut computed_otherwise = None;
        if let Ok(architecture) = &architecture {
            self.describe_shapes(architecture);
            check_sizes(architecture, overrides)?;
            let told = hugging_face::beside(path, (site.spelling, family), architecture);
            let told = told.unwrap_or_else(|refusal| {
                computed_otherwise = Some(refusal);
                Told::default()
            });
            self.configure(architecture, (&clues, family), told, overrides)?;
        }
        if !self.report.foreign.is_empty() {
            return Err(diagnosis::foreign_parts(&self.report.foreign));
        }
        if !self.report.missing.is_empty() {
            return Err(diagnosis::missing_keys(&self.report.missing, self.report.found, &keys));
        }
        if let Some(key) = self.plan.doubled.first() {
            return Err(twice(key));
        }
        if let Some(refusal) = computed_otherwise {
            return Err(refusal);
        }
        let architecture = architecture?;
        architecture.check(&self.table, &self.plan)?;
        self.architecture = Some(architecture);
        Ok(())
    }

    /// Zeros for the bias of query, key and value in families that may have none.
    fn fill_absent_bias(&mut self, spelling: Spelling, family: Family) {
        let optional = spelling != Spelling::Timm || family == Family::Timm;
        if optional && self.plan.fill_absent_bias() {
            self.report.notes.push("no bias for query, key and value: zeros stand for it".into());
        }
    }

    fn describe_keys(&mut self, site: &Site) {
        let report = &mut self.report;
        report.prefix.clone_from(&site.prefix);
        report.missing = self.plan.missing(site);
        report.foreign.clone_from(&self.plan.foreign);
        report.extras.clone_from(&self.plan.extras);
        let mut dtypes = BTreeMap::new();
        for recipe in self.plan.recipes.values() {
            let keys = match recipe {
                Recipe::Whole(key) => vec![key],
                Recipe::Pieces(parts) => parts.iter().flatten().collect(),
                Recipe::Zeros => Vec::new(),
            };
            report.found += usize::from(!keys.is_empty());
            for stored in keys.into_iter().filter_map(|key| self.table.get(key)) {
                *dtypes.entry(stored.element.to_string()).or_insert(0) += 1;
                report.parameters += stored.elements().unwrap_or(0);
            }
        }
        report.dtypes = dtypes.into_iter().collect();
    }

    fn describe_shapes(&mut self, architecture: &Architecture) {
        let &Architecture { width, hidden, gated, table_side: side, .. } = architecture;
        let KeyReport { notes, positions, .. } = &mut self.report;
        let class = if architecture.class_row { " and CLS" } else { "" };
        *positions = Some(match architecture.rotary {
            true => "rotary, no table".into(),
            false => {
                format!(
                    "a table of {side}x{side}{class}; its {} rows are taken for a square",
                    side * side
                )
            }
        });
        if !architecture.class_row {
            notes
                .push("the position table has no row for CLS: a row of zeros stands for it".into());
        }
        if gated {
            notes.push(format!("gated feed-forwards (SwiGLU), {hidden} wide"));
        } else if hidden != 4 * width {
            notes.push(format!("feed-forwards are {hidden} wide, not 4 x {width}"));
        }
    }

    /// What stands in the file beside the dict that was used.
    fn describe_surroundings(&mut self) {
        let (counts, numbers) = self.opened.surroundings();
        let used = self.report.dictionary.as_deref().and_then(|path| path.split('.').next());
        let beside =
            counts.into_iter().filter(|(name, count)| *count > 0 && Some(name.as_str()) != used);
        self.report.extras.extend(beside.map(|(name, count)| ExtraGroup { name, count }));
        self.report.extras.sort();
        if self.opened.files() > 1 {
            let shards = format!("in {} shards, read as one", self.opened.files());
            self.report.notes.push(shards);
        }
        let epochs = numbers.iter().filter(|(name, _)| name == "epoch");
        self.report.notes.extend(epochs.map(|(_, epoch)| format!("saved with epoch = {epoch}")));
    }

    /// Which dict was taken where the file has others that encoders come in, such as averaged
    /// weights.
    fn describe_choice(&mut self) {
        let KeyReport { dictionary: Some(taken), refusal: None, .. } = &self.report else { return };
        let others = select::other_encoders(&self.opened, taken);
        if let Some(first) = others.first() {
            let all = others.join(", ");
            self.report.notes.push(format!(
                "the encoder is that of `{taken}`; the file holds {all} too: the setting `checkpoint_key = {first}` takes that"
            ));
        }
    }

    /// The encoder's configuration, with a note where its heads are but what is usual and the
    /// family does not settle them.
    fn configure(
        &mut self,
        architecture: &Architecture,
        (clues, family): (&Clues<'_>, Family),
        told: Told,
        overrides: &Overrides,
    ) -> Result<(), Refusal> {
        self.report.notes.extend(told.note);
        let family = told.family.unwrap_or(family);
        self.family = Some(family);
        let (heads, usual) = self.heads(architecture, (family, told.heads), overrides)?;
        let &Architecture { width, depth, patch, table_side, registers, gated, .. } = architecture;
        let config = VitConfig {
            width,
            depth,
            heads,
            patch,
            table_side,
            registers,
            gated,
            norm_eps: family.norm_eps(),
            positions: family.positions(registers),
        };
        if usual && (!family.settles_heads(clues) || config.name().contains("heads")) {
            self.report.heads_guessed = true;
            self.report.notes.push(assumed_heads(heads, width));
        }
        self.config = Some(config);
        Ok(())
    }

    /// The number of heads, and whether it is only what is usual for the width.
    fn heads(
        &self,
        &Architecture { width, rotary, periods, .. }: &Architecture,
        (family, beside): (Family, Option<usize>),
        overrides: &Overrides,
    ) -> Result<(usize, bool), Refusal> {
        let recorded = self.opened.metadata("num_heads").and_then(|text| text.trim().parse().ok());
        let told = overrides.heads.or(overrides.arch.as_ref().map(|arch| arch.heads)).or(recorded);
        let told = told.or(beside);
        // a period for every fourth channel of a head
        let told = told.or_else(|| width.checked_div(4 * periods));
        let told = told.or_else(|| family.heads(width));
        let heads = told.unwrap_or_else(|| VitConfig::usual_heads(width));
        let remedy = "set the setting `heads` to the number that it was trained with";
        if heads == 0 || !width.is_multiple_of(heads) {
            let problem = format!("{heads} heads do not divide its width of {width}");
            return Err(Refusal::new(problem, remedy));
        }
        let each = width / heads;
        if rotary && (!each.is_multiple_of(4) || (periods > 0 && each != 4 * periods)) {
            let problem = format!(
                "heads of {each} channels do not fit its rotary positions, which turn {} at a time",
                4 * periods.max(1)
            );
            return Err(Refusal::new(problem, remedy));
        }
        Ok((heads, told.is_none()))
    }

    /// Reads the encoder's tensors.
    ///
    /// # Errors
    /// The checkpoint was refused, or a tensor is damaged or not finite.
    pub(super) fn tensors(&mut self) -> Result<HashMap<String, Tensor>, Refusal> {
        if let Some(refusal) = &self.report.refusal {
            return Err(refusal.clone());
        }
        let shapes = self.architecture.as_ref().map(Architecture::shapes).unwrap_or_default();
        shapes.into_iter().map(|(name, shape)| self.tensor(name, shape)).collect()
    }

    fn tensor(&mut self, name: String, mut shape: Vec<usize>) -> Result<(String, Tensor), Refusal> {
        let count: usize = shape.iter().product();
        let mut numbers = match self.plan.recipes.get(&name).cloned() {
            Some(Recipe::Whole(key)) => self.read(&key)?,
            Some(Recipe::Pieces(parts)) => {
                let mut numbers = Vec::with_capacity(count);
                for part in &parts {
                    match part {
                        Some(key) => numbers.extend(self.read(key)?),
                        None => numbers.extend(std::iter::repeat_n(0.0, count / parts.len())),
                    }
                }
                numbers
            }
            Some(Recipe::Zeros) | None => vec![0.0; count],
        };
        // DINOv3 has a bias of keys among its weights, and takes it times zero
        if let Some(Recipe::Whole(mask)) = self.plan.recipes.get(&format!("{name}_mask")).cloned() {
            let mask = self.read(&mask)?;
            numbers.iter_mut().zip(mask).for_each(|(number, factor)| *number *= factor);
        }
        let class_row = self.architecture.as_ref().is_none_or(|sizes| sizes.class_row);
        if name == "pos_embed" && !class_row {
            numbers.splice(0..0, std::iter::repeat_n(0.0, shape[2]));
            shape[1] += 1;
        }
        let tensor = tensor(&name, numbers, shape)?;
        Ok((name, tensor))
    }

    /// The numbers of a tensor of the encoder, which must be finite.
    fn read(&mut self, key: &str) -> Result<Vec<f32>, Refusal> {
        let Some(stored) = self.table.get(key) else { return Ok(Vec::new()) };
        let numbers = self.opened.read(key, stored)?;
        check_finite(key, &numbers)?;
        Ok(numbers)
    }

    /// Reads the tensors of the encoder's dict whose names, without the encoder's prefix, are
    /// `wanted`.
    ///
    /// # Errors
    /// One is damaged or not finite.
    pub(super) fn others(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<HashMap<String, Tensor>, Refusal> {
        let mut found = HashMap::new();
        for (key, stored) in &self.table {
            let name = key.strip_prefix(&self.report.prefix).map(unwrapped);
            let Some(name) = name.filter(|name| wanted(name)) else { continue };
            let numbers = self.opened.read(key, stored)?;
            check_finite(key, &numbers)?;
            let tensor = tensor(&name, numbers, stored.shape.clone())?;
            if found.insert(name.into_owned(), tensor).is_some() {
                return Err(twice(key));
            }
        }
        Ok(found)
    }
}

/// A key, without what wraps modules within the encoder.
fn within(key: &str, prefix: &str) -> String {
    match key.strip_prefix(prefix) {
        Some(rest) => format!("{prefix}{}", unwrapped(rest)),
        None => key.to_owned(),
    }
}

fn twice(key: &str) -> Refusal {
    Refusal::new(
        format!("holds the tensor `{key}` twice, under two names"),
        "save the state dict of one model alone",
    )
}

fn tensor(name: &str, numbers: Vec<f32>, shape: Vec<usize>) -> Result<Tensor, Refusal> {
    Tensor::from_vec(numbers, shape, &Device::Cpu)
        .map_err(|error| Refusal::new(format!("`{name}`: {error}"), "report this as a bug"))
}

fn check_finite(key: &str, numbers: &[f32]) -> Result<(), Refusal> {
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("`{key}` holds NaN or infinite values"),
        "the training seems to have diverged; use an earlier checkpoint",
    ))
}

/// Refuses a file whose sizes are not those that the user asked for.
fn check_sizes(found: &Architecture, overrides: &Overrides) -> Result<(), Refusal> {
    let sizes = (found.width, found.depth, found.patch);
    let told = |(width, depth, patch)| format!("width {width}, depth {depth}, patch {patch}");
    if let Some(arch) = &overrides.arch {
        let asked = (arch.width, arch.depth, arch.patch);
        if asked != sizes {
            let (found, asked, name) = (told(sizes), told(asked), arch.name());
            return Err(Refusal::new(
                format!("holds {found}, not {asked} as the setting `arch = {name}` asks"),
                "leave the setting `arch` out or pass another checkpoint",
            ));
        }
    }
    if let Some(patch) = overrides.patch.filter(|patch| *patch != found.patch) {
        return Err(Refusal::new(
            format!(
                "has patches of {} pixels, not {patch} as the setting `patch_size` asks",
                found.patch
            ),
            "leave the setting `patch_size` out or pass another checkpoint",
        ));
    }
    Ok(())
}
