//! The report of an evaluation: `report.html` of `propagate davis|vip|jhmdb`.
//!
//! It is made from the run's folder alone ([`Evaluation::read`]), so it can be made again at any
//! time with the same bytes; only the pictures need the dataset's frames. The order follows a
//! reader's questions: what is the score, what does it look like (`showcase` chooses the clips),
//! where does it come from (`scores`, `curves`), how was it made (`protocol`), in what time and on
//! what machine (`run`).

mod curves;
pub(in crate::report) mod protocol;
mod published;
mod run;
mod scores;

use std::path::Path;

use maud::{Markup, html};

use super::page::{Page, Section, Tone, badge, notice};
use super::player::Player;
use super::table::{Look, table};
use crate::error::{Error, Result};
use crate::report::stored::{self, AGAIN, Clips};
use crate::report::{RunRecord, Summary};
use crate::wording::counted;

/// The bytes that all pictures of a page may take, so that a report stays fit for a mail.
pub const PICTURE_BYTES: usize = 2_400_000;

/// An evaluation as its folder holds it.
#[derive(Debug)]
pub struct Evaluation {
    /// All but the scores.
    pub record: RunRecord,
    /// The scores in tables.
    pub summary: Summary,
    /// The scores of every clip, by name in natural order.
    pub clips: Clips,
}

impl Evaluation {
    /// Reads `results.json` and the records in `clips/`.
    ///
    /// `clips` names those that the results are of, where a folder may hold more; without it all
    /// are taken.
    ///
    /// # Errors
    /// The folder holds no results, or records of another number of clips than they are of.
    pub fn read(folder: &Path, clips: Option<&[String]>) -> Result<Self> {
        let json = stored::results(folder)?;
        let record = RunRecord::from_json(&json)
            .map_err(|error| stored::damaged(&folder.join("results.json"), &error))?;
        let mut of = Clips::read(folder, record.protocol.benchmark)?;
        of.keep(|clip, _| clips.is_none_or(|clips| clips.iter().any(|known| known == clip)));
        let evaluation = Self { summary: of.summary(&json, folder)?, record, clips: of };
        let (found, wanted) = (evaluation.clips.names().len(), evaluation.record.dataset.done);
        if found != wanted {
            let problem = format!("holds records of {found} clips, results.json is of {wanted}");
            return Err(Error::data(folder, problem, AGAIN));
        }
        Ok(evaluation)
    }

    /// `report.html`. `play` is asked for the frames of a few clips, with the bytes that each may
    /// take; where it has none, the page says why.
    pub fn page(&self, play: &mut dyn FnMut(&str, usize) -> Result<Option<Player>>) -> String {
        let protocol = &self.record.protocol;
        let mut sections = vec![Section::new("result", "Result", self.result())];
        sections.extend(showcase(self, play));
        sections.push(Section::new("rows", self.rows_title(), self.rows()));
        sections.push(Section::new("clips", "Every clip", self.clip_rows()));
        sections.extend(curves::section(self));
        sections.push(Section::new("protocol", "Protocol", protocol::section(protocol)));
        sections.push(Section::new("time", "Time and memory", run::time(&self.record)));
        sections.push(Section::new("provenance", "Provenance", run::provenance(&self.record)));
        let encoder = self.record.weights.as_ref().map_or("predictions", |weights| &*weights.file);
        let page = Page {
            kind: "Video label propagation".into(),
            title: format!("{} · {encoder}", self.record.scored()),
            lead: self.lead(),
            sections,
            foot: html! {
                p { "Written by cropmae " (self.record.provenance.version) " from this run's "
                    code { "results.json" } " and " code { "clips/" }
                    ". The page is whole: it loads nothing." }
            },
        };
        page.html()
    }

