//! One setting changed at a time: what `explain --ablate` tries.
//!
//! Two published protocols differ in a dozen values at once, so nobody can tell which of them
//! changed the score. [`alternatives`] lists every protocol that differs from a given one in
//! exactly one value; the values are published ones, taken from the [`Preset`]s.

use serde_json::Value;
use strum::VariantArray;

use super::{Benchmark, Preset, Protocol, ScoreSize, Size};
use crate::image::resize::FrameFilter;

/// A protocol that departs from another in one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// The setting, as in the result files.
    pub setting: String,
    /// Its value in the protocol departed from.
    pub from: Value,
    /// Its value now.
    pub to: Value,
    /// Which presets have that value.
    pub of: Vec<Preset>,
    /// The whole.
    pub protocol: Protocol,
}

/// Takes one value over from another protocol.
type Take = fn(&mut Protocol, &Protocol);

const ALL: &[Benchmark] = Benchmark::VARIANTS;
const MASKS: &[Benchmark] = &[Benchmark::Davis, Benchmark::Vip];
const DAVIS: &[Benchmark] = &[Benchmark::Davis];

/// Every choice, with the benchmarks in which it decides anything, in the order of a frame's way.
const CHOICES: [(&[Benchmark], Take); 16] = [
    (DAVIS, |to, from| to.copy_size = from.copy_size),
    (ALL, |to, from| to.input_size = from.input_size),
    (ALL, |to, from| to.frame_filter = from.frame_filter),
    (ALL, |to, from| to.mean = from.mean),
    (ALL, |to, from| to.std = from.std),
    (MASKS, |to, from| to.first_labels = from.first_labels),
    (ALL, |to, from| to.propagation.topk = from.propagation.topk),
    (ALL, |to, from| to.propagation.keep_ties = from.propagation.keep_ties),
    (ALL, |to, from| to.propagation.temperature = from.propagation.temperature),
    (ALL, |to, from| {
        to.propagation.neighborhood.radius = from.propagation.neighborhood.radius;
    }),
    (ALL, |to, from| to.propagation.neighborhood.shape = from.propagation.neighborhood.shape),
    (ALL, |to, from| to.propagation.restrict_first = from.propagation.restrict_first),
    (ALL, |to, from| to.propagation.queue = from.propagation.queue),
    (ALL, |to, from| to.propagation.padded = from.propagation.padded),
    (MASKS, |to, from| to.readout = from.readout),
    (MASKS, |to, from| to.output_nearest = from.output_nearest),
];

/// Every protocol that departs from `base` in exactly one value that decides anything.
pub fn alternatives(base: &Protocol) -> Vec<Alternative> {
    let mut found: Vec<Alternative> = Vec::new();
    for (benchmarks, take) in CHOICES {
        for (preset, donor) in donors(base.benchmark) {
            if benchmarks.contains(&base.benchmark) {
                let mut protocol = base.clone();
                take(&mut protocol, &donor);
                add(&mut found, base, protocol, Some(preset));
            }
        }
    }
    for filter in FrameFilter::VARIANTS {
        add(&mut found, base, Protocol { frame_filter: *filter, ..base.clone() }, None);
    }
    if base.benchmark == Benchmark::Davis {
        let copies = ScoreSize::Fixed(Size { height: 480, width: 880 });
        for score_size in [ScoreSize::Native, copies] {
            add(&mut found, base, Protocol { score_size, ..base.clone() }, None);
        }
    }
    if base.benchmark == Benchmark::Vip {
        let exclude_first_frame = !base.exclude_first_frame;
        add(&mut found, base, Protocol { exclude_first_frame, ..base.clone() }, None);
    }
    found
}

/// The presets whose values are taken: those of DAVIS everywhere, for other benchmarks have but
/// one.
fn donors(benchmark: Benchmark) -> Vec<(Preset, Protocol)> {
    let own = Preset::Cropmae.protocol(benchmark).ok().map(|protocol| (Preset::Cropmae, protocol));
    let davis = Preset::VARIANTS.iter().filter_map(|preset| {
        preset.protocol(Benchmark::Davis).ok().map(|protocol| (*preset, protocol))
    });
    let own = own.into_iter().filter(|_| benchmark != Benchmark::Davis);
    own.chain(davis).collect()
}

/// Adds an alternative, or the preset to one that is there already.
fn add(found: &mut Vec<Alternative>, base: &Protocol, protocol: Protocol, preset: Option<Preset>) {
    if let Some(same) = found.iter_mut().find(|other| other.protocol == protocol) {
        same.of.extend(preset.filter(|preset| !same.of.contains(preset)));
        return;
    }
    let mut departures = protocol.departures(base);
    if departures.len() != 1 || protocol.propagation.validate().is_err() {
        return;
    }
    let departure = departures.swap_remove(0);
    found.push(Alternative {
        setting: departure.setting,
        from: departure.preset,
        to: departure.used,
        of: preset.into_iter().collect(),
        protocol,
    });
}

