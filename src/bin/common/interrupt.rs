//! Ctrl-C, and the signal that a scheduler sends before it kills (SIGTERM): the first one asks a
//! run to stop where it can go on later, the second one ends the program at once. Either gives the
//! exit status that shells expect of a program that a signal ended. And the signal that would end
//! it without a word where a file grows too large.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use cropmae::progress::Observer;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Set by the first signal, once somebody listens.
static ASKED: OnceLock<Asked> = OnceLock::new();

#[derive(Default)]
struct Asked {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// From here on the signals are a question. Where the system does not allow that, they stay what
/// they were.
pub(crate) fn listen() {
    if ASKED.get().is_some() {
        return;
    }
    let Asked { asked, signal } = ASKED.get_or_init(Asked::default);
    for number in [SIGINT, SIGTERM] {
        // in this order: at the first signal the last one has not set the flag yet
        let at_once = flag::register_conditional_shutdown(number, 128 + number, Arc::clone(asked));
        if at_once.is_ok() {
            let _ = flag::register_usize(number, Arc::clone(signal), number as usize);
            let _ = flag::register(number, Arc::clone(asked));
        }
    }
}

/// Has a file that grows beyond what this process may write (`ulimit -f`) be an error of writing it,
/// as on a full disk.
pub(crate) fn fail_at_file_limits() {
    #[cfg(unix)]
    let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Whether to stop.
pub(crate) fn asked() -> bool {
    ASKED.get().is_some_and(|it| it.asked.load(Ordering::Acquire))
}

/// The exit status of a program that stopped because it was asked to: 128 and the number of the
/// signal.
pub(crate) fn status() -> u8 {
    let signal = ASKED.get().map_or(0, |it| it.signal.load(Ordering::Acquire));
    if signal == SIGTERM as usize { 143 } else { 130 }
}

/// Has what it watches stop when a signal asks for it, and says nothing.
pub(crate) struct Interruptible;

impl Observer for Interruptible {
    fn stops(&self) -> bool {
        asked()
    }
}
