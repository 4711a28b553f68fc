//! Which node of which cluster a server is, by its own word: an address may lead to another one than it did
//! before, or than it does from where it was told.

use anyhow::{Context, Result};
use protocol::Client;
use wal::{Lsn, SystemId};

/// What a server says of itself, and of whom it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub system: SystemId,
    /// Whether it is in recovery.
    pub is_standby: bool,
    /// Up to where it has replayed the log.
    pub replayed: Option<Lsn>,
    /// The id by which its cluster knows it, also after a change of roles; None of a real PostgreSQL.
    id: Option<String>,
    /// The name by which it follows others, or would.
    name: String,
    /// Its roster, a row an address.
    known: Vec<Known>,
}

/// Another node, at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    id: String,
    name: String,
    host: String,
    port: String,
}

impl Identity {
    /// Asks a server.
    pub async fn ask(server: &mut Client) -> Result<Self> {
        let question = "SELECT system_identifier, pg_is_in_recovery(), pg_last_wal_replay_lsn() \
                        FROM pg_control_system()";
        let answer = server.query(question).await?;
        // A bigint has a sign, which this number has not.
        let system = answer.text(0, 0).and_then(|number| number.parse::<i64>().ok());
        let system = system.context("the server does not say of which cluster it is")?;
        let mut this = Self {
            system: SystemId::new(system.cast_unsigned()),
            is_standby: answer.text(0, 1) == Some("t"),
            replayed: answer.text(0, 2).and_then(|position| position.parse().ok()),
            id: None,
            name: String::new(),
            known: Vec::new(),
        };
        if server.is_plimsoll() {
            let question = "SELECT source, member, name, host, port FROM plimsoll_roster \
                            WHERE member IS NOT NULL";
            let roster = server.query(question).await?;
            for row in 0..roster.rows.len() {
                let text = |column| roster.text(row, column).unwrap_or_default().to_owned();
                let node = Known { id: text(1), name: text(2), host: text(3), port: text(4) };
                if text(0) == "this node" {
                    (this.id, this.name) = (Some(node.id), node.name);
                } else {
                    this.known.push(node);
                }
            }
        }
        Ok(this)
    }

    fn has(&self, id: &str) -> bool {
        self.known.iter().any(|node| node.id == id)
    }

    fn foreign(&self, found: &Self) -> Option<String> {
        (found.system != self.system).then(|| format!("a server of another cluster ({})", found.system))
    }

    /// Who answers at the place of this server, if that is another one now.
    pub fn replaced_by(&self, found: &Self) -> Option<String> {
        // A directory that another process made a standby's has drawn a new id, which nobody has heard of.
        let is_known = |id: &String| found.id != self.id && self.has(id);
        let other = || found.id.as_ref().filter(|id| is_known(id)).map(|_| found.shown());
        self.foreign(found).or_else(other)
    }

    /// Who was found in the place of the node that this one knows by a name at an address, if it is another
    /// one.
    pub fn another_than(&self, found: &Self, name: &str, (host, port): (&str, &str)) -> Option<String> {
        if let Some(foreign) = self.foreign(found) {
            return Some(foreign);
        }
        let Some(id) = &found.id else {
            return Some("a server that does not say which node it is".to_owned());
        };
        let is_there = |node: &&Known| (&*node.name, &*node.host, &*node.port) == (name, host, port);
        let there: Vec<&Known> = self.known.iter().filter(is_there).collect();
        // One of plimsoll.peers may have its row at another address, and one that was made anew none yet.
        let is_it = there.iter().any(|node| node.id == *id)
            || there.is_empty() && self.has(id)
            || !self.has(id) && self.id.as_ref().is_some_and(|own| found.has(own));
        (!is_it || found.name != name || found.id == self.id).then(|| found.shown())
    }

    fn shown(&self) -> String {
        match &self.id {
            Some(id) => format!("\"{}\" of this cluster, with the id {id}", self.name),
            None => "a server that does not say which node it is".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (&str, &str) = ("10.0.0.3", "5432");

    fn node(system: u64, id: &str, name: &str, known: &[(&str, &str, &str)]) -> Identity {
        let known = known.iter().map(|(id, name, host)| Known {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
            host: (*host).to_owned(),
            port: HERE.1.to_owned(),
        });
        Identity {
            system: SystemId::new(system),
            is_standby: true,
            replayed: None,
            id: Some(id.to_owned()).filter(|id| !id.is_empty()),
            name: name.to_owned(),
            known: known.collect(),
        }
    }

    #[test]
    fn only_the_node_of_that_name_at_that_address_is_it() {
        let two = node(7, "b", "two", &[("a", "one", "10.0.0.1"), ("c", "three", HERE.0)]);
        let elsewhere = node(7, "b", "two", &[("c", "three", "localhost")]);
        let nobody = node(7, "b", "two", &[]);
        for (asked, found, is_it) in [
            (&two, node(7, "c", "three", &[]), true),
            (&two, node(8, "c", "three", &[]), false),
            (&two, node(7, "", "", &[]), false),
            (&two, node(7, "a", "three", &[]), false),
            (&two, node(7, "a", "three", &[("b", "two", "10.0.0.2")]), false),
            (&two, node(7, "c", "four", &[]), false),
            (&two, node(7, "b", "two", &[]), false),
            (&two, node(7, "b", "three", &[]), false),
            // A copy for a test, and one whose directory was made anew, which streamed from the cluster.
            (&two, node(7, "d", "three", &[]), false),
            (&two, node(7, "d", "three", &[("b", "two", "10.0.0.2")]), true),
            (&elsewhere, node(7, "c", "three", &[]), true),
            (&elsewhere, node(7, "d", "three", &[]), false),
            (&nobody, node(7, "c", "three", &[]), false),
            (&nobody, node(7, "c", "three", &[("b", "two", "10.0.0.2")]), true),
        ] {
            assert_eq!(asked.another_than(&found, "three", HERE).is_none(), is_it, "{asked:?} {found:?}");
        }
    }

    #[test]
    fn another_node_is_not_taken_for_the_one_that_was_there() {
        let one = node(7, "a", "one", &[("b", "two", "10.0.0.2")]);
        for (found, is_it) in [
            (node(7, "a", "one", &[]), true),
            (node(7, "e", "one", &[]), true),
            (node(7, "b", "one", &[]), false),
            (node(8, "a", "one", &[]), false),
        ] {
            assert_eq!(one.replaced_by(&found).is_none(), is_it, "{found:?}");
        }
    }
}
