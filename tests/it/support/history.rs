//! What must hold of the history whatever was done to those who write it.

use lockstep::{
    domain::{
        audit::{
            checkpoint::{Checkpoint, VerifierKey},
            event::BEFORE_THE_FIRST,
            merkle,
        },
        canonical::Digest,
    },
    store::{Store, Verification},
};

/// Log, tree and checkpoints are whole: the events follow one another without a gap, every root
/// that was signed is the one that RFC 6962 defines over the events of then, and the walk over it
/// all finds nothing. Answers how many events there are, and the sizes of the checkpoints.
pub async fn assert_whole(store: &Store, key: &VerifierKey) -> (i64, Vec<i64>) {
    let mut leaves = Vec::new();
    let mut previous = BEFORE_THE_FIRST;
    let count = |leaves: &[Digest]| i64::try_from(leaves.len()).unwrap();
    // Before the head is looked at: what is appended meanwhile is of no concern.
    let checkpoints = store.checkpoints_from(0, i64::MAX).await.unwrap();
    let head = store.head().await.unwrap();
    while count(&leaves) < head.size {
        let page = store.events_from(count(&leaves), 1_000).await.unwrap();
        assert!(!page.is_empty(), "event {} is missing", leaves.len());
        for event in page {
            assert_eq!(event.sequence, count(&leaves));
            assert_eq!(event.previous, previous, "event {}", event.sequence);
            previous = event.hash;
            leaves.push(event.hash);
        }
    }
    let last = usize::try_from(head.size).unwrap() - 1;
    assert_eq!(leaves[last], head.hash);
    let mut sizes = Vec::new();
    for (number, kept) in (0..).zip(checkpoints) {
        let (signed, _) = Checkpoint::open(&kept.note, std::slice::from_ref(key)).unwrap();
        let size = usize::try_from(kept.size).unwrap();
        assert_eq!(
            (kept.number, signed.number()),
            (number, u64::try_from(number).ok())
        );
        assert_eq!(signed.size, kept.size.unsigned_abs());
        assert_eq!(signed.root, root_of(&leaves[..size]), "checkpoint {number}");
        sizes.push(kept.size);
    }
    let frontier = store.frontier_at(head.size).await.unwrap();
    assert_eq!(frontier.root(), root_of(&leaves[..=last]));
    let pins = if sizes.is_empty() {
        Vec::new()
    } else {
        vec![key.clone()]
    };
    let what = Verification {
        pins,
        ..Verification::default()
    };
    let mut walk = store.begin_walk(what).await.unwrap().unwrap();
    while !store.walk(&mut walk, 1_000).await.unwrap().unwrap() {}
    assert!(walk.next() >= head.size);
    (head.size, sizes)
}

/// As the RFC defines it, from the leaves alone.
fn root_of(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => merkle::empty_root(),
        [only] => *only,
        _ => {
            // The largest power of two that is smaller.
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            merkle::parent(root_of(left), root_of(right))
        }
    }
}
