//! What a graph of links costs and survives.

use super::MAX_SURVIVED;
use super::connectivity::splitting_loss;
use super::graph::Graph;

/// Maximum number of steps for the ways after all losses of a number of servers: about a second.
const MAX_STEPS: u64 = 1_000_000_000;

/// The figures of a connected graph of two servers or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The number of servers.
    pub servers: usize,
    /// The number of links.
    pub links: usize,
    /// The least and the greatest number of links of a server.
    pub links_of_one: (usize, usize),
    /// The diameter: the greatest number of hops between two servers.
    pub hops: usize,
    /// The greatest number of lost servers that never splits the others, up to [`MAX_SURVIVED`].
    /// The number of all if every server has a link with every other one.
    pub survived: usize,
    /// The greatest diameter after the loss of any 1, 2, ... servers, for as many as are survived
    /// and can be tried.
    pub hops_after: Vec<usize>,
}

/// The single failures that split a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeakPoints {
    /// The servers.
    pub servers: Vec<usize>,
    /// The links.
    pub links: Vec<(usize, usize)>,
}

impl Figures {
    /// Returns the figures of a graph, or `None` if it has fewer than two servers or is in parts.
    pub fn of(graph: &Graph) -> Option<Self> {
        let servers = graph.servers();
        let hops = graph.hops(&[]).filter(|_| servers > 1)?.most;
        let degrees = || (0..servers).map(|server| graph.neighbours(server).len());
        let survived = survived(graph);
        let tried = (1..=survived.min(servers - 2)).map_while(|lost| hops_after(graph, lost, hops));
        Some(Self {
            servers,
            links: graph.links().count(),
            links_of_one: (degrees().min()?, degrees().max()?),
            hops,
            survived,
            hops_after: tried.collect(),
        })
    }

    /// Returns the least and the greatest number of pushes that carry one report to all servers.
    ///
    /// A server pushes a report over each of its links, except to neighbours that have sent it. So
    /// a link over which a server learns of the report carries it once, and there is one for each
    /// server except the origin. Any other link carries it once, or twice if both ends push at
    /// the same time.
    pub fn pushes(&self) -> (usize, usize) {
        (self.links, 2 * self.links - self.needed_pushes())
    }

    /// Returns the number of pushes without any redundancy.
    pub fn needed_pushes(&self) -> usize {
        self.servers - 1
    }
}

/// Returns the greatest number of lost servers that never splits the others.
fn survived(graph: &Graph) -> usize {
    if graph.is_complete() {
        return graph.servers();
    }
    let mut limit = MAX_SURVIVED + 1;
    while let Some(loss) = splitting_loss(graph, limit) {
        limit = loss.len();
    }
    limit.saturating_sub(1)
}

/// Returns the greatest diameter after the loss of any `lost` servers; `None` if there are too
/// many such losses to try, or one of them splits the others. `hops` is the diameter without
/// losses.
fn hops_after(graph: &Graph, lost: usize, hops: usize) -> Option<usize> {
    let mut losses = Losses::new(graph.servers(), lost);
    let steps = losses.count().checked_mul(graph.hops_work(hops));
    steps.filter(|&steps| steps <= MAX_STEPS)?;
    let mut most = 0;
    while let Some(loss) = losses.next() {
        most = most.max(graph.hops(loss)?.most);
    }
    Some(most)
}

/// All choices of a number of servers.
struct Losses {
    servers: usize,
    /// The next choice, in order. Empty after the last one.
    next: Vec<usize>,
    current: Vec<usize>,
}

impl Losses {
    /// `lost` is at least 1, and at most the number of servers.
    fn new(servers: usize, lost: usize) -> Self {
        Self {
            servers,
            next: (0..lost).collect(),
            current: Vec::new(),
        }
    }

    /// Returns the number of choices, or the greatest number if it is greater.
    fn count(&self) -> u64 {
        let lost = self.next.len() as u64;
        let factors = (0..lost).map(|i| (self.servers as u64 - i, i + 1));
        factors.fold(1, |count: u64, (factor, divisor)| {
            // The first i + 1 factors always contain the divisor i + 1.
            count.saturating_mul(factor) / divisor
        })
    }

