//! The presets: the protocols that papers use, row by row.
//!
//! A preset's values never change under the same version: if one must change, the version
//! increases.

use serde::Serialize;
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use super::size::{InputSize, Size};
use super::{Benchmark, NearestRule, Protocol, ScoreSize};
use crate::error::{Error, Result};
use crate::image::resize::FrameFilter;
use crate::propagation::labels::{FirstLabels, Readout};
use crate::propagation::{Neighborhood, Settings, Shape};

/// A named protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Preset {
    /// CropMAE's program on the official release: 480x880 in, native size scored, top-k 7 (VIP 10),
    /// temperature 0.7, circle < 20, frame 0 + 20 frames
    Cropmae,
    /// CropMAE's program on a copy resized to 480x880, scored at 480x880: the practice behind the published
    /// CropMAE rows (DAVIS J&F 60.4 for ViT-S/16)
    #[serde(rename = "cropmae-480x880")]
    #[strum(serialize = "cropmae-480x880")]
    Cropmae480x880,
    /// DINO's and iBOT's evaluation: short side 480, top-k 5 with ties, temperature 0.1, square 12,
    /// frame 0 + 7 frames (DAVIS J&F 61.8 for DINO ViT-S/16)
    Dino,
    /// videowalk's evaluation: native size, top-k 10, temperature 0.05, circle < 12
    Crw,
    /// RSP's evaluation: 480x832 of a 480x880 copy, top-k 7 with ties, temperature 0.1, square 30,
    /// frame 0 + 30 frames
    Rsp,
    /// DINOv3's tracking notebook: short side 960, top-k 5 with ties, temperature 0.2, circle 12,
    /// frame 0 + 7 frames (the program behind the paper's numbers is not public)
    Dinov3,
}

/// ImageNet's mean, R, G, B.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// ImageNet's standard deviation.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];
/// ImageNet's standard deviation as DINO's program writes it, with another red.
const STD_DINO: [f32; 3] = [0.228, 0.224, 0.225];
/// The size of the `DAVIS_480_880` copies.
const COPY: Size = Size { height: 480, width: 880 };

impl Preset {
    /// Its name in settings and result files.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The version of its values.
    pub fn version(self) -> u32 {
        match self {
            // 1 read masks out as DINO's program does, at a short side of 480
            Self::Dinov3 => 2,
            _ => 1,
        }
    }

    /// Its values for a benchmark.
    ///
    /// # Errors
    /// The preset is for DAVIS only.
    pub fn protocol(self, benchmark: Benchmark) -> Result<Protocol> {
        let base = cropmae(benchmark);
        if benchmark != Benchmark::Davis && self != Self::Cropmae {
            return Err(Error::setting(
                "preset",
                format!(
                    "{} is a protocol for davis; use cropmae for {} and change single values of it",
                    self.name(),
                    benchmark.name()
                ),
            ));
        }
        Ok(match self {
            Self::Cropmae => base,
            Self::Cropmae480x880 => Protocol { copy_size: Some(COPY), ..base },
            Self::Crw => crw(base),
            Self::Dino => dino(base),
            Self::Rsp => rsp(dino(base)),
            Self::Dinov3 => dinov3(dino(base)),
        })
    }
}

/// CropMAE's `downstreams/propagation`: the arguments of `start.py` and `src/utils/arguments.py`, sizes
/// from `src/data`.
fn cropmae(benchmark: Benchmark) -> Protocol {
    let (input_size, topk) = match benchmark {
        Benchmark::Davis => (InputSize::Exact(COPY), 7),
        Benchmark::Vip => (InputSize::LongSide(880), 10),
        Benchmark::Jhmdb => (InputSize::Exact(Size { height: 320, width: 320 }), 7),
    };
    Protocol {
        benchmark,
        copy_size: None,
        input_size,
        frame_filter: FrameFilter::Bilinear,
        mean: MEAN,
        std: STD,
        first_labels: FirstLabels::Bilinear,
        propagation: Settings {
            topk,
            keep_ties: false,
            temperature: 0.7,
            neighborhood: Neighborhood { shape: Shape::Circle, radius: 20.0 },
            restrict_first: false,
            queue: 20,
            padded: true,
        },
        readout: Readout::Argmax,
        // VIP's scorer resizes predictions itself, with Pillow.
        output_nearest: match benchmark {
            Benchmark::Vip => NearestRule::Centered,
            Benchmark::Davis | Benchmark::Jhmdb => NearestRule::Floor,
        },
        score_size: ScoreSize::Native,
        exclude_first_frame: false,
    }
}

