//! What the `config.json` beside a checkpoint of Hugging Face says of the encoder and no tensor
//! shows: which of its models it is, how many heads it has, and whether it computes as we do.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::architecture::Architecture;
use super::family::Family;
use super::report::Refusal;
use super::vocabulary::Spelling;

/// A file of this name that is larger is something else.
const LARGEST: u64 = 1 << 20;

/// The base of the periods of DINOv3's rotary positions, see [`crate::model::pos_embed::turns`].
const ROPE_THETA: f64 = 100.0;

/// What was learnt from the file.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Which model it is; none where the file is not there or speaks of another one.
    pub(super) family: Option<Family>,
    /// The number of heads.
    pub(super) heads: Option<usize>,
    /// Why it was not read, though it is there.
    pub(super) note: Option<String>,
}

/// Reads the `config.json` in the folder of the checkpoint at `path`, where its names are Hugging
/// Face's.
///
/// # Errors
/// The file is this encoder's and asks for something that is computed otherwise here.
pub(super) fn beside(
    path: &Path,
    (spelling, family): (Spelling, Family),
    architecture: &Architecture,
) -> Result<Told, Refusal> {
    let config = spelling.hugging_face().then(|| read(path)).flatten();
    let Some(config) = config else { return Ok(Told::default()) };
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let model = model(family, kind);
    let other = match model {
        None => Some(format!("model_type {kind}")),
        Some(_) => another_size(&config, architecture),
    };
    if let Some(other) = other {
        let note =
            format!("the config.json beside it is another model's ({other}) and is not read");
        return Ok(Told { note: Some(note), ..Told::default() });
    }
    check(&config, model.unwrap_or(family), architecture)?;
    let heads = config.get("num_attention_heads").and_then(Value::as_u64);
    let heads = heads.and_then(|heads| usize::try_from(heads).ok());
    Ok(Told { family: model, heads, note: None })
}

fn read(path: &Path) -> Option<Value> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    let file = folder.join("config.json");
    let small = fs::metadata(&file).ok().is_some_and(|found| found.len() <= LARGEST);
    let text = small.then(|| fs::read_to_string(&file).ok())??;
    serde_json::from_str(&text).ok().filter(Value::is_object)
}

/// The model of this type, where it has the names that `family` has.
fn model(family: Family, kind: &str) -> Option<Family> {
    let model = match kind {
        "vit" => Family::HuggingFaceVit,
        "vit_mae" => Family::HuggingFaceVitMae,
        "vit_msn" => Family::HuggingFaceVitMsn,
        "dinov2" => Family::HuggingFaceDinov2,
        "dinov2_with_registers" => Family::HuggingFaceDinov2Registers,
        "dinov3_vit" => Family::HuggingFaceDinov3,
        _ => return None,
    };
    let vit = |family| {
        matches!(
            family,
            Family::HuggingFaceVit | Family::HuggingFaceVitMae | Family::HuggingFaceVitMsn
        )
    };
    (model == family || (vit(model) && vit(family))).then_some(model)
}

/// A size that is not the encoder's, in words.
fn another_size(config: &Value, architecture: &Architecture) -> Option<String> {
    let sizes = [
        ("hidden_size", architecture.width),
        ("num_hidden_layers", architecture.depth),
        ("patch_size", architecture.patch),
    ];
    sizes.into_iter().find_map(|(name, ours)| {
        let theirs = config.get(name)?.as_u64()?;
        (theirs != ours as u64).then(|| format!("{name} {theirs}, not {ours}"))
    })
}

/// Refuses an encoder that is computed otherwise than its family is here.
fn check(config: &Value, family: Family, architecture: &Architecture) -> Result<(), Refusal> {
    let refused = |problem: String| {
        Err(Refusal::new(
            problem,
            "pass an encoder without this change; if the config.json is another model's, move it away",
        ))
    };
    let activations: &[&str] = match (architecture.gated, family) {
        (false, _) => &["gelu", "gelu_python"],
        (true, Family::HuggingFaceDinov3) => &["silu", "swish"],
        // Dinov2's gates are SiLU whatever is said
        (true, _) => &[],
    };
    let asked = config.get("hidden_act").and_then(Value::as_str).unwrap_or("gelu");
    if let Some(usual) = activations.first().filter(|_| !activations.contains(&asked)) {
        return refused(format!(
            "the config.json beside it has the activation `{asked}`, where {usual} is computed here"
        ));
    }
    let number = |name: &str| config.get(name).and_then(Value::as_f64);
    let differs = |asked: &f64, ours: f64| (asked - ours).abs() > 1e-6 * ours;
    let epsilon = family.norm_eps();
    if let Some(asked) = number("layer_norm_eps").filter(|asked| differs(asked, epsilon)) {
        return refused(format!(
            "the config.json beside it has layer_norm_eps {asked:e}, where {family} has {epsilon:e}"
        ));
    }
    let within = config.get("rope_parameters").and_then(|it| it.get("rope_theta"));
    let theta = number("rope_theta").or_else(|| within?.as_f64());
    match theta.filter(|asked| architecture.rotary && differs(asked, ROPE_THETA)) {
        Some(asked) => refused(format!(
            "the config.json beside it has rope_theta {asked}, where {ROPE_THETA} is computed here"
        )),
        None => Ok(()),
    }
}
