//! The rules that a configuration must satisfy before anything is read or written.

use super::{AdamWSettings, Config, EncoderSizes, Optimization, Reading};
use crate::autoencoder::{Mask, Method};
use crate::error::{Error, Result};
use crate::pretrain::rule::{self, Rule};
use crate::pretrain::samples::Kind;

/// The most pixels of a view's side: no picture has more.
const LARGEST: usize = 1 << 15;

impl Config {
    /// Checks what no type can: sizes that fit one another, shares that are shares.
    ///
    /// # Errors
    /// A setting makes no sense; the message names it by its key.
    pub fn check(&self) -> Result<()> {
        let Self { seed, epochs, encoder, views, optimization, reading, .. } = self;
        rule::check(encoder.rules())?;
        views.check()?;
        let whole = format!("a multiple of encoder.patch ({})", encoder.patch);
        let fits = views.size.is_multiple_of(encoder.patch);
        rule::check([
            Rule::new("views.size", views.size, whole, fits),
            Rule::new(
                "views.size",
                views.size,
                format!("at most {LARGEST}"),
                views.size <= LARGEST,
            ),
            Rule::new("epochs", *epochs, "at least 1", *epochs > 0),
            // TOML, in which a run keeps its settings, has no larger whole numbers
            Rule::new("seed", *seed, format!("at most {}", i64::MAX), i64::try_from(*seed).is_ok()),
        ])?;
        rule::check(optimization.rules(*epochs))?;
        rule::check(optimization.adamw.rules())?;
        rule::check(reading.rules())?;
        self.autoencoder().check()?;
        Mask::visible(self.autoencoder().patches(), self.masking_ratio)?;
        if self.method == Method::Siammae && reading.kind != Kind::Video {
            let problem = "is images, and siammae learns from two frames of a clip: pass videos or folders of frames and the setting `kind = video`, or take the setting `method = cropmae`";
            return Err(Error::setting("reading.kind", problem));
        }
        Ok(())
    }
}

impl EncoderSizes {
    fn rules(&self) -> Vec<Rule> {
        let Self { width, depth, heads, patch } = *self;
        let wanted = format!("a multiple of 4 and of encoder.heads ({heads})");
        let fits = width.is_multiple_of(4) && width.is_multiple_of(heads);
        vec![
            Rule::at_least(1, "encoder.width", width),
            Rule::at_least(1, "encoder.depth", depth),
            Rule::at_least(1, "encoder.heads", heads),
            Rule::at_least(1, "encoder.patch", patch),
            Rule::new("encoder.width", width, wanted, fits),
        ]
    }
}

impl Optimization {
    fn rules(&self, epochs: u64) -> Vec<Rule> {
        let (warmup, clip) = (self.warmup_epochs, self.clip_gradient);
        let within = "from 0 to the number of epochs";
        let is_within = (0.0..=epochs as f64).contains(&warmup);
        vec![
            Rule::at_least(1, "optimization.batch_size", self.batch_size),
            Rule::above_zero("optimization.base_learning_rate", self.base_learning_rate),
            Rule::zero_or_more("optimization.minimum_learning_rate", self.minimum_learning_rate),
            Rule::new("optimization.warmup_epochs", warmup, within, is_within),
            Rule::new("optimization.clip_gradient", clip, "0 (off) or more", clip >= 0.0),
            Rule::below_one("optimization.average_decay", self.average_decay),
        ]
    }
}

impl AdamWSettings {
    /// As PyTorch checks them, but for an epsilon of 0, which divides 0 by 0 where gradients are 0.
    fn rules(&self) -> Vec<Rule> {
        vec![
            Rule::below_one("optimization.adamw.beta1", self.beta1),
            Rule::below_one("optimization.adamw.beta2", self.beta2),
            Rule::above_zero("optimization.adamw.epsilon", self.epsilon),
            Rule::zero_or_more("optimization.adamw.weight_decay", self.weight_decay),
        ]
    }
}

impl Reading {
    fn rules(&self) -> Vec<Rule> {
        let [least, most] = self.frame_gap;
        let wanted = "the least, at least 1, then the most";
        let holds = (1..=most).contains(&least);
        vec![
            Rule::at_least(1, "reading.shuffle_buffer", self.shuffle_buffer),
            Rule::at_least(2, "reading.short_side", self.short_side),
            Rule::share("reading.max_unreadable", self.max_unreadable),
            Rule::new("reading.frame_gap", self.frame_gap, wanted, holds),
        ]
    }
}
