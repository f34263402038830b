//! Finds the encoder in a file: in which dict, under which prefix.

use super::container::Opened;
use super::diagnosis;
use super::element::Table;
use super::report::{Refusal, shortened};
use super::site::{Site, sites};
use super::torch_zip::STATE_DICT;

/// The dicts that training programs put their weights in, in the order of preference.
const DICTIONARIES: [&str; 6] =
    ["model", "state_dict", "teacher", "student", "model_ema", "encoder"];

/// Other dicts of a file that are looked into; more are not worth the time.
const MAX_OTHERS: usize = 32;

/// A dict of the file and the encoder in it.
pub(super) struct Selection {
    /// The dict's name; none for the top of the file.
    pub(super) dictionary: Option<String>,
    /// Its tensors.
    pub(super) table: Table,
    /// Where the encoder is, or why none was found.
    pub(super) site: Result<Site, Refusal>,
}

/// The dict and prefix that hold the encoder.
///
/// With `key`, only the dict of that name, or else the keys that begin with it and a dot. Without,
/// the usual dicts, then the top of the file, then any other dict; the first with an encoder wins.
pub(super) fn select(opened: &Opened, key: Option<&str>) -> Selection {
    let candidates = match key {
        Some(key) if opened.table(Some(key)).is_some() => vec![Some(key.to_string())],
        _ => candidates(opened),
    };
    let prefix = key
        .filter(|_| !matches!(candidates.as_slice(), [Some(only)] if Some(only.as_str()) == key));
    let mut first: Option<(Option<String>, Table)> = None;
    for dictionary in candidates {
        let Some(table) = opened.table(dictionary.as_deref()) else { continue };
        let (mut found, mut settled) = sites(table.keys().map(String::as_str));
        if let Some(prefix) = prefix {
            found.retain(|site| {
                site.prefix.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
            });
            settled = found.len() < 2;
        }
        if !found.is_empty() {
            let site = if settled { Ok(found.swap_remove(0)) } else { Err(ambiguous(&found)) };
            return Selection { dictionary, table, site };
        }
        if first.as_ref().is_none_or(|(_, kept)| kept.is_empty() && !table.is_empty()) {
            first = Some((dictionary, table));
        }
    }
    nothing_found(opened, prefix, first.unwrap_or_default())
}

/// The other dicts of the file that hold encoders, such as averaged weights.
pub(super) fn other_encoders(opened: &Opened, taken: &str) -> Vec<String> {
    let holds = |dict: &String| {
        let table = opened.table(Some(dict)).unwrap_or_default();
        !sites(table.keys().map(String::as_str)).0.is_empty()
    };
    let others = opened.dicts().into_iter().filter(|dict| dict != taken).take(MAX_OTHERS);
    let mut others: Vec<String> = others.filter(holds).collect();
    others.sort();
    others
}

fn candidates(opened: &Opened) -> Vec<Option<String>> {
    let dicts = opened.dicts();
    let usual = DICTIONARIES.iter().filter(|name| dicts.iter().any(|dict| dict == *name));
    let others =
        dicts.iter().filter(|dict| !DICTIONARIES.contains(&dict.as_str())).take(MAX_OTHERS);
    let usual = usual.map(|name| Some((*name).to_string()));
    usual.chain([None]).chain(others.cloned().map(Some)).collect()
}

fn nothing_found(
    opened: &Opened,
    prefix: Option<&str>,
    (dictionary, table): (Option<String>, Table),
) -> Selection {
    let keys: Vec<String> = table.keys().cloned().collect();
    let refusal = if let Some(what) = opened.not_a_dict() {
        Refusal::new(format!("holds {what}, not a dict of tensors"), STATE_DICT)
    } else if let Some(refusal) = opened.in_place_of_tensors().filter(|_| keys.is_empty()) {
        refusal
    } else if let Some(prefix) = prefix {
        let dicts = opened.dicts();
        let shown = if dicts.is_empty() { shortened(&keys) } else { shortened(&dicts) };
        Refusal::new(
            format!("no dict `{prefix}` and no encoder under keys that begin with `{prefix}.`"),
            format!("correct the setting `checkpoint_key` or leave it out; the file has {shown}"),
        )
    } else {
        let searched = match &dictionary {
            Some(name) => format!("in its dict `{name}`"),
            None => "at its top".into(),
        };
        diagnosis::no_encoder(&keys, &searched, &opened.dicts())
    };
    Selection { dictionary, table, site: Err(refusal) }
}

fn ambiguous(found: &[Site]) -> Refusal {
    let prefixes: Vec<String> =
        found.iter().map(|site| site.prefix.trim_end_matches('.').to_string()).collect();
    Refusal::new(
        format!("holds {} encoders: {}", found.len(), shortened(&prefixes)),
        "say which one with the setting `checkpoint_key = PREFIX`",
    )
}
