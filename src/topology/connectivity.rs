//! The fewest servers whose loss splits a graph.
//!
//! Two servers without a link stay connected after any loss of fewer than `k` others if and only
//! if `k` paths join them that share no server in between (Menger). Paths are found one after
//! the other, each of which may undo pieces of those before (Ford and Fulkerson, 1956).
//!
//! Not every pair needs a search (after Even, "An algorithm for determining whether the
//! connectivity of a graph is at least k", 1975). Take any `k` servers. If no small loss
//! separates two of them, those of them that survive one are in one part, and a part without any
//! of them is separated from all: a search from all `k` at once finds that, for each other server.

use std::collections::VecDeque;

use super::graph::Graph;

/// Returns fewer than `limit` servers whose loss splits the graph, or `None` if no such loss does.
/// An empty list means that the graph is in parts already.
pub fn splitting_loss(graph: &Graph, limit: usize) -> Option<Vec<usize>> {
    let base: Vec<usize> = (0..graph.servers().min(limit)).collect();
    for &one in &base {
        for &other in base.iter().filter(|&&other| one < other) {
            if !graph.is_linked(one, other) {
                let neighbours = graph.neighbours(one);
                let paths = Paths::new(graph, Some(one), neighbours, other);
                if let Some(loss) = paths.cut(limit) {
                    return Some(loss);
                }
            }
        }
    }
    (base.len()..graph.servers()).find_map(|other| Paths::new(graph, None, &base, other).cut(limit))
}

/// Paths from a source to a target that share no server.
struct Paths<'a> {
    graph: &'a Graph,
    /// The source, unless it is outside of the graph.
    source: Option<usize>,
    /// The servers that the source has links to. The target is not among them.
    starts: &'a [usize],
    target: usize,
    /// The server before each server that is on a path.
    before: Vec<Option<Before>>,
}

/// The step to a server on a path.
#[derive(Clone, Copy)]
enum Before {
    Source,
    Server(usize),
}

/// A place of a search: a server is entered, and left if no path needs it, or in the direction in
/// which a path came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Entered(usize),
    Left(usize),
}

impl Place {
    fn index(self) -> usize {
        match self {
            Self::Entered(server) => 2 * server,
            Self::Left(server) => 2 * server + 1,
        }
    }
}

impl<'a> Paths<'a> {
    fn new(graph: &'a Graph, source: Option<usize>, starts: &'a [usize], target: usize) -> Self {
        Self {
            graph,
            source,
            starts,
            target,
            before: vec![None; graph.servers()],
        }
    }

    /// Returns the servers that all ways pass, if they are fewer than `limit`.
    fn cut(mut self, limit: usize) -> Option<Vec<usize>> {
        for _ in 0..limit {
            let search = self.search();
            let Some(last) = search.end else {
                let is_in = |place: Place| search.came_from[place.index()].is_some();
                let is_cut =
                    |&server: &usize| is_in(Place::Entered(server)) && !is_in(Place::Left(server));
                return Some((0..self.graph.servers()).filter(is_cut).collect());
            };
            self.add(&search, last);
        }
        None
    }

    fn search(&self) -> Search {
        let mut search = Search {
            came_from: vec![None; 2 * self.graph.servers()],
            queue: VecDeque::new(),
            end: None,
        };
        for &start in self.starts {
            search.reach(Place::Entered(start), Origin::Source);
        }
        while let Some(place) = search.queue.pop_front() {
            match place {
                Place::Entered(server) => match self.before[server] {
                    None => search.reach(Place::Left(server), Origin::Place(place)),
                    // The path that was here takes another way from the server before.
                    Some(Before::Server(before)) => {
                        search.reach(Place::Left(before), Origin::Place(place));
                    }
                    Some(Before::Source) => {}
                },
                Place::Left(server) => {
                    for &next in self.graph.neighbours(server) {
                        if next == self.target {
                            search.end = Some(place);
                            return search;
                        }
                        if Some(next) != self.source {
                            search.reach(Place::Entered(next), Origin::Place(place));
                        }
                    }
                    // The path that was here avoids this server altogether.
                    if self.before[server].is_some() {
                        search.reach(Place::Entered(server), Origin::Place(place));
                    }
                }
            }
        }
        search
    }

    /// Adds the path that a search found.
    fn add(&mut self, search: &Search, last: Place) {
        let mut place = last;
        loop {
            let origin = search.came_from[place.index()];
            match (place, origin) {
                (Place::Entered(server), Some(Origin::Place(Place::Left(before)))) => {
                    self.before[server] = (server != before).then_some(Before::Server(before));
                }
                (Place::Entered(server), _) => self.before[server] = Some(Before::Source),
                (Place::Left(_), _) => {}
            }
            match origin {
                Some(Origin::Place(before)) => place = before,
                _ => return,
            }
        }
    }
}

/// A search for one more path, in breadth.
struct Search {
    /// From where each place was reached, by its index.
    came_from: Vec<Option<Origin>>,
    queue: VecDeque<Place>,
    /// The place from which the target was reached.
    end: Option<Place>,
}

#[derive(Clone, Copy)]
enum Origin {
    Source,
    Place(Place),
}

impl Search {
    fn reach(&mut self, place: Place, origin: Origin) {
        let came_from = &mut self.came_from[place.index()];
        if came_from.is_none() {
            *came_from = Some(origin);
            self.queue.push_back(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the least number of lost servers that splits a graph, by trying all losses.
    fn least_loss(graph: &Graph) -> Option<usize> {
        let servers = graph.servers();
        let losses = 0_u32..1 << servers;
        let lost = |bits: u32| (0..servers).filter(move |server| bits >> server & 1 == 1);
        let splits = |bits: &u32| graph.parts(&lost(*bits).collect::<Vec<_>>()).len() > 1;
        losses
            .filter(splits)
            .map(|bits| bits.count_ones() as usize)
            .min()
    }

    /// Graphs of 1 to 9 servers, with few links up to all.
    fn graphs() -> impl Strategy<Value = Graph> {
        let pairs = |servers| prop::collection::vec((0..servers, 0..servers), 0..40);
        let graph = |(servers, pairs): (usize, Vec<(usize, usize)>)| {
            let mut graph = Graph::new(servers);
            pairs
                .iter()
                .for_each(|&(one, other)| graph.link(one, other));
            graph
        };
        (1_usize..10)
            .prop_flat_map(move |servers| (Just(servers), pairs(servers)))
            .prop_map(graph)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_loss_is_found_exactly_if_there_is_one_below_the_limit(graph in graphs()) {
            let least = least_loss(&graph);
            for limit in 0..10 {
                let found = splitting_loss(&graph, limit);
                prop_assert_eq!(found.is_some(), least.is_some_and(|least| least < limit));
                if let Some(loss) = found {
                    prop_assert!(loss.len() < limit && graph.parts(&loss).len() > 1, "{:?}", loss);
                }
            }
        }
    }

    #[test]
    fn a_complete_graph_survives_everything_and_a_graph_in_parts_nothing() {
        assert_eq!(splitting_loss(&Graph::complete(6), 100), None);
        assert_eq!(splitting_loss(&Graph::new(1), 3), None);
        assert_eq!(splitting_loss(&Graph::new(3), 3), Some(vec![]));
        assert_eq!(splitting_loss(&Graph::new(3), 0), None);
    }
}
