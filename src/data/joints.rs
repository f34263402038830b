//! JHMDB's ground truth: where the 15 joints of the person are in every frame.
//!
//! Each clip has a MATLAB file whose `pos_img` is a 2×15×T array of x and y in pixels, the first of
//! which is 1. The values are returned unchanged; `matlab` knows the file format. Next: first-frame
//! label maps and PCK, which subtract one to count from 0.

use std::path::Path;

use super::matlab;
use crate::error::{Error, Result};
use crate::metric::pck::JOINT_COUNT;

/// The joints of one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Joints {
    /// Frames that have joints (T): not always the number of frames on disk.
    pub frames: usize,
    /// `positions[frame][joint] = [x, y]`, the joints in the order of the file, which is that of
    /// [`crate::metric::pck::JOINTS`], in pixels of the frame as released, counted from 1, with
    /// fractions; a joint may lie outside the picture.
    pub positions: Vec<[[f64; 2]; JOINT_COUNT]>,
}

/// Reads `pos_img` of a `joint_positions.mat` (MATLAB v5, compressed or not).
///
/// # Errors
/// The file is missing, cut short, damaged, no MATLAB file or one of v7.3, has no `pos_img`, or one
/// that is not 2×15×T or holds NaN or infinity.
pub fn read(path: &Path) -> Result<Joints> {
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    let again = "extract it again from joint_positions.zip";
    let array = matlab::find(&bytes, "pos_img").map_err(|problem| {
        let newer = problem.contains("v7.3");
        let remedy = if newer { "save it in MATLAB with the option -v7" } else { again };
        Error::data(path, format!("this file {problem}"), remedy)
    })?;
    let array = array.ok_or_else(|| Error::data(path, "holds no array called pos_img", again))?;
    // MATLAB drops a last axis of length 1: a clip of one frame is 2×15.
    let frames = match array.dimensions[..] {
        [2, JOINT_COUNT] => 1,
        [2, JOINT_COUNT, frames] if frames > 0 => frames,
        _ => {
            let shape = array.dimensions.iter().map(ToString::to_string).collect::<Vec<_>>();
            let shape = shape.join("x");
            return Err(Error::data(path, format!("pos_img is {shape}, not 2x15xT"), again));
        }
    };
    let positions: Vec<_> = array.values.chunks_exact(2 * JOINT_COUNT).map(frame).collect();
    let joints = positions.iter().flatten();
    let broken = joints.filter(|joint| !joint.iter().all(|value| value.is_finite())).count();
    if broken > 0 {
        let problem = format!("holds joints that are no finite numbers ({broken})");
        return Err(Error::data(path, problem, again));
    }
    Ok(Joints { frames, positions })
}

/// One frame from its numbers: x and y of joint 0, x and y of joint 1, …
fn frame(numbers: &[f64]) -> [[f64; 2]; JOINT_COUNT] {
    let mut joints = [[0.0; 2]; JOINT_COUNT];
    for (joint, pair) in joints.iter_mut().zip(numbers.chunks_exact(2)) {
        joint.copy_from_slice(pair);
    }
    joints
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::matlab::tests::{compressed, file, variable};
    use super::*;

    /// x of joint j in frame t is 100·t + j, y is −x.
    fn sample(frames: usize) -> Vec<f64> {
        let cells = (0..frames).flat_map(|frame| (0..15).map(move |joint| 100 * frame + joint));
        cells.flat_map(|value| [value as f64, -(value as f64)]).collect()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Joints> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("joint_positions.mat");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn frames_joints_and_axes_keep_their_places() {
        let bytes = file(&[compressed(&variable("pos_img", &[2, 15, 3], &sample(3)))]);
        let joints = read_bytes(&bytes).unwrap();
        assert_eq!((joints.frames, joints.positions.len()), (3, 3));
        assert_eq!(joints.positions[0][0], [0.0, 0.0]);
        assert_eq!(joints.positions[2][14], [214.0, -214.0]);
        let one = file(&[variable("pos_img", &[2, 15], &sample(1))]);
        assert_eq!(read_bytes(&one).unwrap().frames, 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (b"PK\x03\x04".to_vec(), "is no MATLAB file"),
            (Vec::new(), "is no MATLAB file"),
            (b"MATLAB 7.3 MAT-file, Platform".to_vec(), "-v7"),
            (file(&[])[..90].to_vec(), "is cut short"),
            (file(&[]), "no array called pos_img"),
            (file(&[variable("pos_img", &[15, 2, 1], &sample(1))]), "is 15x2x1, not 2x15xT"),
            (file(&[variable("pos_img", &[2, 15, 0], &[])]), "not 2x15xT"),
            (
                file(&[variable("pos_img", &[2, 15], &[f64::NAN; 30])]),
                "holds joints that are no finite numbers (15)",
            ),
        ];
        for (bytes, words) in cases {
            let message = read_bytes(&bytes).unwrap_err().to_string();
            assert!(message.contains(words), "{message:?} lacks {words:?}");
            assert!(message.contains("joint_positions.mat"), "{message:?}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let plain = variable("pos_img", &[2, 15, 2], &sample(2));
        let (packed, other) = (compressed(&plain), variable("scale", &[1, 2], &[1.0, 2.0]));
        let alone = file(std::slice::from_ref(&packed));
        let first = alone.len();
        for whole in [file(&[plain]), alone, file(&[packed, other])] {
            for length in 0..whole.len() {
                // A cut between two variables leaves a whole file of fewer.
                let between = length == 128 || length == first;
                assert!(matlab::find(&whole[..length], "pos_img").is_err() || between, "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..4096, value: u8, packed: bool, extra in any::<Vec<u8>>()) {
            let plain = variable("pos_img", &[2, 15, 4], &sample(4));
            let mut bytes = file(&[if packed { compressed(&plain) } else { plain }]);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = read_bytes(&bytes);
            let _ = matlab::find(&[&bytes[..at], &extra].concat(), "pos_img");
        }
    }
}
