//! The Merkle tree of RFC 6962 over the history: the hash of an event is the leaf at its sequence
//! number. Pure: whoever asks for a proof is told which nodes it takes, fetches them from wherever
//! they are kept, and puts it together; whoever checks one needs nothing but the proof.
//!
//! A tree is kept as its [`Frontier`], the roots of the complete subtrees that it is made of: one
//! for each bit of its size. Appending needs no more, and nothing that is complete ever changes.

use std::{fmt, ops::Range};

use sha2::{Digest as _, Sha256};

use crate::domain::canonical::Digest;

/// A node that never changes again: the root of the complete subtree over the leaves
/// `index · 2^level .. (index + 1) · 2^level`. Of level 0 are the leaves themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub level: u32,
    pub index: u64,
}

impl Node {
    /// The leaves that it stands for.
    pub fn leaves(self) -> Range<u64> {
        self.index << self.level..(self.index + 1) << self.level
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of level {}", self.index, self.level)
    }
}

/// The hash of a leaf of any other log: `SHA-256(0x00 ‖ content)`. An event's hash is one already.
pub fn leaf(content: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0x00]);
    hasher.update(content);
    Digest(hasher.finalize().into())
}

/// The hash above two others: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn parent(left: Digest, right: Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0x01]);
    hasher.update(left.0);
    hasher.update(right.0);
    Digest(hasher.finalize().into())
}

/// The root of the tree without leaves.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// A tree as far as appending to it needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees, the largest first: one for each bit of `size`.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The frontier of a tree of this size, from the hashes of [`peaks`], in their order.
    pub fn of(size: u64, hashes: Vec<Digest>) -> Option<Self> {
        (hashes.len() == size.count_ones() as usize).then_some(Self {
            size,
            peaks: hashes,
        })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf, and tells of every node that it completes, the leaf itself among them.
    pub fn append(&mut self, leaf: Digest, mut completed: impl FnMut(Node, Digest)) {
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        completed(node, hash);
        while node.index % 2 == 1 {
            let left = self
                .peaks
                .pop()
                .expect("a node with an odd index has its left sibling in the frontier");
            hash = parent(left, hash);
            node = Node {
                level: node.level + 1,
                index: node.index / 2,
            };
            completed(node, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    pub fn root(&self) -> Digest {
        fold(&self.peaks).unwrap_or_else(empty_root)
    }
}

/// The complete subtrees that the tree of this size is made of, the largest first.
pub fn peaks(size: u64) -> Vec<Node> {
    complete_subtrees(&(0..size))
}

/// The complete subtrees over a range of leaves, from the left, as the tree cuts it: it begins
/// where a subtree of at least its length begins.
fn complete_subtrees(range: &Range<u64>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut begin = range.start;
    while begin < range.end {
        let level = (range.end - begin).ilog2();
        nodes.push(Node {
            level,
            index: begin >> level,
        });
        begin += 1 << level;
    }
    nodes
}

/// The root over complete subtrees that stand side by side, the largest first.
fn fold(hashes: &[Digest]) -> Option<Digest> {
    let (last, before) = hashes.split_last()?;
    let root = before
        .iter()
        .rev()
        .fold(*last, |right, left| parent(*left, right));
    Some(root)
}

/// Which hashes a proof consists of, before they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe(Vec<Range<u64>>);

/// A node that a proof takes and nobody had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no {0}")]
pub struct Missing(pub Node);

impl Recipe {
    /// That the leaf at `index` is in the tree of `size` leaves. `None` when it cannot be.
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let mut path = Vec::new();
        let mut whole = 0..size;
        while whole.end - whole.start > 1 {
            let middle = middle(&whole);
            if index < middle {
                path.push(middle..whole.end);
                whole.end = middle;
            } else {
                path.push(whole.start..middle);
                whole.start = middle;
            }
        }
        path.reverse();
        Some(Self(path))
    }

    /// That the tree of `old` leaves is the beginning of the tree of `new` leaves. `None` when it
    /// cannot be. Nothing has to be proved of an empty tree, or of a tree and itself.
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        if old > new {
            return None;
        }
        let mut path = Vec::new();
        let mut whole = 0..new;
        if old == 0 {
            return Some(Self(path));
        }
        while old != whole.end {
            let middle = middle(&whole);
            if old <= middle {
                path.push(middle..whole.end);
                whole.end = middle;
            } else {
                path.push(whole.start..middle);
                whole.start = middle;
            }
        }
        // Whoever checks has the old root; only what is a part of it must be told.
        if whole.start > 0 {
            path.push(whole);
        }
        path.reverse();
        Some(Self(path))
    }

    /// The nodes that it takes.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.0.iter().flat_map(complete_subtrees)
    }

    /// The proof, from the hashes of its nodes.
    pub fn prove(&self, hash: impl Fn(Node) -> Option<Digest>) -> Result<Vec<Digest>, Missing> {
        self.0
            .iter()
            .map(|range| {
                let hashes: Vec<Digest> = complete_subtrees(range)
                    .into_iter()
                    .map(|node| hash(node).ok_or(Missing(node)))
                    .collect::<Result<_, _>>()?;
                Ok(fold(&hashes).expect("no range of a proof is empty"))
            })
            .collect()
    }
}

