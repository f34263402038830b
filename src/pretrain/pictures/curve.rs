//! The curves of a run, drawn from its log: loss.svg.
//!
//! The upper part shows the loss over the steps: of every step (faint), smoothed, on held-out
//! images, and of the mean patch as the baseline, with the learning rate on the right axis. The
//! lower part shows the scores of benchmarks, if any were run.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::pretrain::record::{Entry, HELD_OUT, HELD_OUT_AVERAGE, MEAN_PATCH, Measure, StepRecord};

/// Width of the picture, and heights of its parts.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 480;
const SCORES_HEIGHT: u32 = 260;
/// Room for the right axis.
const RIGHT: u32 = 72;

/// A line of more points than this cannot be told from one of fewer.
const MOST_POINTS: usize = 1500;
/// Lines of the smoothed loss average over this share of the run on either side.
const SMOOTHING: f64 = 0.01;

const BLUE: RGBColor = RGBColor(31, 91, 163);
const ORANGE: RGBColor = RGBColor(214, 96, 0);
const GREY: RGBColor = RGBColor(120, 120, 120);
const GREEN: RGBColor = RGBColor(60, 140, 80);
/// Colours of the benchmarks' lines, in turn.
const SCORES: [RGBColor; 4] = [BLUE, ORANGE, GREEN, RGBColor(140, 70, 150)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Points = Vec<(f64, f64)>;

/// Draws the curves as SVG; `None` where no step was logged.
///
/// # Errors
/// The picture cannot be laid out.
pub fn svg(log: &[Entry]) -> Result<Option<String>> {
    let steps: Vec<&StepRecord> = log.iter().filter_map(Entry::step).collect();
    let Some(last) = log.iter().map(Entry::steps).max().filter(|_| !steps.is_empty()) else {
        return Ok(None);
    };
    let scores = scores(log);
    let height = HEIGHT + if scores.is_empty() { 0 } else { SCORES_HEIGHT };
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
    let along = 0.0..last.max(2) as f64;
    let drawn = root.fill(&WHITE).and_then(|()| {
        let (upper, lower) = root.split_vertically(HEIGHT);
        draw_losses(&upper, along.clone(), &steps, log)?;
        if !scores.is_empty() {
            draw_scores(&lower, along, &scores)?;
        }
        root.present()
    });
    drop(root);
    drawn.map_err(|error| Error::failed("loss.svg", error.to_string()))?;
    Ok(Some(text))
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The upper part.
fn draw_losses<'a>(
    area: &Area<'a>,
    along: Range<f64>,
    steps: &[&StepRecord],
    log: &[Entry],
) -> Drawn {
    let losses: Points = steps.iter().map(|step| (step.steps as f64, step.loss)).collect();
    let rates: Points = steps.iter().map(|step| (step.steps as f64, step.learning_rate)).collect();
    let (held_out, floor) = (measured(log, HELD_OUT), measured(log, MEAN_PATCH));
    let heights = extent(losses.iter().chain(&held_out).chain(&floor));
    let most_rate = rates.iter().map(|(_, rate)| *rate).fold(1e-12, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .right_y_label_area_size(RIGHT)
        .build_cartesian_2d(along.clone(), heights)?
        .set_secondary_coord(along.clone(), 0.0..1.05 * most_rate);
    axes(&mut chart, "loss", 2)?;
    chart
        .configure_secondary_axes()
        .y_desc("learning rate")
        .label_style(font())
        .y_label_formatter(&|rate| match *rate > 0.0 {
            true => format!("{rate:.1e}"),
            false => "0".to_owned(),
        })
        .axis_style(GREY)
        .draw()?;
    let of_rate = GREY.mix(0.7).stroke_width(1);
    chart
        .draw_secondary_series(LineSeries::new(thinned(&rates), of_rate))?
        .label("learning rate")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], of_rate));
    line(&mut chart, &thinned(&losses), BLUE.mix(0.25).stroke_width(1), None)?;
    line(&mut chart, &smoothed(&losses), BLUE.stroke_width(2), Some("training loss, smoothed"))?;
    if let Some((_, floor)) = floor.first() {
        let dashes = GREEN.stroke_width(1);
        let ends = [(along.start, *floor), (along.end, *floor)];
        chart
            .draw_series(DashedLineSeries::new(ends, 6, 4, dashes))?
            .label("baseline: predicting the mean patch")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], dashes));
    }
    dotted(&mut chart, &held_out, ORANGE, "held-out loss")?;
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// The lower part.
fn draw_scores<'a>(area: &Area<'a>, along: Range<f64>, scores: &[(String, Points)]) -> Drawn {
    let heights = extent(scores.iter().flat_map(|(_, points)| points));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        // as wide as the upper part
        .margin_right(12 + RIGHT)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(along, heights)?;
    axes(&mut chart, "score", 1)?;
    for ((name, points), color) in scores.iter().zip(SCORES.iter().cycle()) {
        dotted(&mut chart, points, *color, name)?;
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Names, numbers and thin lines in the background.
fn axes<'a>(chart: &mut Chart<'a>, what: &str, digits: usize) -> Drawn {
    chart
        .configure_mesh()
        .x_desc("steps")
        .y_desc(what)
        .label_style(font())
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| format!("{value:.digits$}"))
        .bold_line_style(GREY.mix(0.2))
        .light_line_style(TRANSPARENT)
        .draw()
}

