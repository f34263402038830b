//! A run as a page: `report.html`, a single file for a browser.
//!
//! [`write()`] reads a run's folder (`log.jsonl`, `config.toml`, `pictures/`, the head of the
//! newest checkpoint) and shows the curves (`curves`), the network's reconstructions of the same
//! images over time (`time`), every measurement, the recipe, and where and with what the run was
//! made. The page can be written again at any time, also during a run. The frame of the page:
//! [`crate::report::html`].

mod curves;
mod time;

use std::path::Path;

use maud::{Markup, html};

use super::checkpoint::{self, State};
use super::config::{Config, Preset};
use super::record::{
    self, Entry, HELD_OUT, HELD_OUT_AVERAGE, MEAN_PATCH, SessionRecord, StepRecord,
};
use crate::autoencoder::Method;
use crate::error::{Error, Result};
use crate::files;
use crate::image::figure::evenly;
use crate::report::Table;
use crate::report::html::page::{Page, Section, Tone, badge, copied, facts};
use crate::report::html::table::{Look, table};
use crate::wording::counted;

/// The page's name in a run's folder.
pub const NAME: &str = "report.html";
/// More rows of measurements than this are thinned.
const MOST_ROWS: usize = 40;

/// Writes the page of the run in `folder`, from what lies there.
///
/// # Errors
/// The folder holds no run, a file in it cannot be read, or the page cannot be written.
pub fn write(folder: &Path) -> Result<()> {
    let config = config(folder)?;
    let log = record::read(&record::path(folder))?;
    let pictures = time::read(&folder.join("pictures"))?;
    let state = checkpoint::list(folder)?.pop().map(|(_, path)| checkpoint::state(&path));
    let state = state.transpose()?.flatten();
    let page = page(&config, &log, state.as_ref(), time::markup(&config, &pictures)?)?;
    files::write(&folder.join(NAME), page.html().as_bytes())
}

/// The configuration that a run has left in its folder.
fn config(folder: &Path) -> Result<Config> {
    let path = folder.join("config.toml");
    let remedy = "pass the folder that a run of `pretrain` was given for its output";
    if !folder.exists() {
        return Err(Error::data(folder, "there is no such folder", remedy));
    }
    if !path.is_file() {
        return Err(Error::data(
            folder,
            "holds no run of pretrain: config.toml is missing",
            remedy,
        ));
    }
    let text = std::fs::read_to_string(&path).map_err(Error::reading(&path))?;
    Preset::Tiny.config().with_toml(&path.display().to_string(), &text)
}

/// `state` is the newest checkpoint's, `pictures` the section of [`time`].
fn page(
    config: &Config,
    log: &[Entry],
    state: Option<&State>,
    pictures: Option<Markup>,
) -> Result<Page> {
    let epochs = state.map_or(0, |state| state.place.epoch);
    let mut sections = vec![Section::new("curves", "Curves", curves::markup(log, epochs))];
    if let Some(pictures) = pictures {
        sections.push(Section::new("pictures", "What it makes of masked images", pictures));
    }
    sections.push(Section::new("measurements", "Measurements", measurements(log)));
    sections.push(Section::new("recipe", "Recipe", recipe(config)?));
    sections.push(Section::new("made", "How it was made", made(log, state)));
    let method = match config.method {
        Method::Cropmae => "CropMAE",
        Method::Siammae => "SiamMAE",
        Method::Mae => "MAE",
    };
    Ok(Page {
        kind: "Pre-training".into(),
        title: format!("{method}, {}", config.autoencoder().encoder.name()),
        lead: lead(config, log, epochs),
        sections,
        foot: html! { "cropmae " (env!("CARGO_PKG_VERSION")) ", from what lies in the run's folder" },
    })
}

/// How far the run is, and how well it does.
fn lead(config: &Config, log: &[Entry], epochs: u64) -> Markup {
    let steps = log.iter().filter_map(Entry::step).next_back().map_or(0, |last| last.steps);
    let mut known: Vec<(String, String)> = Vec::new();
    if let Some((loss, which)) = newest(log, epochs, |step| step.loss) {
        known.push((format!("training loss ({which})"), shown(Some(loss), "")));
    }
    for name in names(log).into_iter().filter(|name| *name != MEAN_PATCH) {
        let mut values = log.iter().rev().filter_map(Entry::measure);
        let value = values.find(|measure| measure.name == name).map(|measure| measure.value);
        known.push((name.to_owned(), shown(value, name)));
    }
    html! {
        p.lead {
            b { (epochs) " of " (counted(config.epochs, "epoch")) } ", "
            (grouped(steps)) @if steps == 1 { " step of " } @else { " steps of " }
            (config.optimization.batch_size) " images"
            @for (name, value) in &known { "; " (name) " " b { (value) } }
            "."
        }
        div.badges {
            @if epochs >= config.epochs { (badge(Tone::Plain, "finished")) }
            @else { (badge(Tone::Warning, "not finished")) }
            (badge(Tone::Plain, &format!("{:.1} % masked", 100.0 * config.masking_ratio)))
            (badge(Tone::Plain, &format!("views of {0}×{0}", config.views.size)))
        }
    }
}