/// The published protocols for the same benchmark that differ from `base`, however much.
pub fn presets(base: &Protocol) -> Vec<(Preset, Protocol)> {
    let all = Preset::VARIANTS.iter();
    let of = |preset: &Preset| preset.protocol(base.benchmark).ok().map(|p| (*preset, p));
    all.filter_map(of).filter(|(_, protocol)| protocol != base).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(alternatives: &[Alternative]) -> Vec<String> {
        let words = |it: &Alternative| format!("{} = {}", it.setting, it.to);
        alternatives.iter().map(words).collect()
    }

    #[test]
    fn every_departure_is_a_single_one() {
        for benchmark in ALL {
            for preset in Preset::VARIANTS {
                let Ok(base) = preset.protocol(*benchmark) else { continue };
                let found = alternatives(&base);
                assert!(found.len() > 15, "{preset:?}: {:?}", named(&found));
                for alternative in &found {
                    let departures = alternative.protocol.departures(&base);
                    assert_eq!(departures.len(), 1, "{alternative:?}");
                    assert_eq!(departures[0].setting, alternative.setting);
                    assert_eq!(departures[0].preset, alternative.from);
                    assert_eq!(departures[0].used, alternative.to);
                    let twins = found.iter().filter(|o| o.protocol == alternative.protocol);
                    assert_eq!(twins.count(), 1, "{alternative:?} is there twice");
                }
            }
        }
    }

    #[test]
    fn all_published_values_of_davis_are_tried() {
        let base = Preset::Cropmae.protocol(Benchmark::Davis).unwrap();
        insta::assert_snapshot!(named(&alternatives(&base)).join("\n"), @r#"
        copy_size = "480x880"
        input_size = {"short-side":480}
        input_size = "native"
        input_size = {"short-side-up":960}
        frame_filter = "bilinear-8bit"
        frame_filter = "bicubic"
        std = [0.2280000001192093,0.2240000069141388,0.22499999403953552]
        first_labels = "nearest"
        propagation.topk = 5
        propagation.topk = 10
        propagation.keep_ties = true
        propagation.temperature = 0.1
        propagation.temperature = 0.05
        propagation.temperature = 0.2
        propagation.neighborhood.radius = 12.0
        propagation.neighborhood.radius = 30.0
        propagation.neighborhood.shape = "square"
        propagation.neighborhood.shape = "circle-inclusive"
        propagation.restrict_first = true
        propagation.queue = 7
        propagation.queue = 30
        propagation.padded = false
        readout = "min-max-argmax"
        readout = "cell-min-max-argmax"
        output_nearest = "centered"
        frame_filter = "nearest"
        score_size = {"fixed":"480x880"}
        "#);
        let topk = alternatives(&base).into_iter().find(|it| it.setting == "propagation.topk");
        assert_eq!(topk.unwrap().of, [Preset::Dino, Preset::Dinov3]);
        let names: Vec<&str> = presets(&base).iter().map(|(preset, _)| preset.name()).collect();
        assert_eq!(names, ["cropmae-480x880", "dino", "crw", "rsp", "dinov3"]);
    }

    /// A preset's departures from another are covered one by one: whoever wants to know why two
    /// published rows differ finds each reason in the list.
    #[test]
    fn every_difference_between_presets_is_an_alternative() {
        let base = Preset::Cropmae.protocol(Benchmark::Davis).unwrap();
        let found = alternatives(&base);
        for (preset, protocol) in presets(&base) {
            for departure in protocol.departures(&base) {
                let covered = found
                    .iter()
                    .any(|it| it.setting == departure.setting && it.to == departure.used);
                assert!(covered, "{preset:?}: {departure:?}");
            }
        }
    }

    #[test]
    fn joints_have_no_masks_to_resize() {
        let base = Preset::Cropmae.protocol(Benchmark::Jhmdb).unwrap();
        let found = named(&alternatives(&base));
        let of_masks = ["first_labels", "readout", "output_nearest", "score_size", "copy_size"];
        assert!(!found.iter().any(|it| of_masks.iter().any(|of| it.starts_with(of))), "{found:?}");
        let vip = alternatives(&Preset::Cropmae.protocol(Benchmark::Vip).unwrap());
        assert!(named(&vip).contains(&"exclude_first_frame = true".to_owned()));
        assert!(named(&vip).contains(&"propagation.topk = 7".to_owned()), "{:?}", named(&vip));
    }
}