fn font() -> TextStyle<'static> {
    ("sans-serif", 15).into()
}

/// A line, and its name in the legend.
fn line<'a>(
    chart: &mut Chart<'a>,
    points: &[(f64, f64)],
    style: ShapeStyle,
    name: Option<&str>,
) -> Drawn {
    let series = chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
    if let Some(name) = name {
        series.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    Ok(())
}

/// A line with a dot at every measurement.
fn dotted<'a>(chart: &mut Chart<'a>, points: &[(f64, f64)], color: RGBColor, name: &str) -> Drawn {
    if points.is_empty() {
        return Ok(());
    }
    chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    line(chart, points, color.stroke_width(1), Some(name))
}

fn legend<'a>(chart: &mut Chart<'a>, place: SeriesLabelPosition) -> Drawn {
    chart
        .configure_series_labels()
        .position(place)
        .background_style(WHITE.mix(0.85))
        .label_font(font())
        .draw()
}

/// The points of a measurement.
pub(in crate::pretrain) fn measured(log: &[Entry], wanted: &str) -> Points {
    let point = |entry: &Entry| match entry {
        Entry::Measure(Measure { steps, name, value, .. }) if name == wanted => {
            Some((*steps as f64, *value))
        }
        _ => None,
    };
    log.iter().filter_map(point).collect()
}

/// All measurements but the losses, by name, in the order of their first ones.
pub(in crate::pretrain) fn scores(log: &[Entry]) -> Vec<(String, Points)> {
    let mut names: Vec<&str> = Vec::new();
    for entry in log {
        if let Entry::Measure(Measure { name, .. }) = entry
            && ![HELD_OUT, HELD_OUT_AVERAGE, MEAN_PATCH].contains(&name.as_str())
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    names.into_iter().map(|name| (name.to_owned(), measured(log, name))).collect()
}

/// From the least to the largest value, with some room at both ends; around a single value a tenth
/// of it, so that it does not look like a change.
pub(in crate::pretrain) fn extent<'a>(points: impl Iterator<Item = &'a (f64, f64)>) -> Range<f64> {
    let values = points.map(|(_, value)| *value).filter(|value| value.is_finite());
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    if least > most {
        return 0.0..1.0;
    }
    let room = match most - least {
        0.0 => 0.1 * most.abs(),
        range => (0.06 * range).max(1e-3 * most.abs()),
    };
    let room = room.max(1e-9);
    least - room..most + room
}

