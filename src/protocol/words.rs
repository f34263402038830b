//! A protocol in words: what was done to a clip, for a reader who knows none of the settings' names.

use super::{Benchmark, InputSize, NearestRule, Protocol, ScoreSize};
use crate::image::resize::FrameFilter;
use crate::propagation::labels::{FirstLabels, Readout};
use crate::propagation::{Settings, Shape};

/// What happens to a clip, step by step, in the order of a frame's way: a sentence each.
pub fn sentences(protocol: &Protocol) -> Vec<String> {
    let mut found =
        vec![frames(protocol), affinity(&protocol.propagation), keys(&protocol.propagation)];
    found.extend(first_labels(protocol));
    found.push(scoring(protocol));
    found
}

fn frames(protocol: &Protocol) -> String {
    let copy = protocol.copy_size.map_or(String::new(), |size| {
        format!("Frames and masks are first copied to {size} by nearest neighbour. ")
    });
    let filter = match protocol.frame_filter {
        FrameFilter::Bilinear => "bilinearly, without antialiasing",
        FrameFilter::Bilinear8Bit => "bilinearly in 8-bit arithmetic, without antialiasing",
        FrameFilter::Bicubic => "bicubically with antialiasing",
        FrameFilter::Nearest => "by nearest neighbour",
    };
    match protocol.input_size {
        InputSize::Native => {
            format!("{copy}Every frame is encoded at its own size, cut to whole patches.")
        }
        InputSize::Exact(size) => {
            format!("{copy}Every frame is resized to {size}, whatever its aspect, {filter}.")
        }
        InputSize::ShortSide(side) => format!(
            "{copy}Every frame is resized so that its shorter side has {side} pixels and the longer a multiple of 64, {filter}."
        ),
        InputSize::ShortSideUp(side) => format!(
            "{copy}Every frame is resized so that its shorter side has {side} pixels, both rounded up to whole patches, {filter}."
        ),
        InputSize::LongSide(side) => format!(
            "{copy}Every frame is resized so that its longer side has {side} pixels and the shorter a multiple of 64, {filter}."
        ),
    }
}

fn affinity(settings: &Settings) -> String {
    let Settings { topk, temperature, queue, .. } = settings;
    let ties = match settings.keep_ties {
        true => " and all that are as similar as the last of them",
        false => "",
    };
    let padded = match settings.padded {
        true => "; where there are fewer, copies of frame 0 take their places",
        false => "",
    };
    format!(
        "A patch takes the labels of the {topk} patches most similar to it by cosine{ties}, weighted by a softmax at temperature {temperature}, out of frame 0 and the {queue} frames before its own{padded}."
    )
}

fn keys(settings: &Settings) -> String {
    let radius = settings.neighborhood.radius;
    let within = match settings.neighborhood.shape {
        Shape::Circle => format!("less than {radius} patches away"),
        Shape::CircleInclusive => format!("up to {radius} patches away"),
        Shape::Square => format!("up to {radius} patches away along each axis"),
    };
    match settings.restrict_first {
        true => format!("Only patches {within} count, in frame 0 too."),
        false => format!("Only patches {within} count, but all of frame 0 does."),
    }
}

fn first_labels(protocol: &Protocol) -> Option<String> {
    if protocol.benchmark == Benchmark::Jhmdb {
        return None;
    }
    let rule = match protocol.first_labels {
        FirstLabels::Bilinear => "a mix of the four pixels around its centre, one-hot",
        FirstLabels::Nearest => "the label of the nearest pixel",
    };
    let readout = match protocol.readout {
        Readout::Argmax => "the largest label of each pixel wins",
        Readout::MinMaxArgmax => {
            "each label's map is stretched to 0 to 1 over the frame, and the largest wins"
        }
    };
    Some(format!(
        "The given mask gives each patch {rule}; soft labels are upsampled bilinearly, {readout}."
    ))
}

fn scoring(protocol: &Protocol) -> String {
    let rule = match protocol.output_nearest {
        NearestRule::Floor => "OpenCV's",
        NearestRule::Centered => "Pillow's",
    };
    let size = match (protocol.score_size, protocol.copy_size) {
        (ScoreSize::Fixed(size), _) => format!("at {size}, annotations too"),
        (ScoreSize::Native, Some(size)) => format!("at the copies' {size}"),
        (ScoreSize::Native, None) => "at each annotation's own size".into(),
    };
    match protocol.benchmark {
        Benchmark::Davis => format!(
            "Masks are scored {size}, where they come by {rule} nearest rule: J and F of every object in every frame but the first and the last, means over objects."
        ),
        Benchmark::Vip => {
            let first = match protocol.exclude_first_frame {
                true => "all frames but the given first ones",
                false => "all frames, the given first ones among them",
            };
            format!(
                "Parts are scored {size}, where they come by {rule} nearest rule: one confusion matrix over {first} of all videos."
            )
        }
        Benchmark::Jhmdb => "A joint is the weighted mean of the 5 cells that hold most of its label; PCK counts those near enough to the truth, joints predicted invisible left out.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;

    fn said(preset: Preset, benchmark: Benchmark) -> String {
        sentences(&preset.protocol(benchmark).unwrap()).join("\n")
    }

    #[test]
    fn the_published_protocol_in_words() {
        insta::assert_snapshot!(said(Preset::Cropmae, Benchmark::Davis), @r#"
        Every frame is resized to 480x880, whatever its aspect, bilinearly, without antialiasing.
        A patch takes the labels of the 7 patches most similar to it by cosine, weighted by a softmax at temperature 0.7, out of frame 0 and the 20 frames before its own; where there are fewer, copies of frame 0 take their places.
        Only patches less than 20 patches away count, but all of frame 0 does.
        The given mask gives each patch a mix of the four pixels around its centre, one-hot; soft labels are upsampled bilinearly, the largest label of each pixel wins.
        Masks are scored at each annotation's own size, where they come by OpenCV's nearest rule: J and F of every object in every frame but the first and the last, means over objects.
        "#);
    }

    #[test]
    fn no_two_presets_read_alike() {
        use clap::ValueEnum;
        let mut all: Vec<String> =
            Preset::value_variants().iter().map(|preset| said(*preset, Benchmark::Davis)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), Preset::value_variants().len());
        assert!(said(Preset::Rsp, Benchmark::Davis).contains("scored at the copies' 480x880"));
        assert!(said(Preset::Cropmae, Benchmark::Vip).contains("longer side has 880"));
        assert!(said(Preset::Cropmae, Benchmark::Jhmdb).contains("PCK"));
    }
}
