//! JHMDB's 15 joints as a stick figure: limbs in three colours, the truth behind in white.

use super::canvas::{Color, Pen, Point, disc, line, ring};
use crate::image::Rgb;
use crate::metric::pck::JOINT_COUNT;

/// The joints that are joined, by their places in [`crate::metric::pck::JOINTS`].
pub(crate) const LIMBS: [(usize, usize); 14] = [
    (2, 0),   // head, neck
    (0, 1),   // neck, belly
    (0, 3),   // neck, right shoulder
    (3, 7),   // right shoulder, elbow
    (7, 11),  // right elbow, wrist
    (0, 4),   // neck, left shoulder
    (4, 8),   // left shoulder, elbow
    (8, 12),  // left elbow, wrist
    (1, 5),   // belly, right hip
    (5, 9),   // right hip, knee
    (9, 13),  // right knee, ankle
    (1, 6),   // belly, left hip
    (6, 10),  // left hip, knee
    (10, 14), // left knee, ankle
];

/// Head, neck and belly, the person's right, the person's left: colours that people of every kind
/// of colour vision tell apart.
pub(crate) const SIDES: [(&str, Color); 3] =
    [("trunk", [0, 190, 130]), ("right", [255, 160, 0]), ("left", [70, 170, 255])];
/// The truth.
pub(crate) const TRUTH: Color = [255, 255, 255];
/// From where a joint was predicted to where it is.
pub(crate) const OFF: Color = [255, 60, 190];
/// Behind lines, so that they stand out from any frame.
const CASING: Color = [20, 20, 20];

/// Where the joints are, in pixels of the picture; `None` where a joint was lost.
pub(crate) type Joints = [Option<Point>; JOINT_COUNT];

/// What is to be drawn over a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    /// Predicted joints.
    pub predicted: &'a Joints,
    /// True joints, where they are to be drawn.
    pub truth: Option<&'a Joints>,
    /// True joints, where lines are to lead to them.
    pub marked: Option<&'a Joints>,
}

/// The colour of a joint, and of the limb that leads to it from the trunk.
pub(crate) fn color(joint: usize) -> Color {
    let side = match joint {
        0..=2 => 0,
        // right and left take turns from the shoulders on
        _ => 2 - joint % 2,
    };
    SIDES[side].1
}

/// Draws skeletons over a frame: the truth, the errors, the prediction, one over the other.
pub(crate) fn draw(picture: &mut Rgb, layers: Layers<'_>) {
    let unit = (picture.width as f32 / 320.0).clamp(0.75, 4.0);
    if let Some(truth) = layers.truth {
        draw_truth(picture, truth, unit);
    }
    let limbs = |joints: &Joints| {
        let ends = LIMBS.map(|(from, to)| (joints[from].zip(joints[to]), color(to)));
        ends.into_iter().filter_map(|(ends, color)| ends.map(|ends| (ends, color)))
    };
    for ((from, to), _) in limbs(layers.predicted) {
        line(picture, from, to, Pen { opacity: 0.6, ..Pen::new(CASING, 4.2 * unit) });
    }
    for ((from, to), color) in limbs(layers.predicted) {
        line(picture, from, to, Pen::new(color, 2.4 * unit));
    }
    for (joint, place) in layers.predicted.iter().enumerate() {
        let Some(place) = *place else { continue };
        disc(picture, place, 3.2 * unit, CASING);
        disc(picture, place, 2.4 * unit, color(joint));
    }
    if let Some(truth) = layers.marked {
        for (from, to) in layers.predicted.iter().zip(truth).filter_map(|(a, b)| a.zip(*b)) {
            line(picture, from, to, Pen::new(OFF, 1.2 * unit));
        }
    }
}

/// The truth: thin, white, its joints hollow.
fn draw_truth(picture: &mut Rgb, joints: &Joints, unit: f32) {
    for (from, to) in LIMBS.iter().filter_map(|(from, to)| joints[*from].zip(joints[*to])) {
        line(picture, from, to, Pen { opacity: 0.5, ..Pen::new(CASING, 2.8 * unit) });
        line(picture, from, to, Pen { opacity: 0.9, ..Pen::new(TRUTH, 1.4 * unit) });
    }
    for place in joints.iter().flatten() {
        ring(picture, *place, 3.2 * unit, Pen { opacity: 0.5, ..Pen::new(CASING, 2.4 * unit) });
        ring(picture, *place, 3.2 * unit, Pen { opacity: 0.9, ..Pen::new(TRUTH, 1.2 * unit) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::pck::JOINTS;
    use crate::overlay::canvas::tests::plain;

    fn pixel(picture: &Rgb, x: usize, y: usize) -> Color {
        let at = 3 * (y * picture.width + x);
        [0, 1, 2].map(|channel| picture.data[at + channel])
    }

    #[test]
    fn limbs_join_neighbors_of_one_side() {
        for (from, to) in LIMBS {
            let sides = [JOINTS[from], JOINTS[to]].map(|name| name.split_once(' '));
            if let [Some((a, _)), Some((b, _))] = sides {
                assert_eq!(a, b);
            }
        }
        let mut degree = [0; JOINT_COUNT];
        LIMBS.iter().for_each(|(from, to)| [from, to].iter().for_each(|end| degree[**end] += 1));
        assert_eq!(degree, [4, 3, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1]);
        for (joint, name) in JOINTS.iter().enumerate() {
            let side = name.split_once(' ').map_or("trunk", |(side, _)| side);
            let wanted = SIDES.iter().find(|(known, _)| *known == side).unwrap().1;
            assert_eq!(color(joint), wanted, "{name}");
        }
    }

    #[test]
    fn lost_joints_take_their_limbs_with_them() {
        let mut joints: Joints = [None; JOINT_COUNT];
        let mut picture = plain(320, 80, 9);
        draw(&mut picture, Layers { predicted: &joints, truth: None, marked: None });
        assert_eq!(picture, plain(320, 80, 9));
        // right knee and ankle alone: the limb between them, none to the hip
        joints[9] = Some((100.5, 20.5));
        joints[13] = Some((200.5, 20.5));
        draw(&mut picture, Layers { predicted: &joints, truth: None, marked: None });
        let right = SIDES[1].1;
        assert_eq!(pixel(&picture, 150, 20), right);
        assert_eq!(pixel(&picture, 100, 20), right);
        assert_eq!((pixel(&picture, 90, 20), pixel(&picture, 210, 20)), ([9; 3], [9; 3]));
    }

    #[test]
    fn the_truth_stands_beside_the_prediction_and_lines_lead_to_it() {
        let mut predicted: Joints = [None; JOINT_COUNT];
        let mut truth = predicted;
        predicted[2] = Some((50.5, 20.5));
        truth[2] = Some((50.5, 60.5));
        truth[0] = Some((90.5, 60.5));
        let mut picture = plain(320, 80, 9);
        let layers = Layers { predicted: &predicted, truth: Some(&truth), marked: Some(&truth) };
        draw(&mut picture, layers);
        assert_eq!(pixel(&picture, 50, 40), OFF, "from the prediction to the truth");
        let [limb, ..] = pixel(&picture, 70, 60);
        assert!(limb > 220, "the truth is white: {limb}");
        assert_eq!(pixel(&picture, 90, 40), [9; 3], "no line where no joint was predicted");
    }
}
