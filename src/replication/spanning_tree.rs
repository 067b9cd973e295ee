//! A tree over the servers of a herd, as a hint for which links need not wait.
//!
//! Under load a link whose reports its neighbour mostly has already [waits](super::lazy_push) for
//! the neighbour to say so. If all links on some way did, no report would be early. So those of one
//! tree never wait. Each server takes as its root the least incarnation that it learns of, and as
//! its parent the neighbour with the shortest way to it, as bridges do (Perlman, "An Algorithm for
//! Distributed Computation of a Spanning Tree in an Extended LAN", 1985).
//!
//! Nothing depends on the tree but delays: every link pushes all that its neighbour lacks. A server
//! that ends leaves stale positions, whose distances grow with each exchange until they count no
//! more.

use super::{Incarnation, NeighbourId};

/// Distances from which on a position does not count, so that positions below a root that has ended
/// are forgotten. Longer ways than this need a second tree.
const MAX_DISTANCE: u32 = 255;

/// The place of a server in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreePosition {
    /// The incarnation at the root.
    pub root: Incarnation,
    /// Number of links to the root.
    pub distance: u32,
    /// The incarnation of the next server on the way to the root; that of the root at the root.
    pub parent: Incarnation,
}

/// The positions of a server's neighbours.
#[derive(Debug, Default)]
pub(super) struct SpanningTree(Vec<Option<(Incarnation, TreePosition)>>);

impl SpanningTree {
    /// Sets the position of an incarnation of a neighbour; `None` if it is unknown.
    pub(super) fn set(
        &mut self,
        NeighbourId(neighbour): NeighbourId,
        position: Option<(Incarnation, TreePosition)>,
    ) {
        if self.0.len() <= neighbour {
            self.0.resize(neighbour + 1, None);
        }
        self.0[neighbour] = position;
    }

    /// Returns the position of this server, whose incarnation is `own`.
    pub(super) fn position(&self, own: Incarnation) -> TreePosition {
        let ways = self.0.iter().flatten().filter(|(_, theirs)| {
            theirs.distance < MAX_DISTANCE && theirs.parent != own && theirs.root.get() < own.get()
        });
        let way = |(neighbour, theirs): &(Incarnation, TreePosition)| TreePosition {
            root: theirs.root,
            distance: theirs.distance + 1,
            parent: *neighbour,
        };
        let order = |it: &TreePosition| (it.root.get(), it.distance, it.parent.get());
        let root = TreePosition {
            root: own,
            distance: 0,
            parent: own,
        };
        ways.map(way).min_by_key(order).unwrap_or(root)
    }

    /// Returns whether the link with a neighbour is one of the tree, or the neighbour's position is
    /// unknown.
    pub(super) fn has_link(&self, own: Incarnation, NeighbourId(neighbour): NeighbourId) -> bool {
        let Some(Some((theirs, position))) = self.0.get(neighbour) else {
            return true;
        };
        position.parent == own || self.position(own).parent == *theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(number: u64) -> Incarnation {
        Incarnation::new(number).unwrap()
    }

    /// Servers that exchange positions over their links until nothing changes.
    struct Herd {
        servers: Vec<(Incarnation, SpanningTree)>,
        links: Vec<(usize, usize)>,
    }

    impl Herd {
        fn new(incarnations: &[u64], links: &[(usize, usize)]) -> Self {
            let server = |&it: &u64| (incarnation(it), SpanningTree::default());
            Self {
                servers: incarnations.iter().map(server).collect(),
                links: links.to_vec(),
            }
        }

        /// Returns the number of rounds of exchanges until positions stay.
        fn settle(&mut self) -> usize {
            (0..).find(|_| !self.exchange()).unwrap()
        }

        fn exchange(&mut self) -> bool {
            let before = self.positions();
            for (one, other) in self.links.clone() {
                for (from, to) in [(one, other), (other, one)] {
                    let (theirs, tree) = &self.servers[from];
                    let position = (*theirs, tree.position(*theirs));
                    self.servers[to].1.set(NeighbourId(from), Some(position));
                }
            }
            self.positions() != before
        }

        fn positions(&self) -> Vec<TreePosition> {
            let all = self.servers.iter();
            all.map(|(own, tree)| tree.position(*own)).collect()
        }

        /// Returns the links of the tree.
        fn tree(&self) -> Vec<(usize, usize)> {
            let is_in = |&(one, other): &(usize, usize)| {
                let has = |from: usize, to| {
                    let (own, tree) = &self.servers[from];
                    tree.has_link(*own, NeighbourId(to))
                };
                assert_eq!(has(one, other), has(other, one), "both ends agree");
                has(one, other)
            };
            self.links.iter().copied().filter(is_in).collect()
        }
    }

    #[test]
    fn servers_agree_on_a_tree_of_shortest_ways() {
        let classic = [(0, 1), (0, 2), (1, 4), (2, 4), (2, 3), (3, 4)];
        let mut herd = Herd::new(&[50, 40, 30, 20, 10], &classic);
        herd.settle();
        assert_eq!(herd.tree(), [(0, 2), (1, 4), (2, 4), (3, 4)]);
        let below = |one| (0..one).map(move |other| (other, one));
        let mesh: Vec<_> = (1..20).flat_map(below).collect();
        let incarnations: Vec<u64> = (0..20).map(|it| 1 + it * 7 % 20).collect();
        let mut herd = Herd::new(&incarnations, &mesh);
        herd.settle();
        assert_eq!(herd.tree().len(), 19, "one server with all others");
    }

    #[test]
    fn a_root_that_has_ended_is_forgotten() {
        let ring: Vec<_> = (0..6).map(|it| (it, (it + 1) % 6)).collect();
        let mut herd = Herd::new(&[1, 2, 3, 4, 5, 6], &ring);
        herd.settle();
        assert!(herd.positions().iter().all(|it| it.root.get() == 1));
        herd.links.retain(|&(one, _)| one != 0 && one != 5);
        for (_, tree) in &mut herd.servers[1..] {
            tree.set(NeighbourId(0), None);
        }
        let rounds = herd.settle();
        assert!(rounds <= 2 * MAX_DISTANCE as usize, "{rounds}");
        assert!(herd.positions()[1..].iter().all(|it| it.root.get() == 2));
    }
}
