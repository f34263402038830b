//! Scores over time, clip by clip.
//!
//! DAVIS: J and F of every object. VIP: the mean IoU of a frame's classes, and the clip's most
//! common parts. JHMDB: the share of joints found, and their distance. All are read from the clips'
//! records; a record of an earlier version without values for single frames gets no curve.

use maud::{Markup, html};

use super::{Evaluation, percent, scores};
use crate::eval::Record;
use crate::eval::vip::{FrameIou, VipScores};
use crate::metric::davis::{ClipScores, global};
use crate::metric::miou::VIP_CLASSES;
use crate::metric::pck::JointDistances;
use crate::overlay::masks;
use crate::report::html::chart::{Axis, Chart, Dash, Paint, Panel, Series, legend};
use crate::report::html::page::Section;
use crate::report::stored::Clips;

/// Charts beyond so many are folded away.
const SHOWN: usize = 24;
/// The bytes that all charts may take, so that a page stays fit to be sent.
const BYTES: usize = 1_200_000;
/// The parts of a VIP clip that have a line of their own.
const PARTS: usize = 7;
/// The height of a panel where a chart has two.
const HEIGHT: f64 = 84.0;

/// A clip's chart with its legend, and its score.
struct Curve {
    clip: String,
    score: f64,
    chart: Chart,
    /// Lines with a number each, where there is one to tell.
    legend: Vec<(Series, Option<String>)>,
}

/// The charts of the clips; nothing where no record has single frames.
pub(super) fn section(evaluation: &Evaluation) -> Option<Section> {
    let score = scores::name(&evaluation.clips);
    let mut left = BYTES;
    let mut articles: Vec<Markup> = Vec::new();
    let curves = curves(evaluation, None);
    for curve in &curves {
        let article = multiple(curve, score);
        let Some(rest) = left.checked_sub(article.0.len()) else { break };
        left = rest;
        articles.push(article);
    }
    let (first, more) = articles.split_at(articles.len().min(SHOWN));
    let without = curves.len() - articles.len();
    let body = html! {
        p.quiet { (words(&evaluation.clips)) }
        div.multiples { @for article in first { (article) } }
        @if !more.is_empty() {
            details {
                summary { "The other " (more.len()) " clips" }
                div.multiples { @for article in more { (article) } }
            }
        }
        @if without > 0 {
            p.quiet { (without) " more clips have no chart here, so that the page stays small." }
        }
    };
    (!curves.is_empty()).then(|| Section::new("curves", "Over time", body))
}

/// The chart of one clip, for the place beside its pictures.
pub(super) fn of_clip(evaluation: &Evaluation, clip: &str) -> Markup {
    html! { @for curve in curves(evaluation, Some(clip)) { (curve.chart.svg()) (key(&curve)) } }
}

fn multiple(curve: &Curve, score: &str) -> Markup {
    html! {
        article {
            h3 { (curve.clip) span { (score) " " (percent(curve.score)) } }
            (curve.chart.svg())
            (key(curve))
        }
    }
}

fn key(curve: &Curve) -> Markup {
    let entries: Vec<(&Series, Option<String>)> =
        curve.legend.iter().map(|(series, number)| (series, number.clone())).collect();
    legend(&entries)
}

/// What the lines are.
fn words(clips: &Clips) -> &'static str {
    match clips {
        Clips::Davis(_) => {
            "J (region) above F (contour) of every object, in every scored frame; beside an object's \
             number its J&F-Mean. The first frame is given, the last is not scored."
        }
        Clips::Vip(_) => {
            "Above, the mean IoU over the classes of a frame, background among them; below, the IoU \
             of the parts that occur in most frames, with their means. Frame 0 is given."
        }
        Clips::Jhmdb(_) => {
            "Above, the share of a frame's joints found within 0.1 and 0.2 of the person's size; \
             below, their mean and largest distance in those units, up to 1. Frame 0 is given."
        }
    }
}

/// The charts of all clips that have one, or of the one named.
fn curves(evaluation: &Evaluation, only: Option<&str>) -> Vec<Curve> {
    let exclude = scores::excludes_first_frame(evaluation);
    match &evaluation.clips {
        Clips::Davis(records) => each(records, only, davis),
        Clips::Vip(records) => {
            each(records, only, |clip, length, scores| vip(clip, length, scores, exclude))
        }
        Clips::Jhmdb(records) => each(records, only, jhmdb),
    }
}

fn each<S>(
    records: &[Record<S>],
    only: Option<&str>,
    curve: impl Fn(&str, usize, &S) -> Option<Curve>,
) -> Vec<Curve> {
    let wanted = records.iter().filter(|record| only.is_none_or(|only| record.clip == only));
    let curves =
        wanted.filter_map(|record| curve(&record.clip, record.frames, record.scores.as_ref()?));
    curves.collect()
}

