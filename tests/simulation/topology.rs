//! Topologies: which servers have links.

use crate::random::Random;

/// The servers' names: the classic five, and two more.
pub(crate) const NAMES: [&str; 7] = [
    "Riley", "Jaquez", "Juzang", "Campbell", "Bernard", "Kim", "Lee",
];

/// Two linked servers, as indexes of [`NAMES`].
pub(crate) type Link = (usize, usize);

/// Draws a number of servers and a connected topology.
pub(crate) fn draw(random: &mut Random) -> (usize, Vec<Link>) {
    let servers = random.between(3, NAMES.len() as u64) as usize;
    match random.below(8) {
        0 => (servers, line(servers)),
        1 => (servers, star(servers)),
        2 => (servers, ring(servers)),
        3 => (servers, complete(servers)),
        4 => (5, classic()),
        _ => (servers, any(servers, random)),
    }
}

pub(crate) fn line(servers: usize) -> Vec<Link> {
    (1..servers).map(|one| (one - 1, one)).collect()
}

fn star(servers: usize) -> Vec<Link> {
    (1..servers).map(|one| (0, one)).collect()
}

pub(crate) fn ring(servers: usize) -> Vec<Link> {
    let mut links = line(servers);
    links.push((0, servers - 1));
    links
}

pub(crate) fn complete(servers: usize) -> Vec<Link> {
    let below = |one| (0..one).map(move |other| (other, one));
    (1..servers).flat_map(below).collect()
}

/// Returns the classic herd: Bernard has links with all servers except Riley.
pub(crate) fn classic() -> Vec<Link> {
    vec![(0, 1), (0, 2), (1, 4), (2, 4), (2, 3), (3, 4)]
}

/// Returns a random tree with further links, each with the same random probability.
fn any(servers: usize, random: &mut Random) -> Vec<Link> {
    let tree: Vec<Link> = (1..servers).map(|one| (random.below(one), one)).collect();
    let more = random.between(0, 1000) as u32;
    let mut links = complete(servers);
    links.retain(|link| tree.contains(link) || random.chance(more));
    links
}