    fn next(&mut self) -> Option<&[usize]> {
        self.current.clone_from(&self.next);
        let (servers, lost) = (self.servers, self.next.len());
        let has_room = |&place: &usize| self.next[place] < servers - lost + place;
        match (0..lost).rev().find(has_room) {
            Some(place) => {
                let first = self.next[place] + 1;
                let tail = self.next[place..].iter_mut().zip(first..);
                tail.for_each(|(server, next)| *server = next);
            }
            None => self.next.clear(),
        }
        (!self.current.is_empty()).then_some(&self.current)
    }
}

impl WeakPoints {
    /// Returns the servers and links each of whose loss splits a connected graph. The only link of
    /// two servers does not count: they cannot have another one.
    pub fn of(graph: &Graph) -> Self {
        let is_split = |lost: &usize| graph.parts(&[*lost]).len() > 1;
        let servers: Vec<usize> = (0..graph.servers()).filter(is_split).collect();
        // A link that splits three servers or more has such a server at one end.
        let has_end =
            |link: &(usize, usize)| servers.contains(&link.0) || servers.contains(&link.1);
        let splits = |&(one, other): &(usize, usize)| {
            let mut without = graph.clone();
            without.unlink(one, other);
            without.parts(&[]).len() > 1
        };
        let links = graph.links().filter(has_end).filter(splits).collect();
        Self { servers, links }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(servers: usize, links: &[(usize, usize)]) -> Graph {
        let mut graph = Graph::new(servers);
        links
            .iter()
            .for_each(|&(one, other)| graph.link(one, other));
        graph
    }

    /// The classic herd: Riley, Jaquez, Juzang, Campbell, Bernard.
    fn classic() -> Graph {
        graph(5, &[(0, 1), (0, 2), (1, 4), (2, 3), (2, 4), (3, 4)])
    }

    #[test]
    fn the_figures_of_the_classic_herd_are_those_of_a_count_by_hand() {
        let figures = Figures::of(&classic()).unwrap();
        assert_eq!((figures.links, figures.links_of_one), (6, (2, 3)));
        assert_eq!((figures.hops, figures.survived), (2, 1));
        // Without Juzang, a report of Riley reaches Campbell by Jaquez and Bernard.
        assert_eq!(figures.hops_after, [3]);
        assert_eq!((figures.pushes(), figures.needed_pushes()), ((6, 8), 4));
        assert_eq!(WeakPoints::of(&classic()), WeakPoints::default());
    }

    #[test]
    fn weak_points_are_the_servers_and_links_whose_loss_splits_the_others() {
        // A triangle with a tail of two.
        let tail = graph(5, &[(0, 1), (1, 2), (0, 2), (2, 3), (3, 4)]);
        let weak = WeakPoints::of(&tail);
        assert_eq!(
            (weak.servers, weak.links),
            (vec![2, 3], vec![(2, 3), (3, 4)])
        );
        let figures = Figures::of(&tail).unwrap();
        assert_eq!((figures.survived, figures.hops_after.len()), (0, 0));
        // Two triangles that share a server: no link splits them.
        let shared = graph(5, &[(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4)]);
        let weak = WeakPoints::of(&shared);
        assert_eq!((weak.servers, weak.links), (vec![2], vec![]));
        assert_eq!(WeakPoints::of(&graph(2, &[(0, 1)])), WeakPoints::default());
    }

    #[test]
    fn graphs_without_ways_have_no_figures() {
        assert_eq!(Figures::of(&Graph::new(1)), None);
        assert_eq!(Figures::of(&Graph::new(2)), None);
        let pair = Figures::of(&Graph::complete(2)).unwrap();
        assert_eq!((pair.hops, pair.pushes(), pair.survived), (1, (1, 1), 2));
        assert!(pair.hops_after.is_empty());
        let full = Figures::of(&Graph::complete(5)).unwrap();
        assert_eq!((full.survived, full.hops_after), (5, vec![1, 1, 1]));
    }

    #[test]
    fn losses_are_all_choices() {
        for (servers, lost, expected) in [(5, 1, 5), (5, 2, 10), (5, 5, 1), (12, 3, 220)] {
            let mut losses = Losses::new(servers, lost);
            assert_eq!(losses.count(), expected);
            let mut seen = std::collections::BTreeSet::new();
            while let Some(loss) = losses.next() {
                assert!(loss.is_sorted() && loss.iter().all(|&server| server < servers));
                assert!(seen.insert(loss.to_vec()));
            }
            assert_eq!(seen.len() as u64, expected);
        }
        assert!(Losses::new(1000, 8).count() > 1 << 60);
    }
}