/// The axis of a clip's frames.
fn frames(frames: usize) -> Axis {
    Axis::new("frame", 0.0, frames.saturating_sub(1) as f64, 5)
}

fn chart(label: String, length: usize, panels: [Panel; 2]) -> Chart {
    Chart { label, x: frames(length), panels: panels.into(), panel_height: HEIGHT }
}

/// Frames are scored from the second on.
fn davis(clip: &str, length: usize, scores: &ClipScores) -> Option<Curve> {
    let line = |index: usize, values: &[f64]| Series {
        name: (index + 1).to_string(),
        points: (1..).zip(values).map(|(frame, value)| (f64::from(frame), *value)).collect(),
        paint: Paint::Like(masks::color(u8::try_from(index + 1).unwrap_or(u8::MAX))),
        dash: Dash::Solid,
    };
    let of = |values: fn(&crate::metric::davis::ObjectScores) -> &Vec<f64>| -> Vec<Series> {
        let objects = scores.objects.iter().enumerate();
        objects.map(|(index, object)| line(index, values(object))).collect()
    };
    let (j, f) = (of(|object| &object.j), of(|object| &object.f));
    // where annotations are missing, scores do not tell their frames
    let sparse = scores.objects.iter().any(|object| object.j.len() + 2 != length);
    if sparse || j.is_empty() {
        return None;
    }
    let means = scores.statistics();
    let numbers = means.iter().map(|of| Some(percent((of.j.mean + of.f.mean) / 2.0)));
    let legend = j
        .iter()
        .cloned()
        .map(|series| Series { name: format!("object {}", series.name), ..series });
    Some(Curve {
        clip: clip.to_owned(),
        score: global([scores]).j_and_f_mean,
        legend: legend.zip(numbers).collect(),
        chart: chart(
            format!("J and F of every object of {clip} over its frames"),
            length,
            [
                Panel { y: Axis::percent("J"), series: j },
                Panel { y: Axis::percent("F"), series: f },
            ],
        ),
    })
}

/// `exclude` says whether the clip's score leaves the given first frame out.
fn vip(clip: &str, length: usize, scores: &VipScores, exclude: bool) -> Option<Curve> {
    if scores.frames.is_empty() {
        return None;
    }
    let mean = |of: &FrameIou| {
        crate::metric::stats::mean(of.iou.iter().flatten().map(|iou| f64::from(*iou)))
    };
    let along = |value: &dyn Fn(&FrameIou) -> f64| -> Vec<(f64, f64)> {
        scores.frames.iter().map(|of| (of.frame as f64, value(of))).collect()
    };
    let all = Series {
        name: "mean IoU".into(),
        points: along(&mean),
        paint: Paint::Theme(7),
        dash: Dash::Solid,
    };
    let classes = most_common(scores);
    let parts: Vec<Series> = classes
        .iter()
        .enumerate()
        .map(|(index, &class)| Series {
            name: VIP_CLASSES[class].to_owned(),
            points: along(&|of| iou_of(class, of).unwrap_or(f64::NAN)),
            paint: Paint::Like(masks::color(class as u8)),
            dash: Dash::of(alike(class, &classes[..index])),
        })
        .collect();
    let number = |series: &Series| {
        let values = series.points.iter().skip(1).map(|(_, value)| *value);
        Some(percent(crate::metric::stats::mean(values)))
    };
    let mean_of_frames = Series { name: "mean IoU, mean over frames".into(), ..all.clone() };
    let legend = std::iter::once(&mean_of_frames).chain(&parts);
    let legend = legend.map(|series| (series.clone(), number(series))).collect();
    let score = crate::eval::vip::pooled([scores], exclude).ok()?.finish().mean_iou;
    Some(Curve {
        clip: clip.to_owned(),
        score,
        legend,
        chart: chart(
            format!("IoU of {clip} over its frames: the mean, and the most common parts"),
            length,
            [
                Panel { y: Axis::percent("mean IoU"), series: vec![all] },
                Panel { y: Axis::percent("parts"), series: parts },
            ],
        ),
    })
}

fn iou_of(class: usize, frame: &FrameIou) -> Option<f64> {
    frame.iou.get(class).copied().flatten().map(f64::from)
}

