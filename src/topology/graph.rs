//! The graph of a herd's links.

/// Servers, numbered from 0, and links between two different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// The neighbours of each server, in order. Each link is at both of its ends.
    neighbours: Vec<Vec<usize>>,
}

/// The hops between the servers of a connected graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hops {
    /// The diameter: the greatest number of hops between two servers.
    pub most: usize,
    /// The sum over all ordered pairs of servers.
    pub total: u64,
}

impl Graph {
    /// Creates a graph of this number of servers, without links.
    pub fn new(servers: usize) -> Self {
        Self {
            neighbours: vec![Vec::new(); servers],
        }
    }

    /// Creates a graph in which every server has a link with every other one.
    pub fn complete(servers: usize) -> Self {
        let mut graph = Self::new(servers);
        for one in 0..servers {
            for other in 0..one {
                graph.link(one, other);
            }
        }
        graph
    }

    /// Returns the number of servers.
    pub fn servers(&self) -> usize {
        self.neighbours.len()
    }

    /// Returns the links, each once, the smaller number first.
    pub fn links(&self) -> impl Iterator<Item = (usize, usize)> {
        let each = self.neighbours.iter().enumerate();
        each.flat_map(|(one, neighbours)| {
            let later = neighbours.iter().filter(move |&&other| one < other);
            later.map(move |&other| (one, other))
        })
    }

    /// Returns the neighbours of a server, in order.
    pub fn neighbours(&self, server: usize) -> &[usize] {
        &self.neighbours[server]
    }

    /// Returns whether two servers have a link.
    pub fn is_linked(&self, one: usize, other: usize) -> bool {
        self.neighbours[one].binary_search(&other).is_ok()
    }

    /// Returns whether every server has a link with every other one.
    pub fn is_complete(&self) -> bool {
        let others = self.servers().saturating_sub(1);
        self.neighbours.iter().all(|linked| linked.len() == others)
    }

    /// Links two servers. A link that exists already, or of a server with itself, changes nothing.
    pub fn link(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        for (end, far) in [(one, other), (other, one)] {
            if let Err(place) = self.neighbours[end].binary_search(&far) {
                self.neighbours[end].insert(place, far);
            }
        }
    }

    /// Removes the link of two servers, if they have one.
    pub fn unlink(&mut self, one: usize, other: usize) {
        for (end, far) in [(one, other), (other, one)] {
            if let Ok(place) = self.neighbours[end].binary_search(&far) {
                self.neighbours[end].remove(place);
            }
        }
    }

    /// Returns the parts that have no link between them once `lost` are lost, each in order.
    pub fn parts(&self, lost: &[usize]) -> Vec<Vec<usize>> {
        let mut is_found = vec![false; self.servers()];
        lost.iter().for_each(|&server| is_found[server] = true);
        let mut parts = Vec::new();
        for first in 0..self.servers() {
            if std::mem::replace(&mut is_found[first], true) {
                continue;
            }
            let mut part = vec![first];
            let mut next = 0;
            while let Some(&server) = part.get(next) {
                next += 1;
                for &neighbour in self.neighbours(server) {
                    if !std::mem::replace(&mut is_found[neighbour], true) {
                        part.push(neighbour);
                    }
                }
            }
            part.sort_unstable();
            parts.push(part);
        }
        parts
    }

    /// Returns the hops between the servers that are left once `lost` are lost; `None` if those
    /// are not connected.
    ///
    /// Each round gives every server what its neighbours had reached in the round before, one bit
    /// for each server: 64 searches at once.
    pub fn hops(&self, lost: &[usize]) -> Option<Hops> {
        let width = self.servers().div_ceil(64);
        let mut reached = vec![0_u64; self.servers() * width];
        let left: Vec<usize> = (0..self.servers())
            .filter(|it| !lost.contains(it))
            .collect();
        for &server in &left {
            reached[server * width + server / 64] = 1 << (server % 64);
        }
        let all = (left.len() * left.len()) as u64;
        let (mut pairs, mut hops) = (left.len() as u64, Hops { most: 0, total: 0 });
        let mut next = reached.clone();
        while pairs < all {
            hops.most += 1;
            hops.total += all - pairs;
            for &server in &left {
                let row = server * width..(server + 1) * width;
                // What is lost has reached nothing, not even itself.
                for &neighbour in self.neighbours(server) {
                    let from = &reached[neighbour * width..(neighbour + 1) * width];
                    let to = next[row.clone()].iter_mut();
                    to.zip(from).for_each(|(to, from)| *to |= from);
                }
            }
            let count = next.iter().map(|bits| u64::from(bits.count_ones())).sum();
            if count == pairs {
                return None;
            }
            pairs = count;
            reached.copy_from_slice(&next);
        }
        Some(hops)
    }

    /// Returns about how many steps [`hops`](Self::hops) takes if the diameter is `most`.
    pub(super) fn hops_work(&self, most: usize) -> u64 {
        let ends: usize = self.neighbours.iter().map(Vec::len).sum();
        let row = self.servers().div_ceil(64);
        ((most + 1) * (ends + self.servers()) * row) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(servers: usize) -> Graph {
        let mut graph = Graph::new(servers);
        (1..servers).for_each(|server| graph.link(server - 1, server));
        graph
    }

    #[test]
    fn a_link_is_at_both_ends_once() {
        let mut graph = chain(3);
        graph.link(2, 0);
        graph.link(0, 2);
        graph.link(1, 1);
        assert_eq!(graph.links().collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 2)]);
        assert!(graph.is_complete() && graph == Graph::complete(3));
        graph.unlink(2, 0);
        graph.unlink(2, 0);
        assert_eq!(graph, chain(3));
        assert!(!graph.is_linked(0, 2) && graph.is_linked(1, 2));
    }

    #[test]
    fn hops_are_counted_between_the_servers_that_are_left() {
        let mut ring = chain(100);
        ring.link(0, 99);
        let hops = |most, total| Some(Hops { most, total });
        // Each server: 2 at each of 1 to 49 hops, and one at 50.
        assert_eq!(ring.hops(&[]), hops(50, 100 * (49 * 50 + 50)));
        assert_eq!(ring.hops(&[7]).map(|hops| hops.most), Some(98));
        assert_eq!(ring.hops(&[7, 9]), None);
        assert_eq!(chain(3).hops(&[]), hops(2, 8));
        assert_eq!(chain(1).hops(&[]), hops(0, 0));
        assert_eq!(chain(2).hops(&[0]), hops(0, 0));
    }

    #[test]
    fn parts_are_those_that_a_loss_leaves() {
        assert_eq!(chain(5).parts(&[]).len(), 1);
        assert_eq!(chain(5).parts(&[1, 3]), [[0], [2], [4]]);
        assert_eq!(Graph::new(2).parts(&[0, 1]), Vec::<Vec<usize>>::new());
    }
}
