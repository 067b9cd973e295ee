//! The config that `plan` writes.

use std::fmt::Write as _;

use crate::format::count;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::topology::Graph;

use super::PlanArguments;

/// A herd to write.
pub(super) struct Plan<'a> {
    pub(super) arguments: &'a PlanArguments,
    /// The servers with the numbers of their zones.
    pub(super) servers: Vec<(Name, usize)>,
    /// The links between them.
    pub(super) graph: Graph,
}

impl Plan<'_> {
    /// Returns the file.
    ///
    /// # Errors
    ///
    /// Why a server cannot have its address.
    pub(super) fn text(&self) -> Result<String, String> {
        let mut text = format!(
            "{}\n[herd]\nname = \"{}\"\n",
            self.title(),
            self.arguments.herd
        );
        for (number, (name, zone)) in self.servers.iter().enumerate() {
            let is_first = number == 0 || self.servers[number - 1].1 != *zone;
            if is_first && !self.arguments.zones.is_empty() {
                let zone = self.arguments.zones.get(*zone);
                let zone = zone.map_or("no zone".to_owned(), |zone| format!("zone {}", zone.name));
                let _ = write!(text, "\n# Servers of {zone}.\n");
            }
            let _ = write!(text, "\n[[servers]]\nname = \"{name}\"\n");
            text += &self.addresses(number, name)?;
            text += &self.links(number);
        }
        Ok(text)
    }

    fn title(&self) -> String {
        let servers = count(self.servers.len() as u64, "server");
        let lost = count(self.arguments.survive as u64, "server");
        let title = format!("# A herd of {servers}, by `proxyherd plan`.");
        let survives = format!("The loss of any {lost} does not split the others.");
        format!("{title} {survives}\n# A link is named at one of its two servers.\n")
    }

    fn addresses(&self, number: usize, name: &Name) -> Result<String, String> {
        let arguments = self.arguments;
        let keys = [
            ("clients", Some(&arguments.clients)),
            ("peers", Some(&arguments.peers)),
            ("web", arguments.web.as_ref()),
        ];
        let (mut dialled, mut bound) = (String::new(), String::new());
        for (key, pattern) in keys {
            let Some(pattern) = pattern else { continue };
            if self.servers.len() > 1 && pattern.is_same_for_all() {
                return Err(format!(
                    "--{key} is the same address for all servers; write {{name}} in its host, or a \
                     + after its port"
                ));
            }
            let address = pattern.of(name, number)?;
            let _ = writeln!(dialled, "{key} = \"{address}\"");
            if let Some(host) = &arguments.bind {
                let _ = writeln!(bound, "bind_{key} = \"{}\"", bind(host, &address));
            }
        }
        Ok(dialled + &bound)
    }

    /// Returns the links to servers that follow.
    fn links(&self, number: usize) -> String {
        let later = self
            .graph
            .neighbours(number)
            .iter()
            .filter(|&&other| other > number);
        let later: Vec<String> = later
            .map(|&it| format!("\"{}\"", self.servers[it].0))
            .collect();
        if later.is_empty() {
            String::new()
        } else {
            format!("talks_to = [{}]\n", later.join(", "))
        }
    }
}

fn bind(host: &str, address: &Address) -> String {
    format!("{host}:{}", address.port())
}
