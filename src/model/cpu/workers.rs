//! Tasks for all cores, and the buffers that each core reuses from task to task.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::product::packed::Aligned;

/// What one core needs for itself, kept from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Worker {
    /// A panel of queries.
    pub(super) queries: Aligned,
    /// Its scores with all keys.
    pub(super) scores: Aligned,
    /// The mixtures of values of its queries, one column a query.
    pub(super) mixture: Aligned,
    /// Sums of a linear layer that are not complete.
    pub(super) sums: Aligned,
    /// A band of rows on its way into a linear layer.
    pub(super) rows: Vec<f32>,
    /// The hidden layer of a band's feed-forward.
    pub(super) hidden: Vec<f32>,
    /// The same after its gate, where it has one.
    pub(super) gated: Vec<f32>,
}

/// One for every thread of the pool that the caller is in.
pub(super) fn hire() -> Vec<Worker> {
    (0..rayon::current_num_threads()).map(|_| Worker::default()).collect()
}

/// Has the workers take one task after the other until none is left. Which worker does which is
/// left to chance, so a task must not depend on what its worker did before.
pub(super) fn share<T: Send>(
    workers: &mut [Worker],
    tasks: impl Iterator<Item = T> + Send,
    work: impl Fn(&mut Worker, T) + Sync,
) {
    let tasks = Mutex::new(tasks);
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
    workers.par_iter_mut().with_max_len(1).for_each(|worker| {
        while let Some(task) = next() {
            work(worker, task);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once() {
        let mut done = vec![0; 100];
        share(&mut hire(), done.iter_mut().enumerate(), |worker, (index, done)| {
            worker.rows.resize(index + 1, 0.0);
            *done += worker.rows.len();
        });
        assert_eq!(done, (1..=100).collect::<Vec<_>>());
    }
}
