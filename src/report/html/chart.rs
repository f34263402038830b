//! Line charts as SVG: panels above one another with a shared horizontal axis.
//!
//! A chart is drawn in its own units, [`WIDTH`] wide, and scaled to its box in the page. Colours
//! are the page's, by number, so that they follow its theme. The script of the page reads the
//! values from the lines to show them under the pointer, so that nothing is stored twice.

use std::fmt::Write as _;

use maud::{Markup, html};

/// A chart's width, in the units of its coordinates.
pub(crate) const WIDTH: f64 = 360.0;
/// How many colours there are for series; beyond them they come again.
pub(crate) const COLORS: usize = 8;

/// Room left of the panels, for the numbers: more where one of them needs it.
const LEFT: f64 = 32.0;
/// What is free of it, between numbers and panel, and before the numbers.
const FREE: f64 = 6.0;
/// The widths of a digit and of a point at the size of the numbers, in Helvetica and its like.
const DIGIT: f64 = 6.2;
const POINT: f64 = 3.1;
/// Room right of them.
const RIGHT: f64 = 8.0;
/// Room over each panel, for its name.
const ABOVE: f64 = 24.0;
/// Room under the last panel, for numbers and the name of what runs to the right.
const BELOW: f64 = 32.0;
/// More points of a line than this are thinned.
const MOST_POINTS: usize = 600;

/// What runs along one side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// Its name, with the unit.
    pub name: String,
    /// The value at the beginning.
    pub from: f64,
    /// The value at the end, above `from`.
    pub to: f64,
    /// Values with their text, in between.
    pub ticks: Vec<(f64, String)>,
    /// Whether values are shares that are shown in percent.
    pub percent: bool,
}

impl Axis {
    /// With round numbers at about `most` places.
    pub(crate) fn new(name: impl Into<String>, from: f64, to: f64, most: usize) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { name: name.into(), from, to, ticks: round_ticks(from, to, most), percent: false }
    }

    /// Scores from 0 to 1, shown in percent.
    pub(crate) fn percent(name: impl Into<String>) -> Self {
        let ticks = [0.0, 0.5, 1.0].map(|share| (share, format!("{}", 100.0 * share))).to_vec();
        Self { name: name.into(), from: 0.0, to: 1.0, ticks, percent: true }
    }

    /// Where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }
}

/// A line's colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// One of the page's [`COLORS`], counted from 0.
    Theme(usize),
    /// This red, green and blue, darker on a light page and lighter on a dark one: that of
    /// something in a picture.
    Like([u8; 3]),
}

impl Paint {
    fn class(self) -> String {
        match self {
            Self::Theme(number) => format!("s{}", number % COLORS),
            Self::Like(_) => "like".into(),
        }
    }

    fn style(self) -> Option<String> {
        match self {
            Self::Theme(_) => None,
            Self::Like([red, green, blue]) => Some(format!("--like:rgb({red},{green},{blue})")),
        }
    }
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dash {
    /// Without gaps.
    Solid,
    /// In dashes.
    Dashed,
    /// In dots.
    Dotted,
}

impl Dash {
    /// One for each of up to three lines of one colour, counted from 0.
    pub(crate) fn of(number: usize) -> Self {
        [Self::Solid, Self::Dashed, Self::Dotted][number % 3]
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Its name, as in the legend.
    pub name: String,
    /// Its points from left to right; a NaN leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// Its colour.
    pub paint: Paint,
    /// How it is drawn.
    pub dash: Dash,
}

impl Series {
    /// Its point, where it has but one, which no line shows.
    fn only(&self) -> Option<(f64, f64)> {
        let mut known = self.points.iter().filter(|(_, y)| y.is_finite());
        known.next().copied().filter(|_| known.next().is_none())
    }
}

/// Lines in a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Panel {
    /// What runs upwards.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

/// Panels over one another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// What the chart shows, in words, for those who do not see it.
    pub label: String,
    /// What runs to the right, for all panels.
    pub x: Axis,
    /// From top to bottom.
    pub panels: Vec<Panel>,
    /// The height of each panel, in the units of [`WIDTH`].
    pub panel_height: f64,
}

impl Chart {
    /// The picture.
    pub(crate) fn svg(&self) -> Markup {
        let height = self.bottom(self.panels.len().saturating_sub(1)) + BELOW;
        let (top, bottom) = (ABOVE, height - BELOW);
        let (from, to) = (self.x.from, self.x.to);
        html! {
            svg.chart viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(self.label)
                data-x={ (from) " " (to) " " (self.left()) " " (WIDTH - RIGHT) } data-name=(self.x.name) {
                @for (value, text) in &self.x.ticks {
                    line.grid x1=(self.along(*value)) x2=(self.along(*value)) y1=(top) y2=(bottom) {}
                    text.tick x=(self.along(*value)) y=(bottom + 13.0) text-anchor="middle" { (text) }
                }
                text.name x=(WIDTH - RIGHT) y=(height - 4.0) text-anchor="end" { (self.x.name) }
                @for (index, panel) in self.panels.iter().enumerate() { (self.panel(index, panel)) }
                line.head x1="-9" x2="-9" y1=(top) y2=(bottom) {}
                line.cursor x1="-9" x2="-9" y1=(top) y2=(bottom) {}
            }
        }
    }

