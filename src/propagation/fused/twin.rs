//! What `affinity.cu` computes, on the CPU: the same plan in the same order, the same rounding of
//! features, sums in f32 (in another order).
//!
//! Without a GPU the tests run this in its place, so that the plan, the ring and the roles of its
//! frames are compared with the other engines on every machine.

use candle_core::Tensor;
use half::bf16;

use super::plan::{Plan, packed};
use super::{Arithmetic, LabelMap, Step};
use crate::error::Result;
use crate::propagation::nearest::{Candidate, Nearest};

/// The context's frames.
pub(super) struct Ring {
    arithmetic: Arithmetic,
    /// Rows of features by slot.
    features: Vec<Vec<f32>>,
    /// [slots, h·w, C]
    labels: Vec<f32>,
}

impl Ring {
    pub(super) fn new(arithmetic: Arithmetic, labels: &LabelMap, room: usize) -> Self {
        let mut values = labels.values.clone();
        values.resize(room * labels.values.len(), f32::NAN);
        Self { arithmetic, features: vec![Vec::new(); room], labels: values }
    }

    /// Makes room for so many slots.
    pub(super) fn reserve(&mut self, step: &Step, room: usize) {
        self.features.resize(room, Vec::new());
        self.labels.resize(room * step.labels(0).len(), f32::NAN);
    }

    pub(super) fn stow(&mut self, step: &Step, features: &Tensor) -> Result<()> {
        let mut rows: Vec<f32> = features.flatten_all()?.to_vec1()?;
        match self.arithmetic {
            Arithmetic::F32 => {}
            Arithmetic::Tf32 => rows.iter_mut().for_each(|value| *value = to_tf32(*value)),
            Arithmetic::Bf16 => {
                rows.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32());
            }
        }
        self.features[step.query as usize] = rows;
        Ok(())
    }

    /// Labels the frame in slot `step.query`.
    pub(super) fn propagate(&mut self, step: &Step, plan: &Plan) -> Vec<f32> {
        let channels = step.channels as usize;
        let mut labels = vec![0.0; step.cells() * channels];
        for tile in 0..plan.tiles {
            for query in plan.of_tile(tile) {
                let nearest = self.search(step, plan, tile, query);
                let out = &mut labels[cell(step, query) * channels..][..channels];
                for (neighbor, weight) in nearest.weights(step.temperature) {
                    let row = slot(step, neighbor.source) * step.cells() + neighbor.cell as usize;
                    let label = &self.labels[row * channels..][..channels];
                    out.iter_mut().zip(label).for_each(|(out, label)| *out += weight * label);
                }
            }
        }
        self.labels[step.labels(step.query)].copy_from_slice(&labels);
        labels
    }

    fn search(&self, step: &Step, plan: &Plan, tile: usize, query: u32) -> Nearest {
        let mut nearest = Nearest::new(step.topk as usize, step.keep_ties != 0);
        let row = |slot: usize, place: u32| {
            let width = self.features[slot].len() / step.cells();
            &self.features[slot][cell(step, place) * width..][..width]
        };
        for source in 0..step.sources {
            let (free, near) = if source == 0 { (step.free, step.near) } else { (0, 1) };
            for &key in plan.list(tile, free > 0) {
                let copies = free + if plan.inside(query, key) { near } else { 0 };
                if copies > 0 {
                    let key_row = row(slot(step, source), key);
                    let score = dot(row(step.query as usize, query), key_row);
                    let cell = cell(step, key) as u32;
                    nearest.offer(Candidate { score, source, cell, copies });
                }
            }
        }
        nearest
    }
}

fn slot(step: &Step, source: u32) -> usize {
    (if source == 0 { 0 } else { 1 + (step.oldest + source - 1) % step.slots }) as usize
}

fn cell(step: &Step, place: u32) -> usize {
    let (y, x) = (place >> 16, place & 0xffff);
    debug_assert_eq!(place, packed((y as usize, x as usize)));
    (y * step.width + x) as usize
}

/// Eight sums at a time, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// To 10 bits behind the leading one, halves away from zero.
fn to_tf32(value: f32) -> f32 {
    f32::from_bits((value.to_bits() + 0x1000) & !0x1fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_keeps_ten_bits() {
        let step = 2.0_f32.powi(-10);
        assert_eq!(to_tf32(1.0 + step), 1.0 + step);
        assert_eq!(to_tf32(1.0 + 0.49 * step), 1.0);
        assert_eq!(to_tf32(-1.0 - 0.5 * step), -1.0 - step);
    }
}
