//! Work on many things of one kind, on all cores, with the results in the order of the things.

use std::{num::NonZero, sync::Mutex, thread};

/// Fewer are not worth a thread.
const FEW: usize = 32;

/// How many a thread takes at a time: things differ in size.
const PORTION: usize = 16;

/// What `work` makes of each thing.
pub fn map<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let count = things.len();
    if count < FEW || cores == 1 {
        return things.into_iter().map(work).collect();
    }
    let waiting = Mutex::new(things.into_iter().enumerate());
    let worker = || {
        let mut done = Vec::new();
        loop {
            let portion: Vec<(usize, T)> = match waiting.lock() {
                Ok(mut waiting) => waiting.by_ref().take(PORTION).collect(),
                Err(_) => Vec::new(),
            };
            if portion.is_empty() {
                return done;
            }
            done.extend(portion.into_iter().map(|(at, thing)| (at, work(thing))));
        }
    };
    let mut done: Vec<(usize, R)> = Vec::with_capacity(count);
    thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(worker)).collect();
        done.extend(worker());
        for other in others {
            match other.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_things_however_many_there_are() {
        for count in [0, 1, FEW - 1, FEW, 1_000] {
            let things: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = things.iter().map(|thing| thing * 2).collect();
            assert_eq!(map(things, |thing| thing * 2), doubled);
        }
    }
}
