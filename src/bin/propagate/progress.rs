//! Progress on stderr: a bar on a terminal that can draw one, one line per clip elsewhere.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cropmae::Error;
use cropmae::data::Opened;
use cropmae::progress::Observer;
use cropmae::protocol::Benchmark;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::common::flags::{explained, flagged};
use crate::interrupt;
use crate::show::note;

/// The progress of a run.
pub(crate) struct Bars {
    bar: ProgressBar,
    metric: &'static str,
    /// Whether clips are reported as lines, since a bar would not be seen.
    lines: bool,
    clips: usize,
    /// Whether every clip is taken through several settings, whose scores are not one another's.
    sweep: bool,
    state: Mutex<State>,
}

struct State {
    /// Clips behind us, done or failed.
    clips: usize,
    /// Frames of all clips behind us.
    frames: usize,
    /// The clips being worked on: their frames and their begin.
    current: HashMap<String, (usize, Instant)>,
    /// The running score, in words.
    score: String,
}

impl Bars {
    /// For this many settings.
    pub(crate) fn new(clips: &Opened, settings: usize, quiet: bool) -> Self {
        let overview = clips.overview();
        let frames = settings * overview.frames();
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(frames as u64), target);
        let lines = !quiet && bar.is_hidden();
        let style = "{bar:24} {pos}/{len} frames, {rate}, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{:.1} frames/s", state.per_sec());
            }));
        }
        let metric = match clips.benchmark() {
            Benchmark::Davis => "J&F",
            Benchmark::Vip => "mIoU",
            Benchmark::Jhmdb => "PCK@0.1",
        };
        let state = State { clips: 0, frames: 0, current: HashMap::new(), score: String::new() };
        let (clips, sweep, state) = (settings * overview.asked(), settings > 1, Mutex::new(state));
        Self { bar, metric, lines, clips, sweep, state }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a clip of so many frames behind; how it begins a line, such as `[2/30] bear`.
    fn behind(&self, clip: &str, frames: usize) -> String {
        let mut state = self.state();
        (state.clips, state.frames) = (state.clips + 1, state.frames + frames);
        if state.current.is_empty() {
            self.bar.set_position(state.frames as u64);
        }
        format!("[{}/{}] {clip}", state.clips, self.clips)
    }

    /// The frames of a clip that was worked on, 0 where it was not begun, and its seconds so far.
    fn taken(&self, clip: &str) -> (usize, f64) {
        let taken = self.state().current.remove(clip);
        taken.map_or((0, 0.0), |(frames, started)| (frames, started.elapsed().as_secs_f64()))
    }

    /// A line that stays, above the bar where there is one.
    fn line(&self, text: &str) {
        match self.lines {
            true => note(text),
            false => self.bar.println(flagged(text)),
        }
    }
}

impl Observer for Bars {
    fn clip_started(&self, clip: &str, frames: usize) {
        let mut state = self.state();
        state.current.insert(clip.to_owned(), (frames, Instant::now()));
        self.bar.set_message(format!("{clip}{}", state.score));
    }

    fn frame_done(&self) {
        self.bar.inc(1);
    }

    fn clip_finished(&self, clip: &str, score: Option<f64>) {
        let (frames, seconds) = self.taken(clip);
        let place = self.behind(clip, frames);
        let score = score
            .map(|score| format!(", {} {:.1} so far", self.metric, 100.0 * score))
            .unwrap_or_default();
        if self.lines {
            self.line(&format!("{place}: {:.1} frames/s{score}", frames as f64 / seconds));
        }
        self.state().score = if self.sweep { String::new() } else { score };
    }

    fn stops(&self) -> bool {
        interrupt::asked()
    }

    fn clip_noted(&self, clip: &str, note: &str) {
        self.line(&format!("{clip}: {note}"));
    }

    fn clip_resumed(&self, clip: &str, frames: usize) {
        let place = self.behind(clip, frames);
        if self.lines {
            self.line(&format!("{place}: done by an earlier run"));
        }
    }

    fn clip_failed(&self, clip: &str, error: &Error) {
        let (frames, _) = self.taken(clip);
        let place = self.behind(clip, frames);
        self.line(&format!("{place}: failed: {}", explained(error)));
    }
}

/// The progress of one setting among several.
pub(crate) struct OfSetting<'a> {
    pub(crate) bars: &'a Bars,
    /// The setting in words.
    pub(crate) setting: &'a str,
}

impl OfSetting<'_> {
    fn named(&self, clip: &str) -> String {
        format!("{clip} ({})", self.setting)
    }
}

impl Observer for OfSetting<'_> {
    fn clip_started(&self, clip: &str, frames: usize) {
        self.bars.clip_started(&self.named(clip), frames);
    }

    fn frame_done(&self) {
        self.bars.frame_done();
    }

    fn stops(&self) -> bool {
        self.bars.stops()
    }

    fn clip_noted(&self, clip: &str, note: &str) {
        self.bars.clip_noted(clip, note);
    }

    fn clip_finished(&self, clip: &str, score: Option<f64>) {
        self.bars.clip_finished(&self.named(clip), score);
    }

    fn clip_resumed(&self, clip: &str, frames: usize) {
        self.bars.clip_resumed(&self.named(clip), frames);
    }

    fn clip_failed(&self, clip: &str, error: &Error) {
        self.bars.clip_failed(&self.named(clip), error);
    }
}