    fn panel(&self, index: usize, panel: &Panel) -> Markup {
        let bottom = self.bottom(index);
        let up = |value: f64| short(bottom - self.panel_height * panel.y.place(value));
        let top = bottom - self.panel_height;
        let (y, left) = (&panel.y, self.left());
        html! {
            g.panel data-y={ (y.from) " " (y.to) " " (bottom) " " (top) } data-name=(y.name)
                data-times=[y.percent.then_some(100)] {
                text.name x=(left) y=(top - 6.0) { (y.name) }
                @for (value, text) in &y.ticks {
                    line.grid x1=(left) x2=(WIDTH - RIGHT) y1=(up(*value)) y2=(up(*value)) {}
                    text.tick x=(left - 5.0) y=(up(*value)) dy="0.35em" text-anchor="end" { (text) }
                }
                @for series in &panel.series {
                    path.line.(series.paint.class())
                        .dashed[series.dash == Dash::Dashed].dotted[series.dash == Dash::Dotted]
                        style=[series.paint.style()] data-name=(series.name) d=(self.path(series, &up)) {}
                    @if let Some((x, y)) = series.only() {
                        circle.(series.paint.class()) style=[series.paint.style()]
                            cx=(self.along(x)) cy=(up(y)) r="3" {}
                    }
                }
            }
        }
    }

    /// The lower end of a panel.
    fn bottom(&self, index: usize) -> f64 {
        (index + 1) as f64 * (ABOVE + self.panel_height)
    }

    fn along(&self, value: f64) -> f64 {
        let left = self.left();
        short(left + (WIDTH - left - RIGHT) * self.x.place(value))
    }

    /// Where the panels begin: right of the longest number beside one of them.
    fn left(&self) -> f64 {
        let wide = |c: char| if c == '.' { POINT } else { DIGIT };
        let numbers = self.panels.iter().flat_map(|panel| &panel.y.ticks);
        let widths = numbers.map(|(_, text)| text.chars().map(wide).sum::<f64>());
        short(widths.map(|width| FREE + width).fold(LEFT, f64::max))
    }