/// The classes that occur in the most frames, at most [`PARTS`], most common first.
fn most_common(scores: &VipScores) -> Vec<usize> {
    let occurs =
        |class: usize| scores.frames.iter().filter(|of| iou_of(class, of).is_some()).count();
    let counted = (1..VIP_CLASSES.len()).map(|class| (std::cmp::Reverse(occurs(class)), class));
    let mut classes: Vec<_> = counted.filter(|(occurs, _)| occurs.0 > 0).collect();
    classes.sort_unstable();
    classes.into_iter().map(|(_, class)| class).take(PARTS).collect()
}

/// How many of the other classes have a colour of the same hue: lines of one hue are as dark as
/// one another.
fn alike(class: usize, others: &[usize]) -> usize {
    /// Degrees.
    const NEAR: f64 = 25.0;
    let hue = |class: usize| hue(masks::color(class as u8));
    let near = |other: &&usize| match (hue(class), hue(**other)) {
        (Some(a), Some(b)) => ((a - b + 540.0).rem_euclid(360.0) - 180.0).abs() < NEAR,
        (a, b) => a == b,
    };
    others.iter().filter(near).count()
}

/// The hue of a colour in degrees; none of grey.
fn hue(color: [u8; 3]) -> Option<f64> {
    let [red, green, blue] = color.map(f64::from);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let turned = match most - least {
        0.0 => return None,
        range if most == red => (green - blue) / range,
        range if most == green => 2.0 + (blue - red) / range,
        range => 4.0 + (red - green) / range,
    };
    Some((60.0 * turned).rem_euclid(360.0))
}

/// The thresholds that have a line.
const NEAR: [f64; 2] = [0.1, 0.2];

/// A line of what the distances of each frame's joints come to; frames are counted from 1 on, as
/// the given one has none.
fn of_joints(
    name: String,
    number: usize,
    by_frame: &[Vec<f64>],
    value: impl Fn(&[f64]) -> f64,
) -> Series {
    let points = (1..).zip(by_frame).map(|(frame, of)| (f64::from(frame), value(of))).collect();
    Series { name, points, paint: Paint::Theme(number), dash: Dash::Solid }
}

/// The share of joints within each threshold; an unknown distance is never near.
fn shares_found(by_frame: &[Vec<f64>]) -> Vec<Series> {
    let share = |near: f64| {
        move |distances: &[f64]| {
            let within = distances.iter().filter(|distance| **distance <= near).count();
            within as f64 / distances.len() as f64
        }
    };
    let line = |(number, near): (usize, &f64)| {
        of_joints(format!("PCK@{near}"), number, by_frame, share(*near))
    };
    NEAR.iter().enumerate().map(line).collect()
}

/// The mean and the largest of the known distances, up to 1.
fn distances(by_frame: &[Vec<f64>]) -> Vec<Series> {
    let known = |distances: &[f64]| -> Vec<f64> {
        distances.iter().copied().filter(|distance| distance.is_finite()).collect()
    };
    let mean = |distances: &[f64]| crate::metric::stats::mean(known(distances)).min(1.0);
    let largest =
        |distances: &[f64]| known(distances).into_iter().fold(f64::NAN, f64::max).min(1.0);
    vec![
        of_joints("mean".into(), 2, by_frame, mean),
        of_joints("largest".into(), 3, by_frame, largest),
    ]
}

