//! Rules for the values of a configuration: what must hold, and what to say if it does not.
//!
//! Each group of settings lists its rules; [`check`] goes through such a table in order.

use std::fmt::Debug;

use crate::error::{Error, Result};

/// What must hold of one value.
#[derive(Debug)]
pub(super) struct Rule {
    /// The value's key in a configuration: `optimization.batch_size`.
    key: &'static str,
    value: String,
    /// Completes "it must be".
    wanted: String,
    holds: bool,
}

impl Rule {
    pub(super) fn new(
        key: &'static str,
        value: impl Debug,
        wanted: impl Into<String>,
        holds: bool,
    ) -> Self {
        Self { key, value: format!("{value:?}"), wanted: wanted.into(), holds }
    }

    /// A whole number of at least `least`.
    pub(super) fn at_least(least: usize, key: &'static str, value: usize) -> Self {
        Self::new(key, value, format!("at least {least}"), value >= least)
    }

    /// A finite number above 0.
    pub(super) fn above_zero(key: &'static str, value: f64) -> Self {
        Self::new(key, value, "a number above 0", value > 0.0 && value.is_finite())
    }

    /// A finite number that is not negative.
    pub(super) fn zero_or_more(key: &'static str, value: f64) -> Self {
        Self::new(key, value, "0 or more, and finite", value >= 0.0 && value.is_finite())
    }

    /// A share or a probability.
    pub(super) fn share(key: &'static str, value: f64) -> Self {
        Self::new(key, value, "a number from 0 to 1", (0.0..=1.0).contains(&value))
    }

    /// A factor by which something is kept at each step, and which must not keep all.
    pub(super) fn below_one(key: &'static str, value: f64) -> Self {
        Self::new(key, value, "at least 0 and below 1", (0.0..1.0).contains(&value))
    }

    /// The least and the most of a range of numbers above 0.
    pub(super) fn range(key: &'static str, [low, high]: [f64; 2]) -> Self {
        let holds = low > 0.0 && low <= high && high.is_finite();
        Self::new(key, [low, high], "two numbers above 0, the smaller first", holds)
    }

    /// The least and the most of a range of shares.
    pub(super) fn shares(key: &'static str, [low, high]: [f64; 2]) -> Self {
        let holds = low > 0.0 && low <= high && high <= 1.0;
        let wanted = "two numbers above 0 and at most 1, the smaller first";
        Self::new(key, [low, high], wanted, holds)
    }
}

/// Goes through a table of rules.
///
/// # Errors
/// A rule does not hold: the first one that does not, named by its key.
pub(super) fn check(rules: impl IntoIterator<Item = Rule>) -> Result<()> {
    match rules.into_iter().find(|rule| !rule.holds) {
        Some(Rule { key, value, wanted, .. }) => {
            Err(Error::setting(key, format!("is {value}: it must be {wanted}")))
        }
        None => Ok(()),
    }
}
