//! Signals that come before a run has a place to stop at: while data is listed, a device opened, a
//! checkpoint read. Nothing is lost then, so the program ends at once, but says so. From the run's
//! first step on, [`interrupt`] asks it to stop.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::common::{interrupt, streams};

/// What is said of a run that made no step.
pub(crate) const NO_STEP: &str =
    "interrupted before the first step: nothing is lost, and the same command begins again";

/// Between two looks at whether a signal has come.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the program is still there. Held while it is being ended, so that no run begins then.
static BEGINNING: Mutex<bool> = Mutex::new(false);

/// From here on the first signal ends the program, until it is [`over`].
pub(crate) fn listen() {
    set(true);
    interrupt::listen();
    let watch = || {
        while end_if_asked() {
            std::thread::sleep(LOOK);
        }
    };
    // where the system gives no thread, a signal waits until the run has begun
    drop(std::thread::Builder::new().name("signals".into()).spawn(watch));
}

/// The run can stop by itself now.
pub(crate) fn over() {
    set(false);
}

/// Ends the program where a signal has come at its beginning. Otherwise returns whether it is there
/// still.
pub(crate) fn end_if_asked() -> bool {
    let beginning = BEGINNING.lock().unwrap_or_else(PoisonError::into_inner);
    if *beginning && interrupt::asked() {
        streams::note(NO_STEP);
        // not by way of `main`, which may be at work for long, nor of what libraries do at an exit
        signal_hook::low_level::exit(interrupt::status().into());
    }
    *beginning
}

fn set(beginning: bool) {
    *BEGINNING.lock().unwrap_or_else(PoisonError::into_inner) = beginning;
}
