//! How the library reports progress without printing: a caller passes an [`Observer`]. A leaf.

use crate::error::Error;

/// Is told of progress, from the thread that works on a clip.
pub trait Observer: Sync {
    /// A clip with this many frames begins.
    fn clip_started(&self, clip: &str, frames: usize) {
        let _ = (clip, frames);
    }

    /// One more frame of it is done.
    fn frame_done(&self) {}

    /// Something about the clip that the user should know now, and that changes no result.
    fn clip_noted(&self, clip: &str, note: &str) {
        let _ = (clip, note);
    }

    /// The clip is done and stored; `score` is the headline over all clips so far, as a fraction.
    fn clip_finished(&self, clip: &str, score: Option<f64>) {
        let _ = (clip, score);
    }

    /// The clip was done by an earlier run.
    fn clip_resumed(&self, clip: &str, frames: usize) {
        let _ = (clip, frames);
    }

    /// Whether to stop: asked before every clip and every frame. What is done is kept, the clip in
    /// work is given up.
    fn stops(&self) -> bool {
        false
    }

    /// The clip cannot be done; the run goes on.
    fn clip_failed(&self, clip: &str, error: &Error) {
        let _ = (clip, error);
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {}
