//! The links of a herd as a graph: what they cost and survive, for `check` and `plan`.

use std::collections::HashMap;

use super::{Config, messages};
use crate::format::{count, grouped};
use crate::topology::{Figures, Graph, MAX_SURVIVED, WeakPoints};

impl Config {
    /// Returns the links as a graph, whose numbers are the places of the servers in the file.
    fn graph(&self) -> Graph {
        let mut graph = Graph::new(self.servers.len());
        let numbers: HashMap<_, _> = self.names().zip(0..).collect();
        for (number, server) in self.servers.iter().enumerate() {
            let neighbours = server
                .neighbours
                .iter()
                .filter_map(|name| numbers.get(name));
            neighbours.for_each(|&neighbour| graph.link(number, neighbour));
        }
        graph
    }

    /// Returns what the links cost and survive, as lines of text. Empty for a herd of one, and for
    /// a herd in parts.
    pub(super) fn topology(&self) -> String {
        let Some(figures) = Figures::of(&self.graph()) else {
            return String::new();
        };
        format!(
            "Topology:\n  links     {}\n  hops      {}\n  pushes    {}\n  survives  {}\n",
            links(&figures),
            hops(&figures),
            pushes(&figures),
            survives(&figures),
        )
    }

    /// Warns of single failures that split the herd.
    pub(super) fn weak_points(&self) -> Option<String> {
        let graph = self.graph();
        if graph.parts(&[]).len() > 1 {
            return None;
        }
        let WeakPoints { servers, links } = WeakPoints::of(&graph);
        if servers.is_empty() {
            return None;
        }
        let name = |server: usize| self.servers[server].name.as_str();
        let servers = messages::short_list(servers.into_iter().map(name), "or");
        let links: Vec<String> = links
            .into_iter()
            .map(|(one, other)| format!("{} - {}", name(one), name(other)))
            .collect();
        let link = if links.is_empty() {
            String::new()
        } else {
            let links = links.iter().map(String::as_str);
            format!(", or of the link {}", messages::short_list(links, "or"))
        };
        Some(format!(
            "one failure splits the herd: the loss of {servers}{link}. More links survive it; \
             `proxyherd plan` chooses them."
        ))
    }
}

fn links(figures: &Figures) -> String {
    match figures.links_of_one {
        (least, most) if least == most => format!("{least} for each server"),
        (least, most) => format!("{least} to {most} for each server"),
    }
}

fn hops(figures: &Figures) -> String {
    match figures.hops {
        1 => "1 between any two servers".to_owned(),
        hops => format!("at most {hops} between two servers"),
    }
}

fn pushes(figures: &Figures) -> String {
    let (least, most) = figures.pushes();
    let needed = figures.needed_pushes();
    let shown = |pushes: usize| grouped(pushes as u64);
    let redundancy = |pushes: usize| format!("{:.2}", pushes as f64 / needed as f64);
    if most == needed {
        return format!("{} for each report, the fewest possible", shown(most));
    }
    // A graph with more links than a tree has a circle, on which two pushes may meet.
    format!(
        "{} to {} for each report; {} would do ({} to {} times)",
        shown(least),
        shown(most),
        shown(needed),
        redundancy(least),
        redundancy(most)
    )
}

fn survives(figures: &Figures) -> String {
    if figures.survived >= figures.servers {
        return "every loss: each server has a link with each other one".to_owned();
    }
    if figures.survived == 0 {
        return "not every loss of one server".to_owned();
    }
    let more = if figures.survived == MAX_SURVIVED {
        " or more"
    } else {
        ""
    };
    let servers = count(figures.survived as u64, "server");
    let mut text = format!("the loss of any {servers}{more}");
    for (lost, hops) in (1..).zip(&figures.hops_after) {
        let before = match lost {
            1 => ": hops at most",
            lost if lost == figures.hops_after.len() => " and",
            _ => ",",
        };
        text += &format!("{before} {hops} after {lost}");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, herd, parse};

    #[test]
    fn figures_are_printed_for_every_kind_of_graph() {
        for (servers, expected) in [
            (
                &[("A", &["B"][..]), ("B", &[])][..],
                "Topology:\n  links     1 for each server\n  hops      1 between any two servers\n  \
                 pushes    1 for each report, the fewest possible\n  \
                 survives  every loss: each server has a link with each other one\n",
            ),
            (
                &[("A", &["B"]), ("B", &["C"]), ("C", &[])],
                "Topology:\n  links     1 to 2 for each server\n  \
                 hops      at most 2 between two servers\n  \
                 pushes    2 for each report, the fewest possible\n  \
                 survives  not every loss of one server\n",
            ),
            (
                &[("A", &["B", "D"]), ("B", &["C"]), ("C", &["D"]), ("D", &[])],
                "Topology:\n  links     2 for each server\n  \
                 hops      at most 2 between two servers\n  \
                 pushes    4 to 5 for each report; 3 would do (1.33 to 1.67 times)\n  \
                 survives  the loss of any 1 server: hops at most 2 after 1\n",
            ),
        ] {
            assert_eq!(parse(&herd(servers)).topology(), expected);
        }
        assert_eq!(parse(&alone()).topology(), "");
        assert_eq!(parse(&herd(&[("A", &[]), ("B", &[])])).topology(), "");
    }

    #[test]
    fn a_herd_that_one_failure_splits_has_a_warning() {
        let warning = |servers: &[(&str, &[&str])]| parse(&herd(servers)).weak_points();
        let chain = warning(&[("A", &["B"]), ("B", &["C"]), ("C", &[])]);
        assert_eq!(
            chain.as_deref(),
            Some(
                "one failure splits the herd: the loss of B, or of the link A - B or B - C. More \
                 links survive it; `proxyherd plan` chooses them."
            )
        );
        let shared = [
            ("A", &["B", "C"][..]),
            ("B", &["C"]),
            ("C", &["D", "E"]),
            ("D", &["E"]),
            ("E", &[]),
        ];
        let shared = warning(&shared).unwrap();
        assert!(
            shared.starts_with("one failure splits the herd: the loss of C. "),
            "{shared}"
        );
        assert_eq!(
            warning(&[("A", &["B", "C"]), ("B", &["C"]), ("C", &[])]),
            None
        );
        assert_eq!(warning(&[("A", &["B"]), ("B", &[])]), None);
        assert_eq!(warning(&[("A", &[]), ("B", &[]), ("C", &["B"])]), None);
    }
}
