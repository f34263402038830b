//! A scatter plot as SVG: each clip's score in the baseline on the horizontal axis, in the other
//! runs on the vertical one. Above the diagonal a run is better on that clip; the clips that differ
//! most are named if there is room.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Comparison;
use crate::error::{Error, Result};

/// Width and height of the picture.
const SIDE: u32 = 640;
/// How many clips are named: names of more would cover one another.
const NAMED: usize = 6;

const GREY: RGBColor = RGBColor(120, 120, 120);
/// Colours of the runs, in turn.
const RUNS: [RGBColor; 4] =
    [RGBColor(31, 91, 163), RGBColor(214, 96, 0), RGBColor(60, 140, 80), RGBColor(140, 70, 150)];

type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws the picture.
///
/// # Errors
/// It cannot be laid out.
pub(crate) fn svg(comparison: &Comparison) -> Result<String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (SIDE, SIDE)).into_drawing_area();
    let drawn =
        root.fill(&WHITE).and_then(|()| draw(&root, comparison)).and_then(|()| root.present());
    drop(root);
    drawn.map_err(|error| Error::failed("per-clip.svg", error.to_string()))?;
    Ok(text)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, comparison: &Comparison) -> Drawn {
    let Comparison { runs, baseline, clips, scores, .. } = comparison;
    let score = scores.first().map_or("", String::as_str);
    let (low, high) = extent(clips.iter().flat_map(|(_, scores)| scores));
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d(low..high, low..high)?;
    chart
        .configure_mesh()
        .x_desc(format!("{}: {score}", runs[*baseline].name))
        .y_desc(score)
        .label_style(("sans-serif", 15))
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .bold_line_style(GREY.mix(0.2))
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series(LineSeries::new([(low, low), (high, high)], GREY.stroke_width(1)))?;
    let mut labels = Labels::default();
    let others = runs.iter().enumerate().filter(|(run, _)| run != baseline);
    for ((run, of), color) in others.zip(RUNS.iter().cycle()) {
        let place = |scores: &[f64]| (100.0 * scores[*baseline], 100.0 * scores[run]);
        let points = clips.iter().map(|(_, scores)| Circle::new(place(scores), 4, color.filled()));
        chart
            .draw_series(points)?
            .label(&of.name)
            .legend(move |(x, y)| Circle::new((x + 9, y), 4, color.filled()));
        let style = ("sans-serif", 13).into_font().color(color);
        let wanted = most_different(clips, *baseline, run);
        let free = wanted
            .into_iter()
            .filter(|(name, scores)| labels.claim(place(scores), name.chars().count(), high - low));
        let names: Vec<_> = free
            .map(|(name, scores)| {
                EmptyElement::at(place(scores)) + Text::new(name.to_owned(), (7, -6), style.clone())
            })
            .collect();
        chart.draw_series(names)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(GREY.mix(0.4))
        .label_font(("sans-serif", 15))
        .draw()
}

/// Where names stand already: one that would cover another is left out.
#[derive(Default)]
struct Labels(Vec<(f64, f64, f64)>);

impl Labels {
    /// Takes the room right of a point for a name of so many letters, where nothing stands there;
    /// `extent` is how much an axis holds.
    fn claim(&mut self, (x, y): (f64, f64), letters: usize, extent: f64) -> bool {
        // letters of 13 points are about 6.5 wide and 14 high, on axes of about 550
        let (width, height) = (6.5 * letters as f64 + 7.0, 14.0);
        let (width, height) = (width * extent / 550.0, height * extent / 550.0);
        let covers = |&(left, at, wide): &(f64, f64, f64)| {
            (y - at).abs() < height && x < left + wide && left < x + width
        };
        let free = !self.0.iter().any(covers);
        if free {
            self.0.push((x, y, width));
        }
        free
    }
}

/// The clips on which a run is farthest from the baseline.
fn most_different(
    clips: &[(String, Vec<f64>)],
    baseline: usize,
    run: usize,
) -> Vec<(&str, &[f64])> {
    let gap = |scores: &[f64]| (scores[run] - scores[baseline]).abs();
    let known = clips.iter().map(|(name, scores)| (&**name, &**scores));
    let mut known: Vec<_> = known.filter(|(_, scores)| !gap(scores).is_nan()).collect();
    known.sort_by(|a, b| gap(b.1).total_cmp(&gap(a.1)));
    known.truncate(NAMED);
    known
}

/// From where to where both axes go, in percent: whole tens around all scores.
fn extent<'a>(scores: impl Iterator<Item = &'a f64>) -> (f64, f64) {
    let known = scores.filter(|score| !score.is_nan()).map(|score| 10.0 * score);
    let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), score| {
        (low.min(score), high.max(score))
    });
    match low <= high {
        true => (10.0 * low.floor(), 10.0 * (high.floor() + 1.0)),
        false => (0.0, 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_all_scores() {
        assert_eq!(extent([0.234, 0.71].iter()), (20.0, 80.0));
        assert_eq!(extent([1.0, 1.0].iter()), (100.0, 110.0));
        assert_eq!(extent([f64::NAN].iter()), (0.0, 100.0));
    }

    #[test]
    fn names_do_not_cover_one_another() {
        let mut labels = Labels::default();
        assert!(labels.claim((50.0, 50.0), 10, 100.0));
        assert!(!labels.claim((51.0, 51.0), 10, 100.0), "over it");
        assert!(!labels.claim((45.0, 50.0), 10, 100.0), "into it");
        assert!(labels.claim((50.0, 53.0), 10, 100.0) && labels.claim((70.0, 50.0), 10, 100.0));
    }

    #[test]
    fn the_clips_that_differ_most_are_named() {
        let clips: Vec<(String, Vec<f64>)> =
            (0..9).map(|i| (i.to_string(), vec![0.5, 0.5 + 0.05 * f64::from(i)])).collect();
        let names: Vec<&str> =
            most_different(&clips, 0, 1).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["8", "7", "6", "5", "4", "3"]);
    }
}