/// videowalk's `code/test.py` with the arguments that its README gives for DAVIS.
fn crw(base: Protocol) -> Protocol {
    Protocol {
        input_size: InputSize::Native,
        propagation: Settings {
            topk: 10,
            temperature: 0.05,
            neighborhood: Neighborhood { shape: Shape::Circle, radius: 12.0 },
            ..base.propagation
        },
        ..base
    }
}

/// DINO's `eval_video_segmentation.py` with its defaults.
fn dino(base: Protocol) -> Protocol {
    Protocol {
        input_size: InputSize::ShortSide(480),
        frame_filter: FrameFilter::Bilinear8Bit,
        std: STD_DINO,
        first_labels: FirstLabels::Nearest,
        propagation: Settings {
            topk: 5,
            keep_ties: true,
            temperature: 0.1,
            neighborhood: Neighborhood { shape: Shape::Square, radius: 12.0 },
            restrict_first: true,
            queue: 7,
            padded: false,
        },
        readout: Readout::MinMaxArgmax,
        output_nearest: NearestRule::Centered,
        ..base
    }
}

/// RSP's copy of DINO's program, with its defaults.
fn rsp(base: Protocol) -> Protocol {
    Protocol {
        copy_size: Some(COPY),
        propagation: Settings {
            topk: 7,
            neighborhood: Neighborhood { shape: Shape::Square, radius: 30.0 },
            queue: 30,
            ..base.propagation
        },
        ..base
    }
}

/// DINOv3's `notebooks/segmentation_tracking.ipynb`.
fn dinov3(base: Protocol) -> Protocol {
    Protocol {
        input_size: InputSize::ShortSideUp(960),
        frame_filter: FrameFilter::Bicubic,
        std: STD,
        readout: Readout::CellMinMaxArgmax,
        // what goes straight to the size that is scored has nothing left to resize
        output_nearest: NearestRule::Floor,
        propagation: Settings {
            temperature: 0.2,
            neighborhood: Neighborhood { shape: Shape::CircleInclusive, radius: 12.0 },
            ..base.propagation
        },
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_presets_make_sense_and_differ() {
        let mut hashes: Vec<String> = Preset::VARIANTS
            .iter()
            .map(|preset| {
                let protocol = preset.protocol(Benchmark::Davis).unwrap();
                protocol.propagation.validate().unwrap();
                protocol.hash()
            })
            .collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), Preset::VARIANTS.len());
    }

    #[test]
    fn davis_presets_are_refused_elsewhere() {
        let error = Preset::Dino.protocol(Benchmark::Vip).unwrap_err().to_string();
        assert!(error.contains("preset") && error.contains("cropmae"), "{error}");
        assert_eq!(Preset::Cropmae.protocol(Benchmark::Vip).unwrap().propagation.topk, 10);
    }

    /// The values behind a published name must not move unnoticed: a change here needs a new
    /// version.
    #[test]
    fn hashes_are_pinned() {
        let hashes: Vec<String> = Preset::VARIANTS
            .iter()
            .map(|preset| {
                let hash = preset.protocol(Benchmark::Davis).unwrap().hash();
                format!("{}-v{} {hash}", preset.name(), preset.version())
            })
            .collect();
        insta::assert_snapshot!(hashes.join("\n"), @r"
        cropmae-v1 08612771b88f8e17
        cropmae-480x880-v1 a334215f6af104b5
        dino-v1 ffd3258796f35b40
        crw-v1 457980171e9e2f9d
        rsp-v1 05d40407d4191244
        dinov3-v2 d999efcceef4871e
        ");
    }
}