    /// What was done, in a sentence and marks; what went wrong.
    fn lead(&self) -> Markup {
        let RunRecord { protocol, weights, dataset, failures, .. } = &self.record;
        let departures = protocol.departures.len();
        html! {
            p.lead {
                @if let Some(weights) = weights {
                    b { (weights.arch) } " (" (weights.family) (weights.choices()) ")"
                }
                @else { "Predictions of another program" }
                " on " b { (counted(dataset.done, "clip")) }
                ", " (counted(dataset.frames, "frame")) " of " (dataset.name) ", by the protocol "
                b { (protocol.preset) } " v" (protocol.version) "."
            }
            div.badges {
                @for note in weights.iter().flat_map(|weights| &weights.notes) {
                    (badge(Tone::Warning, note))
                }
                @if self.record.partial() { (badge(Tone::Warning, "PARTIAL")) }
                @if !failures.is_empty() {
                    (badge(Tone::Failure, &format!("{} failed", counted(failures.len(), "clip"))))
                }
                @match departures {
                    0 => (badge(Tone::Plain, "no departure from the preset")),
                    some => {
                        @let words = format!("{} from the preset", counted(some, "departure"));
                        (badge(Tone::Warning, &words))
                    }
                }
                (badge(Tone::Plain, &format!("protocol hash {}", protocol.hash)))
            }
            @if self.record.partial() {
                (notice(Tone::Warning, &html! {
                    p { b { "Partial. " } "These are " (dataset.done) " of the " (dataset.clips)
                        " clips that " (dataset.split)
                        " names. Do not quote the numbers as those of " (protocol.benchmark) "." }
                }))
            }
            @if !failures.is_empty() {
                (notice(Tone::Failure, &html! {
                    p { b { "Not done:" } }
                    ul { @for (clip, why) in failures { li { b { (clip) } ": " (why) } } }
                }))
            }
        }
    }

    /// The headline, the published rows, notes.
    fn result(&self) -> Markup {
        let headline = &self.summary.headline;
        let scores = headline.columns().iter().zip(headline.rows().first().into_iter().flatten());
        html! {
            dl.scores {
                @for (name, score) in scores { div { dt { (name) } dd { (score.shown()) } } }
            }
            p.quiet { "Scores are percentages. "
                @for remark in &self.summary.remarks { (capital(remark)) ". " } }
            (published::beside(self))
            (self.notes())
        }
    }

    fn notes(&self) -> Markup {
        const SHOWN: usize = 6;
        let notes = &self.record.notes;
        let (first, rest) = notes.split_at(notes.len().min(SHOWN));
        let item = |(clip, note): &(String, String)| html! { li { b { (clip) } ": " (note) } };
        html! {
            @if !notes.is_empty() {
                h3 { "Notes on clips" }
                ul { @for note in first { (item(note)) } }
                @if !rest.is_empty() {
                    details {
                        summary { (rest.len()) " more" }
                        ul { @for note in rest { (item(note)) } }
                    }
                }
            }
        }
    }

    fn rows_title(&self) -> &'static str {
        match self.clips {
            Clips::Davis(_) => "Objects",
            Clips::Vip(_) => "Parts",
            Clips::Jhmdb(_) => "Joints",
        }
    }

    fn rows(&self) -> Markup {
        let caption = match self.clips {
            Clips::Davis(_) => {
                "Objects by clip and id, scored over all frames but the first and the last"
            }
            Clips::Vip(_) => "Classes, pooled over all frames of all clips",
            Clips::Jhmdb(_) => "Joints, over all clips: the share found within each distance",
        };
        let look = Look { sorted: true, bar: Some(1) };
        html! { p.quiet { (SORTS) } (table(caption, &self.summary.items, look)) }
    }

    fn clip_rows(&self) -> Markup {
        let look = Look { sorted: true, bar: Some(2) };
        let caption = "Clips by themselves";
        html! { p.quiet { (scores::means(&self.clips)) } (table(caption, &scores::table(self), look)) }
    }
}

/// How tables are used.
const SORTS: &str = "Click on a column's name to sort by it, again for the other way round.";

