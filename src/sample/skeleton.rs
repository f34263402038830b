//! The joints of a person in motion: actions to angles, angles to joints.
//!
//! A body is 1 high. An [`Action`] gives the angles of all joints at a phase; [`joints`] hangs the
//! limbs together from the hips and lets the lower foot stand on the ground. Next:
//! [`super::person`] puts flesh and clothes around the joints.

use std::f32::consts::{PI, TAU};

use super::path::{Spot, spot};

/// Lengths of thigh, shin, upper arm, forearm and hand of a body 1 high.
pub(super) const THIGH: f32 = 0.24;
pub(super) const SHIN: f32 = 0.235;
pub(super) const FOOT: f32 = 0.095;
pub(super) const UPPER_ARM: f32 = 0.16;
pub(super) const FOREARM: f32 = 0.145;
pub(super) const HAND: f32 = 0.065;
/// From the hips up to the shoulders.
pub(super) const TORSO: f32 = 0.28;

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Walk,
    Run,
    Wave,
    Clap,
    Jump,
    KickBall,
}

impl Action {
    /// The six of them, in the order in which clips take them.
    pub(super) const ALL: [Self; 6] =
        [Self::Walk, Self::Wave, Self::Run, Self::KickBall, Self::Clap, Self::Jump];

    /// The name as JHMDB spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Walk => "walk",
            Self::Run => "run",
            Self::Wave => "wave",
            Self::Clap => "clap",
            Self::Jump => "jump",
            Self::KickBall => "kick_ball",
        }
    }

    /// Whether it moves the person along the ground.
    pub(super) fn travels(self) -> bool {
        matches!(self, Self::Walk | Self::Run)
    }

    /// Body lengths per frame, for those that travel.
    pub(super) fn speed(self) -> f32 {
        if self == Self::Run { 0.042 } else { 0.02 }
    }

    /// The phase, in radians, after `travelled` body lengths and `t` frames.
    pub(super) fn phase(self, travelled: f32, t: f32) -> f32 {
        match self {
            Self::Walk => TAU * travelled / 0.8,
            Self::Run => TAU * travelled / 1.25,
            Self::Wave => TAU * t / 22.0,
            Self::Clap => TAU * t / 16.0,
            Self::Jump => TAU * t / 34.0,
            Self::KickBall => TAU * t / 40.0,
        }
    }
}

/// Angles in radians; pairs are right, left. 0 everywhere is standing with hanging arms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Angles {
    /// Bending of the back, ahead.
    lean: f32,
    /// Thighs swung ahead.
    thigh: [f32; 2],
    /// Knees bent.
    knee: [f32; 2],
    /// Upper arms swung ahead.
    shoulder: [f32; 2],
    /// Upper arms raised to the side.
    raise: [f32; 2],
    /// Elbows bent, ahead.
    elbow: [f32; 2],
    /// Forearms raised to the side, beyond the upper arm.
    fold: [f32; 2],
    /// Height above the ground, beyond what the legs give.
    leap: f32,
}

impl Action {
    /// The angles at a phase; `verve` (around 1) scales the swing.
    pub(super) fn angles(self, phase: f32, verve: f32) -> Angles {
        match self {
            Self::Walk => stride(phase, 0.42 * verve, 0.75, [0.38 * verve, 0.3], 0.04),
            Self::Run => {
                let leap = 0.025 * (2.0 * phase).cos().max(0.0);
                Angles { leap, ..stride(phase, 0.7 * verve, 1.35, [0.65 * verve, 1.35], 0.2) }
            }
            Self::Wave => Angles {
                raise: [1.75 + 0.1 * phase.sin(), 0.14],
                fold: [0.95 + 0.55 * verve * phase.sin(), 0.1],
                elbow: [0.1, 0.15],
                knee: [0.06, 0.1],
                ..Angles::default()
            },
            Self::Clap => {
                let open = 0.5 + 0.5 * verve * phase.cos();
                Angles {
                    shoulder: [0.75; 2],
                    raise: [0.2 + 0.35 * open; 2],
                    elbow: [0.95; 2],
                    fold: [-0.75 + 0.5 * open; 2],
                    knee: [0.08; 2],
                    lean: 0.03,
                    ..Angles::default()
                }
            }
            Self::Jump => leap(phase, verve),
            Self::KickBall => kick(phase, verve),
        }
    }
}

/// Walking and running: legs in counterphase, the knee bends while its leg swings ahead, each arm
/// goes with the other leg.
fn stride(phase: f32, swing: f32, bend: f32, [arm, elbow]: [f32; 2], lean: f32) -> Angles {
    let legs = [phase, phase + PI];
    Angles {
        lean,
        thigh: legs.map(|leg| swing * leg.sin() + 0.3 * lean),
        knee: legs.map(|leg| 0.12 + bend * leg.cos().max(0.0).powf(1.5)),
        shoulder: legs.map(|leg| -arm * leg.sin()),
        raise: [0.12; 2],
        elbow: legs.map(|leg| elbow - 0.4 * arm * leg.sin()),
        ..Angles::default()
    }
}

/// Crouching, leaping with the arms up, landing.
fn leap(phase: f32, verve: f32) -> Angles {
    let height = phase.sin().max(0.0);
    let crouch = (-phase.sin()).max(0.0) * verve;
    Angles {
        lean: 0.35 * crouch,
        thigh: [0.75 * crouch; 2],
        knee: [0.1 + 1.35 * crouch; 2],
        shoulder: [0.4 + 1.3 * height - 0.9 * crouch; 2],
        raise: [0.25 + 0.3 * height; 2],
        elbow: [0.35; 2],
        leap: 0.16 * height * verve,
        ..Angles::default()
    }
}