/// Every k-th point, so that at most [`MOST_POINTS`] are left.
pub(in crate::pretrain) fn thinned(points: &[(f64, f64)]) -> Points {
    points.iter().copied().step_by(points.len().div_ceil(MOST_POINTS).max(1)).collect()
}

/// At every kept point the mean of the points around it, at both ends of those that there are.
pub(in crate::pretrain) fn smoothed(points: &[(f64, f64)]) -> Points {
    let reach = (SMOOTHING * points.len() as f64).ceil() as usize;
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(points.iter().scan(0.0, |sum, (_, value)| {
            *sum += value;
            Some(*sum)
        }))
        .collect();
    let mean = |place: usize| {
        let (from, to) = (place.saturating_sub(reach), (place + reach + 1).min(points.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    points.iter().enumerate().step_by(step).map(|(place, (x, _))| (*x, mean(place))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(steps: u64, loss: f64) -> Entry {
        Entry::Step(StepRecord {
            steps,
            epoch: 0,
            loss,
            learning_rate: 1e-3 * steps as f64,
            gradient_norm: 1.0,
            images_per_second: 9.0,
        })
    }

    fn measure(steps: u64, name: &str, value: f64) -> Entry {
        Entry::Measure(Measure { steps, epochs: 1, name: name.into(), value })
    }

    #[test]
    fn everything_logged_is_drawn_and_named() {
        let mut log: Vec<Entry> = (1..=200).map(|n| step(n, 1.0 + 1.0 / n as f64)).collect();
        let bare = svg(&log).unwrap().unwrap();
        assert!(bare.contains("training loss") && bare.contains("learning rate"));
        assert!(!bare.contains("held-out") && !bare.contains("score"));
        log.extend([measure(100, HELD_OUT, 1.2), measure(100, MEAN_PATCH, 1.5)]);
        log.push(measure(200, "davis J&F", 41.5));
        let full = svg(&log).unwrap().unwrap();
        for part in
            ["held-out loss", "predicting the mean patch", "davis J&amp;F", "score", "</svg>"]
        {
            assert!(full.contains(part), "{part} is not in {full}");
        }
        assert_eq!(svg(&log).unwrap().unwrap(), full, "the same log, the same picture");
    }

    #[test]
    fn a_single_value_has_a_tenth_of_it_around() {
        let extent = |values: &[f64]| {
            let points: Points = values.iter().map(|value| (0.0, *value)).collect();
            extent(points.iter())
        };
        assert_eq!(extent(&[50.0]), 45.0..55.0);
        assert_eq!(extent(&[50.0, f64::NAN, 50.0]), 45.0..55.0);
        assert_eq!(extent(&[0.0, 100.0]), -6.0..106.0);
        assert_eq!(extent(&[]), 0.0..1.0);
    }

    #[test]
    fn short_and_flat_logs_are_drawn_too() {
        assert_eq!(svg(&[]).unwrap(), None);
        assert_eq!(svg(&[measure(0, HELD_OUT, 1.0)]).unwrap(), None);
        assert!(svg(&[step(1, 0.5)]).unwrap().is_some());
        assert!(svg(&[step(1, f64::NAN), step(2, f64::NAN)]).unwrap().is_some());
        assert!(svg(&[step(1, 0.5), step(2, 0.5)]).unwrap().is_some());
    }

    #[test]
    fn long_lines_are_thinned_and_smoothing_keeps_a_slope() {
        let slope: Points = (0..10_000).map(|n| (f64::from(n), f64::from(n))).collect();
        assert!(thinned(&slope).len() <= MOST_POINTS);
        let smooth = smoothed(&slope);
        assert!(smooth.len() <= MOST_POINTS);
        let inside = smooth.iter().filter(|(x, _)| (100.0..9900.0).contains(x));
        inside.for_each(|(x, y)| assert!((x - y).abs() < 1e-6));
        assert_eq!(smooth[0], (0.0, 50.0), "the mean of the first hundred and one");
        assert!(smoothed(&[]).is_empty());
    }
}