/// How many clips are shown at each end.
const AT_EACH_END: usize = 2;

/// The clips that are shown: all of a few, else the best and the worst; the score's rank with each.
fn chosen(ranked: &[(String, f64)]) -> Vec<(&'static str, &(String, f64))> {
    let (few, ends) = (ranked.len() <= 2 * AT_EACH_END, AT_EACH_END);
    let last = ranked.len().saturating_sub(1);
    let named = ranked.iter().enumerate().map(|(rank, clip)| {
        let name = match rank {
            _ if last == 0 => "",
            0 => "best",
            rank if rank == last => "worst",
            1 if !few => "second best",
            rank if rank + 1 == last && !few => "second worst",
            _ => "",
        };
        (rank, name, clip)
    });
    let shown = named.filter(|(rank, ..)| few || *rank < ends || *rank + ends > last);
    shown.map(|(_, name, clip)| (name, clip)).collect()
}

/// The best and the worst clips as films beside their curves.
fn showcase(
    evaluation: &Evaluation,
    play: &mut dyn FnMut(&str, usize) -> Result<Option<Player>>,
) -> Option<Section> {
    let ranked = scores::ranked(evaluation);
    let shown = chosen(&ranked);
    let title = match shown.len() == ranked.len() {
        true => "The clips",
        false => "Best and worst clips",
    };
    let mut left = PICTURE_BYTES;
    let mut missing = Vec::new();
    let mut articles = Vec::new();
    for (index, (rank, (clip, score))) in shown.iter().enumerate() {
        match play(clip, left / (shown.len() - index)) {
            Ok(Some(player)) => {
                left = left.saturating_sub(player.bytes());
                articles.push(html! {
                    article.clip {
                        h3 { (clip)
                            span { (scores::name(&evaluation.clips)) " " (percent(*score))
                                @if !rank.is_empty() { " · " (rank) } } }
                        div { (player.markup()) (player.legend()) }
                        div { (curves::of_clip(evaluation, clip)) }
                    }
                });
            }
            Ok(None) => {}
            Err(error) => missing.push((clip, error.explained())),
        }
    }
    let body = html! {
        p.quiet { (scores::legend(&evaluation.clips))
            " Space plays, the arrow keys step; a click into a curve goes to that frame." }
        div.films { @for article in &articles { (article) } }
        @for (clip, why) in &missing {
            (notice(Tone::Warning, &html! { p { b { (clip) } " cannot be shown: " (why) } }))
        }
    };
    let any = !articles.is_empty() || !missing.is_empty();
    any.then(|| Section::new("films", title, body))
}

/// With a capital at the beginning, unless the first word has one anywhere (`mIoU`).
fn capital(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !word.chars().any(char::is_uppercase) => {
            first.to_uppercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// A fraction in percent; a dash where there is none.
fn percent(score: f64) -> String {
    if score.is_nan() { "–".into() } else { format!("{:.1}", 100.0 * score) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_the_worst_are_shown_and_all_of_a_few() {
        let names = |count: usize| -> Vec<(&'static str, usize)> {
            let ranked: Vec<(String, f64)> =
                (0..count).map(|rank| (rank.to_string(), 1.0 - rank as f64)).collect();
            chosen(&ranked)
                .into_iter()
                .map(|(name, (clip, _))| (name, clip.parse().unwrap()))
                .collect()
        };
        assert_eq!(names(0), []);
        assert_eq!(names(1), [("", 0)]);
        assert_eq!(names(3), [("best", 0), ("", 1), ("worst", 2)]);
        let four = [("best", 0), ("second best", 1), ("second worst", 28), ("worst", 29)];
        assert_eq!(names(30), four);
    }

    #[test]
    fn words_for_people() {
        assert_eq!(capital("joints are"), "Joints are");
        assert_eq!(capital("mIoU is"), "mIoU is");
        assert_eq!((percent(0.5), percent(f64::NAN)), ("50.0".into(), "–".into()));
    }
}