/// Where the tree over these leaves is cut in two: the left side has the largest power of two that
/// is smaller than the whole. There are at least two leaves.
fn middle(whole: &Range<u64>) -> u64 {
    whole.start + (1 << (whole.end - whole.start - 1).ilog2())
}

/// A proof that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("the proof does not have the length that the tree's size asks for")]
    Length,
    #[error("the proof does not lead to the tree's root")]
    Root,
    #[error("the proof does not lead to the root of the older tree")]
    OldRoot,
}

/// Checks that `leaf` is at `index` in the tree of `size` leaves with this root.
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    size: u64,
    root: Digest,
    proof: &[Digest],
) -> Result<(), Unproven> {
    let path = Recipe::inclusion(index, size).ok_or(Unproven::Length)?.0;
    if path.len() != proof.len() {
        return Err(Unproven::Length);
    }
    let reached = path.iter().zip(proof).fold(leaf, |hash, (range, sibling)| {
        if index < range.start {
            parent(hash, *sibling)
        } else {
            parent(*sibling, hash)
        }
    });
    if reached == root {
        Ok(())
    } else {
        Err(Unproven::Root)
    }
}

/// Checks that the tree of `old` leaves is the beginning of the tree of `new` leaves: nothing was
/// taken from it or changed in it.
pub fn verify_consistency(
    old: u64,
    old_root: Digest,
    new: u64,
    new_root: Digest,
    proof: &[Digest],
) -> Result<(), Unproven> {
    let path = Recipe::consistency(old, new).ok_or(Unproven::Length)?.0;
    if path.len() != proof.len() {
        return Err(Unproven::Length);
    }
    if old == 0 {
        let is_empty = old_root == empty_root();
        return is_empty.then_some(()).ok_or(Unproven::OldRoot);
    }
    if old == new {
        return if old_root == new_root {
            Ok(())
        } else {
            Err(Unproven::Root)
        };
    }
    // The innermost subtree that both trees have whole: the first of the proof, or the old tree.
    let mut steps = path.iter().zip(proof);
    let inner = if path[0].end == old {
        let (_, first) = steps.next().expect("the path has a first step");
        *first
    } else {
        old_root
    };
    let (mut old_reached, mut new_reached) = (inner, inner);
    for (range, hash) in steps {
        if range.start >= old {
            // Only the new tree has it.
            new_reached = parent(new_reached, *hash);
        } else {
            old_reached = parent(*hash, old_reached);
            new_reached = parent(*hash, new_reached);
        }
    }
    if old_reached != old_root {
        return Err(Unproven::OldRoot);
    }
    if new_reached != new_root {
        return Err(Unproven::Root);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// RFC 6962 as its text has it.
    fn naive_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            leaves => {
                let (left, right) = leaves.split_at(naive_split(leaves.len()));
                parent(naive_root(left), naive_root(right))
            }
        }
    }

    fn naive_split(length: usize) -> usize {
        let mut split = 1;
        while split * 2 < length {
            split *= 2;
        }
        split
    }

    fn naive_inclusion(index: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let split = naive_split(leaves.len());
        let (left, right) = leaves.split_at(split);
        let (mut path, other) = if index < split {
            (naive_inclusion(index, left), naive_root(right))
        } else {
            (naive_inclusion(index - split, right), naive_root(left))
        };
        path.push(other);
        path
    }

    fn naive_consistency(old: usize, leaves: &[Digest], is_whole: bool) -> Vec<Digest> {
        if old == leaves.len() {
            return if is_whole {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let split = naive_split(leaves.len());
        let (left, right) = leaves.split_at(split);
        let (mut path, other) = if old <= split {
            (naive_consistency(old, left, is_whole), naive_root(right))
        } else {
            (
                naive_consistency(old - split, right, false),
                naive_root(left),
            )
        };
        path.push(other);
        path
    }

    fn grown(leaves: &[Digest]) -> (Frontier, BTreeMap<Node, Digest>) {
        let mut frontier = Frontier::default();
        let mut nodes = BTreeMap::new();
        for leaf in leaves {
            frontier.append(*leaf, |node, hash| {
                assert_eq!(nodes.insert(node, hash), None, "a node is completed once");
            });
        }
        (frontier, nodes)
    }

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|at| leaf(&at.to_be_bytes())).collect()
    }

    fn digest(text: &str) -> Digest {
        text.parse().unwrap()
    }

    /// The leaves and roots that the certificate transparency projects test each other with.
    const KNOWN_LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const KNOWN_ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn known_leaves() -> Vec<Digest> {
        KNOWN_LEAVES
            .iter()
            .map(|content| leaf(&hex::decode(content).unwrap()))
            .collect()
    }

    #[test]
    fn the_published_roots_are_reached() {
        for (size, root) in KNOWN_ROOTS.iter().enumerate() {
            let (frontier, _) = grown(&known_leaves()[..size]);
            assert_eq!(frontier.root(), digest(root), "of {size} leaves");
        }
    }

    #[test]
    fn the_published_proofs_are_made_and_accepted() {
        let (frontier, nodes) = grown(&known_leaves());
        let look_up = |node: Node| nodes.get(&node).copied();
        let consistency = [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
        .map(digest);
        let made = Recipe::consistency(6, 8).unwrap().prove(look_up).unwrap();
        assert_eq!(made, consistency);
        let (old, new) = (digest(KNOWN_ROOTS[6]), digest(KNOWN_ROOTS[8]));
        assert_eq!(verify_consistency(6, old, 8, new, &consistency), Ok(()));
        assert_eq!(frontier.root(), new);

        let inclusion = [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
        .map(digest);
        let made = Recipe::inclusion(5, 8).unwrap().prove(look_up).unwrap();
        assert_eq!(made, inclusion);
        let proved = verify_inclusion(known_leaves()[5], 5, 8, new, &inclusion);
        assert_eq!(proved, Ok(()));
    }

    #[test]
    fn a_proof_that_takes_an_unknown_node_names_it() {
        let recipe = Recipe::inclusion(0, 4).unwrap();
        let missing = recipe.prove(|_| None).unwrap_err();
        assert_eq!(missing, Missing(Node { level: 0, index: 1 }));
        assert_eq!(recipe.nodes().count(), 2);
    }

    #[test]
    fn nothing_is_proved_of_what_is_not_there() {
        assert_eq!(Recipe::inclusion(4, 4), None);
        assert_eq!(Recipe::inclusion(0, 0), None);
        assert_eq!(Recipe::consistency(5, 4), None);
        let any = leaf(b"");
        let huge = verify_inclusion(any, u64::MAX - 1, u64::MAX, any, &[any]);
        assert_eq!(huge, Err(Unproven::Length));
        assert_eq!(
            verify_consistency(0, any, 3, any, &[]),
            Err(Unproven::OldRoot)
        );
        assert_eq!(
            verify_consistency(3, any, 3, empty_root(), &[]),
            Err(Unproven::Root)
        );
    }

    #[test]
    fn a_frontier_is_put_together_from_its_peaks_alone() {
        let leaves = leaves(300);
        let (frontier, nodes) = grown(&leaves);
        let hashes: Vec<Digest> = peaks(300).iter().map(|peak| nodes[peak]).collect();
        assert_eq!(Frontier::of(300, hashes.clone()), Some(frontier));
        assert_eq!(Frontier::of(301, hashes), None);
    }

    proptest! {
        #[test]
        fn roots_and_proofs_are_those_of_the_recursion(
            size in 1_usize..200,
            old in 0_usize..200,
            index in 0_usize..200,
        ) {
            let (old, index) = (old % (size + 1), index % size);
            let leaves = leaves(size);
            let (frontier, nodes) = grown(&leaves);
            let root = naive_root(&leaves);
            prop_assert_eq!(frontier.root(), root);
            let look_up = |node: Node| nodes.get(&node).copied();
            let [wide_size, wide_old, wide_index] = [size, old, index].map(|each| each as u64);

            let inclusion = Recipe::inclusion(wide_index, wide_size).unwrap().prove(look_up).unwrap();
            prop_assert_eq!(&inclusion, &naive_inclusion(index, &leaves));
            prop_assert_eq!(
                verify_inclusion(leaves[index], wide_index, wide_size, root, &inclusion), Ok(())
            );

            let old_root = naive_root(&leaves[..old]);
            let consistency = Recipe::consistency(wide_old, wide_size).unwrap().prove(look_up).unwrap();
            if old > 0 {
                prop_assert_eq!(&consistency, &naive_consistency(old, &leaves, true));
            }
            prop_assert_eq!(
                verify_consistency(wide_old, old_root, wide_size, root, &consistency), Ok(())
            );
        }

        #[test]
        fn a_proof_with_any_bit_or_length_changed_is_refused(
            size in 2_usize..70,
            old in 1_usize..70,
            index in 0_usize..70,
            step in 0_usize..8,
            bit in 0_usize..256,
        ) {
            let (old, index) = (1 + old % (size - 1), index % size);
            let leaves = leaves(size);
            let (frontier, nodes) = grown(&leaves);
            let root = frontier.root();
            let old_root = naive_root(&leaves[..old]);
            let look_up = |node: Node| nodes.get(&node).copied();
            let [wide_size, wide_old, wide_index] = [size, old, index].map(|each| each as u64);
            let spoil = |proof: &[Digest]| {
                let mut flipped = proof.to_vec();
                let at = step % flipped.len();
                flipped[at].0[bit / 8] ^= 1 << (bit % 8);
                let longer = [proof, &[root]].concat();
                [flipped, proof[1..].to_vec(), longer]
            };

            let inclusion = Recipe::inclusion(wide_index, wide_size).unwrap().prove(look_up).unwrap();
            for spoiled in spoil(&inclusion) {
                prop_assert!(
                    verify_inclusion(leaves[index], wide_index, wide_size, root, &spoiled).is_err()
                );
            }
            let other = (wide_index + 1) % wide_size;
            prop_assert!(
                verify_inclusion(leaves[index], other, wide_size, root, &inclusion).is_err()
            );
            let consistency = Recipe::consistency(wide_old, wide_size).unwrap().prove(look_up).unwrap();
            for spoiled in spoil(&consistency) {
                prop_assert!(
                    verify_consistency(wide_old, old_root, wide_size, root, &spoiled).is_err()
                );
            }
            prop_assert!(
                verify_consistency(wide_old, leaves[0], wide_size, root, &consistency).is_err()
                    || old == 1
            );
        }
    }
}
