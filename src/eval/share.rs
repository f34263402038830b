//! Parallel work: clips distributed over workers, and the two halves of one clip's work overlapped.
//!
//! Neither changes a result: one worker labels a clip, and items pass from one thread to the next
//! in order.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Result};

/// Calls `each` with a worker's number and an item, for every item once: the workers take one after
/// the other, so none waits while there are some left. After an error nothing new is begun.
///
/// # Errors
/// The first one that any call gave.
pub(super) fn share_out<T: Sync>(
    items: &[T],
    workers: usize,
    each: impl Fn(usize, &T) -> Result<()> + Sync,
) -> Result<()> {
    let workers = workers.min(items.len());
    if workers <= 1 {
        return items.iter().try_for_each(|item| each(0, item));
    }
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let work = |worker: usize| {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = each(worker, item) {
                next.store(items.len(), Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        let work = &work;
        (0..workers).for_each(|worker| drop(scope.spawn(move || work(worker))));
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Labelled frames that wait to be read out.
pub(super) const WAITING: usize = 4;

/// Producer and consumer: `make` runs on this thread, `take` on another; at most `waiting` items
/// queue between them. Returns `take`'s state.
///
/// # Errors
/// Either fails; the other then stops at its next item.
pub(super) fn overlapped<T: Send, S: Send>(
    waiting: usize,
    mut state: S,
    make: impl FnOnce(&mut dyn FnMut(T) -> Result<()>) -> Result<()>,
    take: impl Fn(&mut S, T) -> Result<()> + Sync,
) -> Result<S> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(waiting);
        let take = &take;
        let taker = scope.spawn(move || {
            receiver.iter().try_for_each(|item| take(&mut state, item)).map(|()| state)
        });
        // what `take` failed with is what is told
        let made = make(&mut |item| sender.send(item).map_err(|_| Error::Stopped));
        drop(sender);
        let taken = taker.join().unwrap_or_else(|panic| resume_unwind(panic));
        // Where the taker has failed, `make` knows no more than that nobody listens.
        let state = taken?;
        made.map(|()| state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_by_some_worker() {
        for workers in [1, 3, 50] {
            let done = Mutex::new(vec![0; 20]);
            let items: Vec<usize> = (0..20).collect();
            share_out(&items, workers, |worker, &item| {
                assert!(worker < workers);
                done.lock().unwrap()[item] += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!(*done.lock().unwrap(), [1; 20]);
        }
        share_out(&[] as &[usize], 4, |_, _| panic!("nothing to do")).unwrap();
    }

    #[test]
    fn an_error_ends_the_work() {
        let begun = AtomicUsize::new(0);
        let items: Vec<usize> = (0..10_000).collect();
        let error = share_out(&items, 2, |_, &item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if item == 3 { Err(Error::setting("x", "three")) } else { Ok(()) }
        });
        assert!(error.unwrap_err().to_string().contains("three"));
        assert!(begun.into_inner() <= items.len());
    }

    #[test]
    fn items_come_in_order_and_the_state_comes_back() {
        let make = |hand: &mut dyn FnMut(usize) -> Result<()>| (0..100).try_for_each(hand);
        let taken = overlapped(2, Vec::new(), make, |seen, item| {
            seen.push(item);
            Ok(())
        });
        assert_eq!(taken.unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_error_of_the_side_that_failed_is_told() {
        let endless = |hand: &mut dyn FnMut(usize) -> Result<()>| (0..).try_for_each(hand);
        let error = overlapped(1, (), endless, |(), item| match item {
            5 => Err(Error::setting("x", "five")),
            _ => Ok(()),
        });
        assert!(error.unwrap_err().to_string().contains("five"));
        let failing = |hand: &mut dyn FnMut(usize) -> Result<()>| {
            hand(1)?;
            Err(Error::setting("x", "made"))
        };
        let error = overlapped(1, 0, failing, |_, _| Ok(()));
        assert!(error.unwrap_err().to_string().contains("made"));
    }
}