/// The right leg swings back and kicks, the arms keep the balance.
fn kick(phase: f32, verve: f32) -> Angles {
    let swing = verve * (0.35 * phase.sin() + 0.35 * (2.0 * phase).sin()) + 0.15;
    Angles {
        lean: 0.1 - 0.12 * swing,
        thigh: [swing, -0.1 * swing],
        knee: [0.25 + 0.8 * (-swing).max(0.0), 0.15],
        shoulder: [-0.6 * swing, 0.6 * swing],
        raise: [0.35, 0.45],
        elbow: [0.35; 2],
        ..Angles::default()
    }
}

/// The joints of a body in its own frame; pairs are right, left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joints {
    pub(super) pelvis: Spot,
    pub(super) belly: Spot,
    pub(super) neck: Spot,
    pub(super) head: Spot,
    pub(super) shoulder: [Spot; 2],
    pub(super) elbow: [Spot; 2],
    pub(super) wrist: [Spot; 2],
    pub(super) fingers: [Spot; 2],
    pub(super) hip: [Spot; 2],
    pub(super) knee: [Spot; 2],
    pub(super) ankle: [Spot; 2],
    pub(super) toe: [Spot; 2],
}

/// The joints for given angles, the lower foot on the ground.
pub(super) fn joints(angles: &Angles) -> Joints {
    let hanging = hung_up(angles, 0.0);
    let sole = |side: usize| (hanging.ankle[side].up - 0.05).min(hanging.toe[side].up - 0.02);
    hung_up(angles, angles.leap - sole(0).min(sole(1)))
}

/// The joints with the pelvis at `height`.
fn hung_up(angles: &Angles, height: f32) -> Joints {
    let pelvis = spot(0.0, 0.0, height);
    let back = spot(angles.lean.sin(), 0.0, angles.lean.cos());
    let chest = pelvis.moved(back, TORSO);
    let neck = pelvis.moved(back, TORSO + 0.045);
    let beside = |middle: Spot, half: f32| {
        [spot(middle.ahead, -half, middle.up), spot(middle.ahead, half, middle.up)]
    };
    let mut body = Joints {
        pelvis,
        belly: pelvis.moved(back, 0.12),
        neck,
        head: neck.moved(spot(0.5 * angles.lean.sin() + 0.1, 0.0, 0.99), 0.085),
        shoulder: beside(chest, 0.105),
        hip: beside(pelvis, 0.055),
        elbow: [pelvis; 2],
        wrist: [pelvis; 2],
        fingers: [pelvis; 2],
        knee: [pelvis; 2],
        ankle: [pelvis; 2],
        toe: [pelvis; 2],
    };
    for side in 0..2 {
        hang_arm(&mut body, angles, side);
        hang_leg(&mut body, angles, side);
    }
    body
}

fn hang_arm(body: &mut Joints, angles: &Angles, side: usize) {
    let outward = if side == 0 { -1.0 } else { 1.0 };
    let (swing, raise) = (angles.shoulder[side], angles.raise[side]);
    let upper = Spot::hanging(swing, outward * raise);
    let lower = Spot::hanging(swing + angles.elbow[side], outward * (raise + angles.fold[side]));
    body.elbow[side] = body.shoulder[side].moved(upper, UPPER_ARM);
    body.wrist[side] = body.elbow[side].moved(lower, FOREARM);
    body.fingers[side] = body.wrist[side].moved(lower, HAND);
}

fn hang_leg(body: &mut Joints, angles: &Angles, side: usize) {
    let outward = if side == 0 { -0.04 } else { 0.04 };
    let thigh = angles.thigh[side];
    let shin = thigh - angles.knee[side];
    body.knee[side] = body.hip[side].moved(Spot::hanging(thigh, outward), THIGH);
    body.ankle[side] = body.knee[side].moved(Spot::hanging(shin, 0.0), SHIN);
    let pitch = (0.6 * shin).clamp(-0.8, 0.3);
    let sole = spot(pitch.cos(), 0.0, pitch.sin() - 0.3);
    body.toe[side] = body.ankle[side].moved(sole, FOOT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(a: Spot, b: Spot) -> f32 {
        (a.ahead - b.ahead).hypot(a.left - b.left).hypot(a.up - b.up)
    }

    #[test]
    fn a_person_is_about_one_high_and_stands_on_the_ground() {
        let body = joints(&Angles::default());
        let crown = body.head.up + 0.085;
        assert!((0.92..1.05).contains(&crown), "{crown}");
        assert!(body.ankle.iter().all(|ankle| (0.03..0.08).contains(&ankle.up)));
    }

    #[test]
    fn bones_keep_their_length_in_every_action() {
        for action in Action::ALL {
            for step in 0..24 {
                let body = joints(&action.angles(step as f32 * TAU / 24.0, 1.1));
                for side in 0..2 {
                    assert!((length(body.hip[side], body.knee[side]) - THIGH).abs() < 1e-5);
                    assert!((length(body.knee[side], body.ankle[side]) - SHIN).abs() < 1e-5);
                    assert!((length(body.elbow[side], body.wrist[side]) - FOREARM).abs() < 1e-5);
                    assert!(body.toe[side].up > 0.0, "{action:?} digs a toe in");
                }
            }
        }
    }

    #[test]
    fn actions_move_smoothly() {
        for action in Action::ALL {
            let wrist =
                |t: f32| joints(&action.angles(action.phase(action.speed() * t, t), 1.0)).wrist[0];
            for t in 0..100 {
                let moved = length(wrist(t as f32), wrist(t as f32 + 1.0));
                assert!(moved < 0.1, "{action:?} jumps by {moved} at {t}");
            }
        }
    }
}
