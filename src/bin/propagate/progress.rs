//! Progress on stderr: a bar on a terminal, a line per clip elsewhere.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cropmae::Error;
use cropmae::progress::Observer;
use cropmae::protocol::Benchmark;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::clips::Clips;
use crate::show::note;

/// The progress of a run.
pub(crate) struct Bars {
    bar: ProgressBar,
    metric: &'static str,
    /// Whether clips are reported as lines, since a bar would not be seen.
    lines: bool,
    clips: usize,
    state: Mutex<State>,
}

struct State {
    /// Clips behind us, done or failed.
    clips: usize,
    /// Frames of all clips behind us.
    frames: usize,
    /// The clip being worked on: its frames and its begin.
    current: usize,
    started: Instant,
    /// The running score, in words.
    score: String,
}

impl Bars {
    pub(crate) fn new(benchmark: Benchmark, clips: &Clips, quiet: bool) -> Self {
        let frames: usize = clips.list().iter().map(|(_, frames)| frames).sum();
        let lines = !quiet && !std::io::stderr().is_terminal();
        let target = match quiet || lines {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(frames as u64), target);
        let style = "{bar:24} {pos}/{len} frames, {rate}, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{:.1} frames/s", state.per_sec());
            }));
        }
        let metric = match benchmark {
            Benchmark::Davis => "J&F",
            Benchmark::Vip => "mIoU",
            Benchmark::Jhmdb => "PCK@0.1",
        };
        let state = State {
            clips: 0,
            frames: 0,
            current: 0,
            started: Instant::now(),
            score: String::new(),
        };
        Self { bar, metric, lines, clips: clips.asked(), state: Mutex::new(state) }
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
        self.bar.set_position(state.frames as u64);
        format!("[{}/{}] {clip}", state.clips, self.clips)
    }

    /// The frames of the clip being worked on, 0 where it was not begun, and the seconds so far.
    fn taken(&self) -> (usize, f64) {
        let mut state = self.state();
        (std::mem::take(&mut state.current), state.started.elapsed().as_secs_f64())
    }

    /// A line that stays, above the bar where there is one.
    fn line(&self, text: &str) {
        match self.lines {
            true => note(text),
            false => self.bar.println(text),
        }
    }
}

impl Observer for Bars {
    fn clip_started(&self, clip: &str, frames: usize) {
        let mut state = self.state();
        (state.current, state.started) = (frames, Instant::now());
        self.bar.set_message(format!("{clip}{}", state.score));
    }

    fn frame_done(&self) {
        self.bar.inc(1);
    }

    fn clip_finished(&self, clip: &str, score: Option<f64>) {
        let (frames, seconds) = self.taken();
        let place = self.behind(clip, frames);
        let score = score
            .map(|score| format!(", {} {:.1} so far", self.metric, 100.0 * score))
            .unwrap_or_default();
        if self.lines {
            self.line(&format!("{place}: {:.1} frames/s{score}", frames as f64 / seconds));
        }
        self.state().score = score;
    }

    fn clip_resumed(&self, clip: &str, frames: usize) {
        let place = self.behind(clip, frames);
        if self.lines {
            self.line(&format!("{place}: done by an earlier run"));
        }
    }

    fn clip_failed(&self, clip: &str, error: &Error) {
        let (frames, _) = self.taken();
        let place = self.behind(clip, frames);
        self.line(&format!("{place}: failed: {}", error.explained()));
    }
}