fn jhmdb(clip: &str, length: usize, scores: &JointDistances) -> Option<Curve> {
    let joints = scores.by_joint_and_frame()?;
    let count = joints.first().map(Vec::len).filter(|count| *count > 0)?;
    // those of a frame's joints that were asked for; one of a joint that was not found is infinite
    let of = |frame: usize| -> Vec<f64> {
        joints.iter().filter_map(|joint| joint.get(frame).copied().flatten()).collect()
    };
    let by_frame: Vec<Vec<f64>> = (0..count).map(of).collect();
    let (found, distances) = (shares_found(&by_frame), distances(&by_frame));
    let mut legend: Vec<_> = found
        .iter()
        .zip(NEAR)
        .map(|(series, near)| (series.clone(), Some(percent(scores.at(near).mean))))
        .collect();
    legend.extend(distances.iter().map(|series| {
        (Series { name: format!("{} distance", series.name), ..series.clone() }, None)
    }));
    Some(Curve {
        clip: clip.to_owned(),
        score: scores.at(NEAR[0]).mean,
        legend,
        chart: chart(
            format!("Joints of {clip} over its frames: the share found, and their distance"),
            length,
            [
                Panel { y: Axis::percent("joints found"), series: found },
                Panel { y: Axis::new("distance", 0.0, 1.0, 2), series: distances },
            ],
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::davis::ObjectScores;
    use crate::metric::miou::Confusion;

    #[test]
    fn scored_frames_begin_with_the_second() {
        let object = ObjectScores { j: vec![0.5, 1.0], f: vec![0.0, f64::NAN] };
        let scores = ClipScores { objects: vec![object] };
        let curve = davis("dog", 4, &scores).unwrap();
        let [j, f] = &curve.chart.panels[..] else { unreachable!() };
        assert_eq!(j.series[0].points, [(1.0, 0.5), (2.0, 1.0)]);
        assert_eq!((f.series[0].points[0], f.series[0].points[1].1.is_nan()), ((1.0, 0.0), true));
        assert_eq!((curve.chart.x.from, curve.chart.x.to), (0.0, 3.0));
        assert_eq!(curve.legend[0].0.name, "object 1");
        assert_eq!(curve.legend[0].1.as_deref(), Some("37.5"), "J 0.75, F 0");
        // five frames of nine have no annotation, and nothing says which
        assert!(davis("dog", 9, &scores).is_none());
    }

    #[test]
    fn parts_are_the_most_common_ones() {
        let iou = |classes: &[(usize, f32)]| {
            let mut iou = vec![None; VIP_CLASSES.len()];
            classes.iter().for_each(|(class, value)| iou[*class] = Some(*value));
            iou
        };
        let empty = Confusion::new(VIP_CLASSES.len());
        let frames = vec![
            FrameIou { frame: 0, iou: iou(&[(0, 1.0), (2, 1.0)]) },
            FrameIou { frame: 5, iou: iou(&[(0, 0.5), (2, 0.25), (4, 0.0)]) },
        ];
        let mut scores = VipScores { first: empty.clone(), others: empty, frames };
        let curve = vip("walk", 6, &scores, false).unwrap();
        let [mean, parts] = &curve.chart.panels[..] else { unreachable!() };
        assert_eq!(mean.series[0].points, [(0.0, 1.0), (5.0, 0.25)]);
        let names: Vec<&str> = parts.series.iter().map(|series| &*series.name).collect();
        assert_eq!(names, ["hair", "upper-clothes"], "background is none of them");
        assert_eq!(parts.series[0].points, [(0.0, 1.0), (5.0, 0.25)]);
        assert!(parts.series[1].points[0].1.is_nan());
        let told: Vec<_> = curve.legend.iter().map(|(of, number)| (&*of.name, number)).collect();
        assert_eq!(told[0], ("mean IoU, mean over frames", &Some("25.0".into())));
        scores.frames.clear();
        assert!(vip("walk", 6, &scores, false).is_none(), "a record of an earlier version");
    }

    #[test]
    fn parts_of_one_hue_are_told_apart_by_dashes() {
        // hair, right leg and right shoe are green, each of another darkness
        let name = |class: usize| VIP_CLASSES[class];
        assert_eq!([2, 16, 18].map(name), ["hair", "right-leg", "right-shoe"]);
        let dashes = [(2, 0), (16, 1), (18, 2)].map(|(class, before)| {
            let dash = Dash::of(alike(class, &[2, 16, 18][..before]));
            (hue(masks::color(class as u8)), dash)
        });
        let green = Some(120.0);
        assert_eq!(dashes, [(green, Dash::Solid), (green, Dash::Dashed), (green, Dash::Dotted)]);
        assert_eq!(alike(4, &[2, 16, 18]), 0, "blue");
        assert_eq!((hue([7, 7, 7]), hue([9, 0, 9])), (None, Some(300.0)));
    }

    #[test]
    fn joints_are_counted_frame_by_frame() {
        // Two frames: the neck near and far, the belly lost and near, all others near.
        let mut joints = vec![serde_json::json!({ "found": [0.05, 0.05], "missing": 0 }); 15];
        joints[0] = serde_json::json!({ "found": [0.15, 3.0], "missing": 0 });
        joints[1] = serde_json::json!({ "found": [0.1], "missing": 1, "lost": [0] });
        let scores = |joints: &[serde_json::Value]| -> JointDistances {
            serde_json::from_value(serde_json::json!({ "joints": joints })).unwrap()
        };
        let curve = jhmdb("jump", 3, &scores(&joints)).unwrap();
        let [found, distances] = &curve.chart.panels[..] else { unreachable!() };
        assert_eq!(found.series[0].points, [(1.0, 13.0 / 14.0), (2.0, 14.0 / 15.0)]);
        assert_eq!(found.series[1].points, [(1.0, 1.0), (2.0, 14.0 / 15.0)]);
        assert_eq!(distances.series[1].points, [(1.0, 0.15), (2.0, 1.0)], "cut at 1");
        joints[1] = serde_json::json!({ "found": [0.1], "missing": 1 });
        assert!(jhmdb("jump", 3, &scores(&joints)).is_none(), "a record of an earlier version");
    }
}
