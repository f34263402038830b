//! The curves of a run over its steps: one chart each for the loss, the learning rate, the
//! gradient, the speed and every benchmark.

use maud::{Markup, html};

use super::newest;
use crate::pretrain::pictures::curve::{extent, measured, scores, smoothed, thinned};
use crate::pretrain::record::{Entry, HELD_OUT, HELD_OUT_AVERAGE, MEAN_PATCH, StepRecord};
use crate::report::html::chart::{Axis, Chart, Dash, Paint, Panel, Series, legend};

type Points = Vec<(f64, f64)>;

/// The height of a chart, in its own units.
const HEIGHT: f64 = 150.0;
/// Colours of lines, by the page's numbers.
const TRAINING: usize = 0;
const HELD: usize = 1;
const AVERAGED: usize = 3;
const FLOOR: usize = 2;
const STEPS: usize = 7;

/// A number to tell beside a curve, and what it is.
type Told = Option<(f64, String)>;

/// All curves of a run that has done so many epochs, or a sentence where there are none yet.
pub(super) fn markup(log: &[Entry], epochs: u64) -> Markup {
    let steps: Vec<&StepRecord> = log.iter().filter_map(Entry::step).collect();
    if steps.is_empty() {
        return html! { p { "No step was logged yet." } };
    }
    let end = log.iter().map(Entry::steps).max().unwrap_or(1).max(2) as f64;
    let of = |value: fn(&StepRecord) -> f64| -> Points {
        steps.iter().map(|step| (step.steps as f64, value(step))).collect()
    };
    let rate = of(|step| step.learning_rate);
    let gradient = of(|step| step.gradient_norm);
    let speed = of(|step| step.images_per_second);
    let mean = |value: fn(&StepRecord) -> f64| newest(log, epochs, value);
    let (loss, length) = (mean(|step| step.loss), mean(|step| step.gradient_norm));
    let pace = mean(|step| step.images_per_second);
    html! {
        div.multiples {
            (losses(log, &of(|step| step.loss), loss, end))
            (single("Learning rate", "learning rate", vec![line("learning rate", rate, TRAINING)], None, end))
            (single("Gradient", "gradient norm before clipping", both("gradient", &gradient), length, end))
            @for (name, points) in scores(log) {
                (single(&name, "percent", vec![line(&name, points, HELD)], None, end))
            }
            (single("Speed", "images a second", both("speed", &speed), pace, end))
        }
        p.quiet { "Grey lines are single steps, those over them their means over a fiftieth of the run." }
    }
}

fn losses(log: &[Entry], training: &Points, mean: Told, end: f64) -> Markup {
    let mut series = both("training", training);
    let measures =
        [("held out", HELD_OUT, HELD), ("held out, averaged weights", HELD_OUT_AVERAGE, AVERAGED)];
    for (name, logged, color) in measures {
        let points = measured(log, logged);
        if !points.is_empty() {
            series.push(line(name, points, color));
        }
    }
    if let Some((_, floor)) = measured(log, MEAN_PATCH).first() {
        let points = vec![(0.0, *floor), (end, *floor)];
        series.push(Series {
            dash: Dash::Dashed,
            ..line("baseline: predicting the mean patch", points, FLOOR)
        });
    }
    single("Loss", "mean squared error of masked patches", series, mean, end)
}

/// A line for single steps, and one that is smoothed.
fn both(name: &str, points: &Points) -> Vec<Series> {
    vec![line("single steps", thinned(points), STEPS), line(name, smoothed(points), TRAINING)]
}

fn line(name: &str, points: Points, color: usize) -> Series {
    Series { name: name.to_owned(), points, paint: Paint::Theme(color), dash: Dash::Solid }
}

/// A chart of one panel with its heading and legend, which tells of a smoothed line the `mean` and
/// of the others their last value.
fn single(title: &str, unit: &str, mut series: Vec<Series>, mean: Told, end: f64) -> Markup {
    let range = extent(series.iter().flat_map(|series| &series.points));
    let power = small(range.end);
    let scale = 10_f64.powi(power);
    for point in series.iter_mut().flat_map(|series| &mut series.points) {
        point.1 /= scale;
    }
    let name = if power == 0 { unit.to_owned() } else { format!("{unit}, in units of 1e{power}") };
    let y = Axis::new(name, range.start / scale, range.end / scale, 4);
    let last = |series: &Series| series.points.last().map(|(_, value)| shown(*value));
    let mean = mean.map(|(value, which)| format!("{} ({which})", shown(value / scale)));
    let number = |series: &Series| match series.paint {
        Paint::Theme(STEPS) => None,
        Paint::Theme(TRAINING) => mean.clone(),
        _ => last(series),
    };
    let entries: Vec<(&Series, Option<String>)> =
        series.iter().map(|series| (series, number(series))).collect();
    let legend = if series.len() > 1 {
        legend(&entries)
    } else {
        html! {}
    };
    let chart = Chart {
        label: format!("{title} over the steps of the run"),
        x: Axis::new("steps", 0.0, end, 5),
        panels: vec![Panel { y, series: series.clone() }],
        panel_height: HEIGHT,
    };
    let alone = series.first().filter(|_| series.len() == 1 && power == 0).and_then(last);
    html! {
        article {
            h3 { (title) @if let Some(last) = alone { span { (last) } } }
            figure { (chart.svg()) (legend) }
        }
    }
}

/// The power of ten that values are shown in, where they would fill the axis with zeros.
fn small(most: f64) -> i32 {
    match most.is_finite() && most > 0.0 && most < 0.02 {
        true => most.log10().floor() as i32,
        false => 0,
    }
}

/// Three digits or more that count; a loss as the lines of the program have it.
fn shown(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    }
}
