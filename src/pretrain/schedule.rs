//! The learning rate of every step: a linear warm-up, then half a cosine.

use serde::{Deserialize, Serialize};

/// How the learning rate runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The rate at the end of the warm-up.
    pub peak: f64,
    /// The rate at the end.
    pub minimum: f64,
    /// Epochs of the warm-up.
    pub warmup_epochs: f64,
    /// All epochs.
    pub epochs: f64,
    /// Whether each step uses the rate that was due at the step before it, and the first one the
    /// peak: what the reference does, since it sets the rate after the step.
    pub after_step: bool,
}

impl Schedule {
    /// The peak for a batch of `batch` images: the base rate is meant for 256.
    pub fn scaled(base: f64, batch: usize) -> f64 {
        base * batch as f64 / 256.0
    }

    /// The rate of step number `step` (counted from 0) where an epoch has `steps_per_epoch`.
    pub fn at(&self, step: u64, steps_per_epoch: u64) -> f64 {
        match (self.after_step, step) {
            (false, step) => self.after(step as f64 / steps_per_epoch as f64),
            (true, 0) => self.peak,
            (true, step) => self.after((step - 1) as f64 / steps_per_epoch as f64),
        }
    }

    /// The rate after so many epochs.
    fn after(&self, epochs: f64) -> f64 {
        if epochs < self.warmup_epochs {
            return self.peak * epochs / self.warmup_epochs;
        }
        let rest = (self.epochs - self.warmup_epochs).max(f64::MIN_POSITIVE);
        let share = ((epochs - self.warmup_epochs) / rest).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        self.minimum + (self.peak - self.minimum) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule =
        Schedule { peak: 1.0, minimum: 0.1, warmup_epochs: 2.0, epochs: 10.0, after_step: false };

    #[test]
    fn warms_up_then_falls() {
        let at = |step| SCHEDULE.at(step, 4);
        assert_eq!([at(0), at(4), at(8)], [0.0, 0.5, 1.0]);
        // half of the way down after 4 of the 8 remaining epochs
        assert!((at(24) - 0.55).abs() < 1e-12);
        assert!((at(40) - 0.1).abs() < 1e-12 && (at(400) - 0.1).abs() < 1e-12);
        let falling = (8..40).map(at).collect::<Vec<_>>();
        assert!(falling.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn the_reference_is_a_step_behind() {
        let behind = Schedule { after_step: true, ..SCHEDULE };
        assert_eq!(behind.at(0, 4), 1.0);
        assert_eq!(behind.at(1, 4), 0.0);
        for step in 1..50 {
            assert_eq!(behind.at(step, 4), SCHEDULE.at(step - 1, 4));
        }
    }

    #[test]
    fn no_warm_up_is_allowed() {
        let flat = Schedule { warmup_epochs: 0.0, minimum: 1.0, ..SCHEDULE };
        assert_eq!(flat.at(0, 4), 1.0);
        assert_eq!(Schedule::scaled(1e-4, 2048), 8e-4);
    }
}
