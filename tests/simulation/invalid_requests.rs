//! Invalid requests: each must be rejected for its one mistake, and change nothing.

use std::mem::discriminant;

use proxyherd::replication::messages::{Greeting, PushHeader, Rejection, VERSION, Version};

use crate::model::Pid;
use crate::process::HERD;
use crate::topology::NAMES;
use crate::world::{CheckResult, World};

/// How often invalid requests follow a push, per mille.
const PROBES_PER_MILLE: u32 = 50;

/// An incarnation that no process has.
const UNKNOWN_INCARNATION: u64 = 1_000_000;

impl World {
    /// Follows a push by requests with one mistake each, at random.
    pub(crate) fn probe(&mut self, pid: Pid, push: &PushHeader<'_>) -> CheckResult {
        let sender = Pid::of_incarnation(push.sender_incarnation);
        let is_neighbour = self.processes[pid.0]
            .neighbour(self.server(sender))
            .is_some();
        if !is_neighbour || !self.random.chance(PROBES_PER_MILLE) {
            return Ok(());
        }
        self.probe_pushes(pid, push)?;
        self.probe_gap(pid, push)?;
        self.probe_greetings(pid, push)?;
        self.check_unchanged(pid)
    }

    fn probe_pushes(&self, pid: Pid, push: &PushHeader<'_>) -> CheckResult {
        let own = self.processes[pid.0].incarnation;
        let good = PushHeader {
            receiver_incarnation: own,
            ..*push
        };
        let no_incarnation = PushHeader {
            sender_incarnation: 0,
            ..good
        };
        let from_unknown = PushHeader {
            sender_incarnation: UNKNOWN_INCARNATION,
            ..good
        };
        let to_unknown = PushHeader {
            receiver_incarnation: UNKNOWN_INCARNATION,
            ..good
        };
        let backwards = PushHeader {
            from: 1,
            to: 0,
            ..good
        };
        for (push, why) in [
            (no_incarnation, malformed()),
            (from_unknown, Rejection::NotGreeted),
            (to_unknown, Rejection::WrongIncarnation),
            (backwards, malformed()),
        ] {
            let rejected = self.replica(pid).begin_push(&push).map(drop);
            self.check_rejected(pid, rejected, &why)?;
        }
        for (herd, sender, why) in self.unaccepted_senders(pid) {
            let push = PushHeader {
                herd,
                sender,
                ..good
            };
            let rejected = self.replica(pid).begin_push(&push).map(drop);
            self.check_rejected(pid, rejected, &why)?;
        }
        Ok(())
    }

    fn probe_gap(&self, pid: Pid, push: &PushHeader<'_>) -> CheckResult {
        let sender = Pid::of_incarnation(push.sender_incarnation);
        let process = &self.processes[pid.0];
        let Some(neighbour) = process.neighbour(self.server(sender)) else {
            return Ok(());
        };
        if !process.model.has_greeted(neighbour, sender) || !process.model.is_exact(neighbour) {
            return Ok(());
        }
        let from = process.model.applied(sender) + 1;
        let push = PushHeader {
            receiver_incarnation: process.incarnation,
            from,
            to: from,
            ..*push
        };
        let rejected = self.replica(pid).begin_push(&push).map(drop);
        let applied = from - 1;
        if rejected == Err(Rejection::Gap { applied, from }) {
            Ok(())
        } else {
            Err(format!(
                "{} accepted a gap: {rejected:?}",
                self.process_name(pid)
            ))
        }
    }

    fn probe_greetings(&self, pid: Pid, push: &PushHeader<'_>) -> CheckResult {
        let own = NAMES[self.server(pid)];
        let good = Greeting {
            version: VERSION,
            herd: HERD,
            sender: push.sender,
            incarnation: UNKNOWN_INCARNATION,
            receiver: own,
            expire_after: None,
            acknowledged: None,
        };
        let major = VERSION.major + 1;
        let version = Version { major, minor: 0 };
        let other_version = Greeting { version, ..good };
        let to_another = Greeting {
            receiver: push.sender,
            ..good
        };
        let no_incarnation = Greeting {
            incarnation: 0,
            ..good
        };
        for (greeting, why) in [
            (other_version, Rejection::IncompatibleVersion(version)),
            (to_another, Rejection::WrongReceiver(String::new())),
            (no_incarnation, malformed()),
        ] {
            let rejected = self.replica(pid).accept_greeting(&greeting).map(drop);
            self.check_rejected(pid, rejected, &why)?;
        }
        for (herd, sender, why) in self.unaccepted_senders(pid) {
            let greeting = Greeting {
                herd,
                sender,
                ..good
            };
            let rejected = self.replica(pid).accept_greeting(&greeting).map(drop);
            self.check_rejected(pid, rejected, &why)?;
        }
        Ok(())
    }

    /// Returns senders that this process must reject, with the reasons.
    fn unaccepted_senders(&self, pid: Pid) -> Vec<(&'static str, &'static str, Rejection)> {
        let process = &self.processes[pid.0];
        let own = NAMES[process.server];
        let unknown = String::new;
        let mut unaccepted_senders = vec![
            ("another", own, Rejection::OtherHerd(unknown())),
            ("no herd", own, malformed()),
            (HERD, "no name", malformed()),
            (HERD, "Mallory", Rejection::UnknownServer(unknown())),
            (HERD, own, Rejection::OwnName),
        ];
        let is_neighbour = |server| process.neighbour(server).is_some();
        let mut others = (0..self.setup.servers).filter(|&server| server != process.server);
        if let Some(far) = others.find(|&server| !is_neighbour(server)) {
            unaccepted_senders.push((HERD, NAMES[far], Rejection::NotNeighbour(unknown())));
        }
        unaccepted_senders
    }

    fn check_rejected(
        &self,
        pid: Pid,
        result: Result<(), Rejection>,
        why: &Rejection,
    ) -> CheckResult {
        match &result {
            Err(rejection) if discriminant(rejection) == discriminant(why) => Ok(()),
            _ => Err(format!(
                "{} returned {result:?}, not {why:?}",
                self.process_name(pid)
            )),
        }
    }
}

fn malformed() -> Rejection {
    Rejection::Malformed(String::new())
}