    /// A line through all points but those that are unknown.
    fn path(&self, series: &Series, up: &impl Fn(f64) -> f64) -> String {
        let step = series.points.len().div_ceil(MOST_POINTS).max(1);
        let (mut path, mut drawing) = (String::new(), false);
        for (x, y) in series.points.iter().step_by(step) {
            if !y.is_finite() {
                drawing = false;
                continue;
            }
            let (x, y) = (self.along(*x), up(*y));
            // the line to where it begins is drawn as a dot, should its neighbours be unknown
            let _ = match drawing {
                true => write!(path, "L{x} {y}"),
                false => write!(path, "M{x} {y}L{x} {y}"),
            };
            drawing = true;
        }
        path
    }
}

/// The names of lines beside their colours, with a number each where there is one to tell.
pub(crate) fn legend(entries: &[(&Series, Option<String>)]) -> Markup {
    html! {
        ul.legend {
            @for (series, number) in entries {
                li {
                    span.key.(series.paint.class())
                        .dashed[series.dash == Dash::Dashed].dotted[series.dash == Dash::Dotted]
                        style=[series.paint.style()] {}
                    (series.name)
                    @if let Some(number) = number { " " b { (number) } }
                }
            }
        }
    }
}

/// Two decimals are a hundredth of a pixel.
fn short(value: f64) -> f64 {
    (100.0 * value).round() / 100.0
}

/// Values at a distance of 1, 2 or 5 times a power of ten, at most `most` of them.
fn round_ticks(from: f64, to: f64, most: usize) -> Vec<(f64, String)> {
    let least = (to - from) / most.max(1) as f64;
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let step = step.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(least);
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    let tick = |count: i64| count as f64 * step;
    (first..=last).map(|count| (tick(count), format!("{:.decimals$}", tick(count)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series =
            Series { name: "<1>".into(), points, paint: Paint::Theme(9), dash: Dash::Dashed };
        let panel = Panel { y: Axis::percent("J"), series: vec![series] };
        Chart {
            label: "J of \"dog\"".into(),
            x: Axis::new("frame", 0.0, 10.0, 5),
            panels: vec![panel.clone(), panel],
            panel_height: 100.0,
        }
    }

    #[test]
    fn points_lie_where_their_values_say() {
        let html = chart(vec![(0.0, 0.0), (5.0, 0.5), (10.0, 1.0)]).svg().into_string();
        // 32 to 352 to the right; the first panel from 124 up to 24, the second from 248 to 148.
        assert!(html.contains(r#"d="M32 124L32 124L192 74L352 24""#), "{html}");
        assert!(html.contains(r#"d="M32 248L32 248L192 198L352 148""#), "{html}");
        assert!(html.contains(r#"viewBox="0 0 360 280""#), "{html}");
        assert!(html.contains(r#"class="line s1 dashed" data-name="&lt;1&gt;""#), "{html}");
        assert!(html.contains(r#"aria-label="J of &quot;dog&quot;""#), "{html}");
        assert_eq!(html.matches("<path").count(), html.matches("</path>").count());
    }

    #[test]
    fn long_numbers_have_room() {
        let mut long = chart(vec![(0.0, 0.0), (10.0, 1.0)]);
        long.panels[1].y = Axis::new("rate", 0.0, 1.5e7, 4);
        let html = long.svg().into_string();
        // 15000000 has eight digits of 6.2, and six units are free
        assert!(html.contains(r#"x="50.6" y="148""#), "{html}");
        assert!(html.contains(r#"d="M55.6 124L55.6 124L352 24""#), "all panels alike: {html}");
        assert!(html.contains(r#"data-x="0 10 55.6 352""#), "{html}");
    }

    #[test]
    fn the_unknown_leaves_a_gap_and_a_lonely_point_a_dot() {
        let nan = f64::NAN;
        let points = vec![(0.0, nan), (2.0, 1.0), (3.0, nan), (5.0, 0.5), (10.0, 0.5)];
        let html = chart(points).svg().into_string();
        assert!(html.contains(r#"d="M96 24L96 24M192 74L192 74L352 74""#), "{html}");
        assert!(!html.contains("NaN"));
        assert!(chart(Vec::new()).svg().into_string().contains(r#"d="""#));
    }

    #[test]
    fn a_single_point_is_marked() {
        let marked = |points| chart(points).svg().into_string().matches("<circle").count();
        let nan = f64::NAN;
        assert_eq!(marked(vec![(0.0, nan), (5.0, 0.5), (10.0, nan)]), 2, "one a panel");
        assert_eq!((marked(vec![(0.0, 0.0), (5.0, 0.5)]), marked(vec![(5.0, nan)])), (0, 0));
        let html = chart(vec![(5.0, 0.5)]).svg().into_string();
        assert!(html.contains(r#"<circle class="s1" cx="192" cy="74" r="3"></circle>"#), "{html}");
    }

    #[test]
    fn colors_are_the_themes_or_a_pictures() {
        let mut like = chart(vec![(0.0, 0.0)]);
        like.panels[0].series[0].paint = Paint::Like([230, 0, 7]);
        let html = like.svg().into_string();
        assert!(html.contains(r#"class="line like dashed" style="--like:rgb(230,0,7)""#), "{html}");
        let key = legend(&[(&like.panels[1].series[0], Some("83.4".into()))]).into_string();
        assert!(
            key.contains(r#"<span class="key s1 dashed"></span>&lt;1&gt; <b>83.4</b>"#),
            "{key}"
        );
    }

    #[test]
    fn ticks_are_round_numbers() {
        let texts = |from, to, most| -> Vec<String> {
            Axis::new("x", from, to, most).ticks.into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(texts(0.0, 19.0, 5), ["0", "5", "10", "15"]);
        assert_eq!(texts(0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(1.0, 103.0, 4), ["50", "100"]);
        assert_eq!(texts(-0.03, 0.03, 3), ["-0.02", "0.00", "0.02"]);
        assert_eq!(texts(3.0, 3.0, 4), ["3.0", "3.5", "4.0"], "a single value has room");
    }

    #[test]
    fn long_lines_are_thinned() {
        let points = (0..10_000).map(|n| (f64::from(n) / 1000.0, 0.5)).collect();
        let html = chart(points).svg().into_string();
        assert!(html.matches('L').count() <= 2 * (MOST_POINTS + 1));
    }
}
