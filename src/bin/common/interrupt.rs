//! Ctrl-C: the first one asks a run to stop and to print the table of the finished clips; the
//! second one ends the program at once. Both give the exit status that shells expect of an
//! interrupted program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// The exit status: 128 and the number of the signal.
pub(crate) const STATUS: u8 = 130;

/// Set by the first Ctrl-C, once somebody listens.
static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on Ctrl-C is a question. Where the system does not allow that, it stays what it was.
pub(crate) fn listen() {
    let asked = ASKED.get_or_init(Arc::default);
    // in this order: at the first signal the one below has not set the flag yet
    let second = flag::register_conditional_shutdown(SIGINT, STATUS.into(), Arc::clone(asked));
    if second.is_ok() {
        let _ = flag::register(SIGINT, Arc::clone(asked));
    }
}

/// Whether to stop.
pub(crate) fn asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}