/// What was measured, in the order of its first time.
fn names(log: &[Entry]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for measure in log.iter().filter_map(Entry::measure) {
        if !names.contains(&measure.name.as_str()) {
            names.push(&measure.name);
        }
    }
    names
}

/// One row for each epoch that something was measured after.
fn measurements(log: &[Entry]) -> Markup {
    // the mean patch's loss is one number, shown below
    let names: Vec<&str> = names(log).into_iter().filter(|name| *name != MEAN_PATCH).collect();
    let mut epochs: Vec<(u64, u64)> = Vec::new();
    for measure in log.iter().filter_map(Entry::measure) {
        if epochs.last() != Some(&(measure.epochs, measure.steps)) {
            epochs.push((measure.epochs, measure.steps));
        }
    }
    if epochs.is_empty() {
        return html! {
            p { "Nothing was measured yet: the loss is, where there are held-out images, and the score of each "
                "benchmark that the run is told to evaluate." }
        };
    }
    let columns = ["epochs", "steps", "training loss"].into_iter().chain(names.iter().copied());
    let mut of = Table::new(columns);
    let kept = evenly(MOST_ROWS, epochs.len());
    for (epoch, steps) in kept.into_iter().filter_map(|index| epochs.get(index)) {
        let loss = mean(log, *epoch, |step| step.loss);
        let mut row = vec![epoch.to_string(), grouped(*steps), shown(loss, "")];
        row.extend(names.iter().map(|name| shown(measured(log, name, *epoch), name)));
        of.push(row.into_iter().map(Into::into).collect());
    }
    html! {
        p { "Losses are mean squared errors of masked patches, the training loss as the mean over the epoch; "
            "benchmarks are in percent." }
        (table("After so many epochs", &of, Look::default()))
        @if let Some(floor) = measured(log, MEAN_PATCH, 1) {
            p.quiet { "The baseline, predicting the mean patch of the held-out images without a network, has the loss "
                (shown(Some(floor), MEAN_PATCH)) "." }
        }
    }
}

/// The mean of a value over the steps of an epoch, counted from 1.
fn mean(log: &[Entry], epoch: u64, of: impl Fn(&StepRecord) -> f64) -> Option<f64> {
    let steps = log.iter().filter_map(Entry::step).filter(|step| step.epoch + 1 == epoch);
    let (count, sum) = steps.fold((0_u32, 0.0), |(count, sum), step| (count + 1, sum + of(step)));
    (count > 0).then(|| sum / f64::from(count))
}

/// The mean of a value over the newest epoch of those that are done, and in words which one that
/// is. The program's own lines tell the same number.
fn newest(log: &[Entry], epochs: u64, of: impl Fn(&StepRecord) -> f64) -> Option<(f64, String)> {
    let which = match epochs {
        0 => "mean of epoch 1 so far".to_owned(),
        epochs => format!("mean of epoch {epochs}"),
    };
    mean(log, epochs.max(1), of).map(|mean| (mean, which))
}

fn measured(log: &[Entry], name: &str, epochs: u64) -> Option<f64> {
    let mut found = log.iter().filter_map(Entry::measure);
    found.find(|it| it.name == name && it.epochs == epochs).map(|it| it.value)
}

/// A loss with four decimals, a score in per cent with one.
fn shown(value: Option<f64>, name: &str) -> String {
    let loss = name.is_empty() || [HELD_OUT, HELD_OUT_AVERAGE, MEAN_PATCH].contains(&name);
    value.map_or_else(String::new, |value| match loss {
        true => format!("{value:.4}"),
        false => format!("{value:.1}"),
    })
}

fn recipe(config: &Config) -> Result<Markup> {
    Ok(html! {
        p { "Every value, as the next run takes it from a file." }
        (copied("config", &config.toml()?))
    })
}

/// The data, and the sessions that the run was made in, one after the other.
fn made(log: &[Entry], state: Option<&State>) -> Markup {
    let sessions: Vec<&SessionRecord> = log.iter().filter_map(Entry::session).collect();
    html! {
        @if sessions.is_empty() {
            p { "The log does not say: it was written by a version that did not note it." }
        }
        @for (index, session) in sessions.iter().enumerate() {
            @if sessions.len() > 1 { h3 { "From step " (grouped(session.steps + 1)) " on" } }
            (copied(&format!("command-{index}"), &session.command))
            (facts(&[
                ("Program".into(), html! { "cropmae " (session.version) " (" (session.git_commit) ")" }),
                ("Computed".into(), html! { (session.device) ", " (session.dtype) ", " (session.threads)
                    " CPU threads; " (session.workers) " to decode and crop" }),
            ]))
        }
        @if let Some(state) = state {
            (facts(&[("Hash of the data's names and sizes".into(), html! { span.digest { (state.data) } })]))
        }
    }
}

/// A count with its thousands apart.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let rest = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let groups: Vec<String> =
        Some(head.to_owned()).into_iter().filter(|head| !head.is_empty()).chain(rest).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests;
