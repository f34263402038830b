//! What the trials of a GPU's kernels have in common: how two results are compared, and that each
//! kernel is tried once. The trials themselves stand beside the kernels that they try. A leaf.

use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// Whether a value is above the most that it may be, or no number.
pub(crate) fn beyond(value: f64, most: f64) -> bool {
    value > most || value.is_nan()
}

/// The largest of some distances, at least 0; what is no number is farther than all.
pub(crate) fn farthest(distances: impl IntoIterator<Item = f64>) -> f64 {
    distances.into_iter().fold(0.0, |most, it| if beyond(it, most) { it } else { most })
}

/// What trials of this process have found, each by what was tried: the same kernel on the same
/// device in another shape of its data is tried again, the same once more is not.
pub(crate) struct Verdicts<K>(Mutex<Vec<(K, Option<String>)>>);

impl<K: PartialEq> Verdicts<K> {
    /// Nothing has been tried yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// What speaks against a kernel, in words; none where it computes what it should. `tried` is
    /// asked the first time.
    ///
    /// # Errors
    /// Those of `tried`, which are not kept: a device that has no room may have some later.
    pub(crate) fn of(
        &self,
        key: K,
        tried: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<Option<String>> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, verdict)) = kept().iter().find(|(known, _)| *known == key) {
            return Ok(verdict.clone());
        }
        // not under the lock: a thread that waits for others in it may be given another trial
        let verdict = tried()?;
        kept().push((key, verdict.clone()));
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn what_is_no_number_is_farther_than_all() {
        assert_eq!(farthest([0.25, 0.5, 0.125]), 0.5);
        assert!(farthest([f64::INFINITY, f64::NAN, 1.0]).is_nan());
        assert_eq!(farthest([]), 0.0);
        assert!(beyond(f64::NAN, f64::INFINITY) && beyond(2.0, 1.0) && !beyond(1.0, 1.0));
    }

    #[test]
    fn the_same_is_tried_once_and_an_error_is_no_verdict() {
        let verdicts = Verdicts::new();
        let mut tried = 0;
        let mut of = |key: u8, verdict: Option<&str>| {
            let found = verdicts.of(key, || {
                tried += 1;
                Ok(verdict.map(str::to_owned))
            });
            found.unwrap()
        };
        assert_eq!(of(1, Some("wrong")).as_deref(), Some("wrong"));
        assert_eq!(of(1, None).as_deref(), Some("wrong"));
        assert_eq!(of(2, None), None);
        assert_eq!(of(2, Some("wrong")), None);
        assert_eq!(tried, 2);
        assert!(verdicts.of(3, || Err(Error::Device("no room".into()))).is_err());
        assert_eq!(verdicts.of(3, || Ok(None)).unwrap(), None);
    }
}
