//! Work on many things of one kind, on all cores, with the results in the order of the things.

use std::{iter, num::NonZero, sync::Mutex, thread};

/// Fewer are not worth a thread.
const FEW: usize = 32;

/// How many a thread takes at a time: things differ in size.
const PORTION: usize = 16;

/// What `work` makes of each thing.
pub fn map<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let portions = portions(things, |portion| -> Vec<R> {
        portion.into_iter().map(&work).collect()
    });
    portions.into_iter().flatten().collect()
}

/// What `work` makes of some of the things at a time, all of them if they are few.
pub fn portions<T: Send, R: Send>(things: Vec<T>, work: impl Fn(Vec<T>) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if things.len() < FEW || cores == 1 {
        return vec![work(things)];
    }
    let waiting = Mutex::new((0_usize, things.into_iter()));
    let next = || {
        let mut waiting = waiting.lock().ok()?;
        let (number, things) = &mut *waiting;
        *number += 1;
        let portion: Vec<T> = things.by_ref().take(PORTION).collect();
        (!portion.is_empty()).then_some((*number, portion))
    };
    let worker = || -> Vec<(usize, R)> {
        iter::from_fn(next)
            .map(|(number, portion)| (number, work(portion)))
            .collect()
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(worker)).collect();
        let mut done = worker();
        for other in others {
            match other.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
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
