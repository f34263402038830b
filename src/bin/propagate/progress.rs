//! Progress on stderr: a bar on a terminal, a line per clip elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Instant;

use cropmae::Error;
use cropmae::progress::Observer;
use cropmae::protocol::Benchmark;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
    done: usize,
    frames: usize,
    started: Instant,
}

impl Bars {
    pub(crate) fn new(benchmark: Benchmark, clips: &[(&str, usize)], quiet: bool) -> Self {
        let frames: usize = clips.iter().map(|(_, frames)| frames).sum();
        let lines = !quiet && !std::io::stderr().is_terminal();
        let target = match quiet || lines {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(frames as u64), target);
        let style = "{bar:24} {pos}/{len} frames, {per_sec:.1}, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        let metric = match benchmark {
            Benchmark::Davis => "J&F",
            Benchmark::Vip => "mIoU",
            Benchmark::Jhmdb => "PCK@0.1",
        };
        let state = State { done: 0, frames: 0, started: Instant::now() };
        Self { bar, metric, lines, clips: clips.len(), state: Mutex::new(state) }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Observer for Bars {
    fn clip_started(&self, clip: &str, frames: usize) {
        self.with(|state| (state.frames, state.started) = (frames, Instant::now()));
        self.bar.set_prefix(clip.to_owned());
        self.bar.set_message(clip.to_owned());
    }

    fn frame_done(&self) {
        self.bar.inc(1);
    }

    fn clip_finished(&self, clip: &str, score: Option<f64>) {
        let (done, rate) = self.with(|state| {
            state.done += 1;
            (state.done, state.frames as f64 / state.started.elapsed().as_secs_f64())
        });
        let score = score
            .map(|score| format!(", {} {:.1} so far", self.metric, 100.0 * score))
            .unwrap_or_default();
        if self.lines {
            eprintln!("[{done}/{}] {clip}: {rate:.1} frames/s{score}", self.clips);
        }
        self.bar.set_message(format!("{clip} done{score}"));
    }

    fn clip_resumed(&self, clip: &str, frames: usize) {
        let done = self.with(|state| {
            state.done += 1;
            state.done
        });
        self.bar.inc(frames as u64);
        if self.lines {
            eprintln!("[{done}/{}] {clip}: done by an earlier run", self.clips);
        }
    }

    fn clip_failed(&self, clip: &str, _: &Error) {
        let done = self.with(|state| {
            state.done += 1;
            state.done
        });
        if self.lines {
            eprintln!("[{done}/{}] {clip}: failed", self.clips);
        }
    }
}
