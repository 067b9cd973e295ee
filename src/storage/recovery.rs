//! Recovery: the files of a server into an empty store, whatever became of them.

use std::io;

use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;
use crate::replication::Incarnation;
use crate::replication::lineage::{Lineage, NeighbourFacts};
use crate::replication::messages::PushHeader;
use crate::replication::replica::Replica;

use super::files::{FileName, Files, state_name};
use super::format::{Content, FORMAT_VERSION, Frame, FrameReader};
use super::journal::{Journal, JournalStart};

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Number of reports that were read.
    pub reports: u64,
    /// Number of bytes that were read.
    pub bytes: u64,
    /// Number of places in files at which damaged bytes were skipped.
    pub damaged: u64,
    /// Number of whole frames that were skipped, since their content is unknown.
    pub unknown: u64,
    /// Number of bytes of an unfinished write at the end of a file, where the server was killed.
    pub bytes_cut: u64,
    /// Files that were set aside or left alone, and why.
    pub unused: Vec<UnusedFile>,
}

/// A file that recovery did not use, or not in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedFile {
    /// Its present name.
    pub name: String,
    /// The reason.
    pub reason: UnusedReason,
}

/// Why a file was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnusedReason {
    /// It has another version of the format.
    OtherVersion(u8),
    /// It belongs to another server, which is named with its herd.
    OtherServer(String),
    /// It is empty, or holds nothing that is readable.
    Unreadable,
    /// The system did not read it, or not to its end.
    Failed(String),
}

impl RecoveryReport {
    /// Returns whether anything was wrong, a torn end apart.
    pub fn has_losses(&self) -> bool {
        self.damaged + self.unknown > 0 || !self.unused.is_empty()
    }
}

/// Reads the newest generation of files into the store of `replica`, which must be empty, at the
/// time `now`. The replica then continues the feed that was stored. Returns the journal that goes
/// on from there.
///
/// A file that was damaged is read as far as it is whole, and earlier generations too if there are
/// any: what they have and the newest one lacks counts as changed just now. A file that cannot be
/// used is renamed and never removed.
pub fn recover<F: Files>(
    mut files: F,
    replica: &mut Replica,
    now: UnixNanos,
) -> (Journal<F>, RecoveryReport) {
    let mut recovery = Recovery {
        replica,
        now,
        report: RecoveryReport::default(),
        newest: None,
        last: 0,
    };
    let names = files.list().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            recovery.unused(".", UnusedReason::Failed(error.to_string()));
        }
        Vec::new()
    });
    let parsed = names.iter().filter_map(|name| FileName::parse(name));
    let mut names: Vec<FileName> = parsed.collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.generation()));
    for name in &names {
        if let FileName::Unfinished(generation) = name {
            let _ = files.remove(&super::files::unfinished_name(*generation));
        }
    }
    let (mut known, mut damaged, mut is_superseded) = (Vec::new(), Vec::new(), false);
    for name in names {
        let FileName::State(generation) = name else {
            continue;
        };
        let name = state_name(generation);
        known.push(name.clone());
        if is_superseded {
            if damaged.is_empty() {
                let _ = files.remove(&name);
            }
            continue;
        }
        match recovery.read(&mut files, &name) {
            // It has all that earlier generations had.
            Ok(true) => is_superseded = true,
            Ok(false) => damaged.push(name),
            Err(reason) => {
                known.pop();
                recovery.set_aside(&mut files, &name, reason);
            }
        }
    }
    recovery.finish();
    let report = recovery.report;
    let start = JournalStart { known, damaged };
    (Journal::new(files, start), report)
}

struct Recovery<'a> {
    replica: &'a mut Replica,
    now: UnixNanos,
    report: RecoveryReport,
    newest: Option<Pass>,
    /// The last sequence number that the newest generation names.
    last: u64,
}

impl Recovery<'_> {
    /// Reads a file. Returns whether it was whole, up to a torn end.
    ///
    /// # Errors
    ///
    /// Returns the reason why nothing of it was used.
    fn read<F: Files>(&mut self, files: &mut F, name: &str) -> Result<bool, UnusedReason> {
        let failed = |error: io::Error| UnusedReason::Failed(error.to_string());
        let mut reader = FrameReader::new(files.open(name).map_err(failed)?);
        let mut pass = Pass::new(self.newest.is_none());
        let is_read_to_end = loop {
            match reader.next_frame() {
                Ok(Some(frame)) => self.take(frame, &mut pass)?,
                Ok(None) => break true,
                Err(error) if !pass.is_begun => return Err(failed(error)),
                Err(error) => {
                    self.unused(name, failed(error));
                    break false;
                }
            }
        };
        if !pass.is_begun {
            return Err(UnusedReason::Unreadable);
        }
        self.report.bytes += reader.offset();
        let is_whole = is_read_to_end && !pass.is_damaged;
        if pass.is_newest {
            self.report.bytes_cut += reader.offset() - pass.end;
            self.newest = Some(pass);
        }
        Ok(is_whole)
    }

    fn take(&mut self, frame: Frame, pass: &mut Pass) -> Result<(), UnusedReason> {
        let is_first = !std::mem::replace(&mut pass.is_begun, true);
        if is_first && frame.version != FORMAT_VERSION {
            return Err(UnusedReason::OtherVersion(frame.version));
        }
        if frame.is_after_damage {
            self.report.damaged += 1;
            pass.is_damaged = true;
        }
        pass.end = frame.end;
        let taken = match frame.content {
            Content::Header(header) => self.check(&header.herd, &header.server).map(|()| {
                pass.incarnation = Some(header.incarnation);
                pass.lineage = header.lineage;
                true
            }),
            // What is true of all changes before it is unknown if one of them is lost.
            Content::Facts(_) if pass.is_damaged => Ok(true),
            Content::Facts(facts) => {
                pass.facts = facts;
                Ok(true)
            }
            Content::Changes(changes) => {
                let merged = changes.read(|header, reports, first| {
                    self.check(header.herd, header.sender)?;
                    self.merge(header, reports, first, pass);
                    Ok(true)
                });
                merged.unwrap_or(Ok(false))
            }
            Content::Unknown => Ok(false),
        };
        match taken {
            Ok(true) => {}
            Err(reason) if is_first => return Err(reason),
            Ok(false) | Err(_) => {
                self.report.unknown += 1;
                pass.is_damaged = true;
            }
        }
        Ok(())
    }

    fn merge(
        &mut self,
        header: &PushHeader<'_>,
        reports: &[Report<'_>],
        first: u64,
        pass: &mut Pass,
    ) {
        let first = if pass.is_newest { first } else { 0 };
        self.replica.restore(reports, first, self.now);
        if pass.is_newest {
            self.last = self.last.max(header.to);
        }
        pass.note_incarnation(Incarnation::new(header.sender_incarnation));
        self.report.reports += reports.len() as u64;
    }

    /// Checks that a part of a file belongs to this server.
    fn check(&self, herd: &str, server: &str) -> Result<(), UnusedReason> {
        let me = (self.replica.herd().as_str(), self.replica.name().as_str());
        let is_own = (herd, server) == me;
        let other = || UnusedReason::OtherServer(format!("{server:?} of the herd {herd:?}"));
        is_own.then_some(()).ok_or_else(other)
    }

    fn unused(&mut self, name: &str, reason: UnusedReason) {
        let name = name.to_owned();
        self.report.unused.push(UnusedFile { name, reason });
    }

    fn set_aside(&mut self, files: &mut impl Files, name: &str, reason: UnusedReason) {
        let suffix = match reason {
            UnusedReason::OtherVersion(_) => "version",
            UnusedReason::OtherServer(_) => "foreign",
            UnusedReason::Unreadable | UnusedReason::Failed(_) => "unreadable",
        };
        let aside = format!("{name}.{suffix}");
        match files.rename(name, &aside) {
            Ok(()) => self.unused(&aside, reason),
            Err(_) => self.unused(name, reason),
        }
    }

    /// Makes the replica continue the stored feed.
    fn finish(&mut self) {
        let Some(newest) = self.newest.take() else {
            return;
        };
        let lineage = match newest.incarnation {
            Some(incarnation) => newest.lineage.extended(incarnation),
            None => Lineage::default(),
        };
        self.replica.restore_lineage(lineage, self.last);
        for facts in &newest.facts {
            self.replica.restore_facts(facts);
        }
    }
}

/// One pass through a file.
struct Pass {
    /// The incarnation that wrote what was read last.
    incarnation: Option<Incarnation>,
    /// The offset after the last whole frame.
    end: u64,
    lineage: Lineage,
    facts: Vec<NeighbourFacts>,
    is_newest: bool,
    is_begun: bool,
    is_damaged: bool,
}

impl Pass {
    fn new(is_newest: bool) -> Self {
        Self {
            incarnation: None,
            end: 0,
            lineage: Lineage::default(),
            facts: Vec::new(),
            is_newest,
            is_begun: false,
            is_damaged: false,
        }
    }

    /// Records who wrote some changes. If their header is damaged, its lineage is unknown.
    fn note_incarnation(&mut self, incarnation: Option<Incarnation>) {
        if self.incarnation != incarnation {
            self.incarnation = incarnation;
            self.lineage = Lineage::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::model::client::ClientId;
    use crate::model::name::Name;
    use crate::model::position::Position;
    use crate::model::report::Origin;
    use crate::model::timestamp::{Skew, Timestamp};
    use crate::replication::messages::{Greeting, VERSION};
    use crate::replication::replica::ServerIdentity;
    use crate::storage::Folder;
    use crate::storage::format;
    use crate::storage::journal::JournalSizes;

    const FIRST: &str = "state-0000000000000001";

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// Riley, a neighbour of Jaquez.
    fn riley(incarnation: u64) -> Replica {
        let identity = ServerIdentity {
            herd: name("test"),
            name: name("Riley"),
            incarnation: Incarnation::new(incarnation).unwrap(),
        };
        let members = vec![name("Riley"), name("Jaquez")];
        Replica::new(identity, members, vec![name("Jaquez")], [1, 2, 3, 4])
    }

    fn report<'a>(client: &'a str, time: &'a str) -> Report<'a> {
        Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(b"+1+1").unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        }
    }

    fn admit(replica: &Replica, client: &str, time: &str) {
        let admitted = replica.admit(&report(client, time), UnixNanos(0), usize::MAX);
        assert!(admitted.is_ok());
    }

    /// Records that Jaquez has greeted and pushed changes through `applied`, without reports.
    fn apply(replica: &Replica, incarnation: u64, applied: u64) {
        let greeting = Greeting {
            version: VERSION,
            herd: "test",
            sender: "Jaquez",
            incarnation,
            receiver: "Riley",
            expire_after: None,
            acknowledged: None,
        };
        replica.accept_greeting(&greeting).unwrap();
        let pending = replica.begin_push(&PushHeader {
            herd: "test",
            sender: "Jaquez",
            sender_incarnation: incarnation,
            receiver_incarnation: replica.incarnation().get(),
            from: 0,
            to: applied,
            check: None,
        });
        replica.finish_push(&pending.unwrap(), &[]).unwrap();
    }

    /// Returns the clients with their times and sequence numbers, in the order of the feed.
    fn stored(replica: &Replica) -> Vec<(String, String, u64)> {
        let mut all = Vec::new();
        let each = |stored: &crate::replication::store::StoredReport<'_>| {
            let (client, time) = (stored.report.client, stored.report.time);
            all.push((
                client.text().to_owned(),
                time.text().to_owned(),
                stored.number,
            ));
        };
        replica.store().scan(each, || ());
        all.sort_by_key(|entry| entry.2);
        all
    }

    fn entry(client: &str, time: &str, number: u64) -> (String, String, u64) {
        (client.to_owned(), time.to_owned(), number)
    }

    /// A folder with the state of a server.
    struct Site {
        dir: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Self { dir }
        }

        fn recover(&self, replica: &mut Replica) -> (Journal<Folder>, RecoveryReport) {
            let folder = Folder::open(self.dir.path()).unwrap();
            recover(folder, replica, UnixNanos(0))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.filter(|name| name != "lock").collect();
            names.sort();
            names
        }
    }

    /// Writes all that is missing, with a new file if one is needed.
    fn write(journal: &mut Journal<Folder>, replica: &Replica) {
        journal.append(replica).unwrap();
        while journal.needs_compaction(replica) {
            journal.compact(replica).unwrap();
        }
        assert_eq!(journal.durable(), replica.store().last());
    }

    /// Returns a site in which incarnation 1 stored a and b in a frame each, and then that it
    /// applied 5 of Jaquez.
    fn two_frames() -> Site {
        let site = Site::new();
        let mut replica = riley(1);
        let (mut journal, report) = site.recover(&mut replica);
        assert_eq!(report, RecoveryReport::default());
        write(&mut journal, &replica);
        admit(&replica, "a", "1");
        write(&mut journal, &replica);
        admit(&replica, "b", "1");
        apply(&replica, 50, 5);
        write(&mut journal, &replica);
        site
    }

    fn applied(replica: &Replica) -> Vec<u64> {
        let facts = replica.facts().into_iter();
        let applied = facts.flat_map(|facts| facts.applied);
        applied.map(|applied| applied.through).collect()
    }

    #[test]
    fn what_was_stored_is_there_with_its_numbers_and_the_feed_goes_on() {
        let site = two_frames();
        let mut replica = riley(2);
        let (mut journal, report) = site.recover(&mut replica);
        assert_eq!((report.reports, report.has_losses()), (2, false));
        assert_eq!(report.bytes, fs::metadata(site.path(FIRST)).unwrap().len());
        assert_eq!(stored(&replica), [entry("a", "1", 1), entry("b", "1", 2)]);
        assert_eq!(applied(&replica), [5]);
        admit(&replica, "a", "2");
        write(&mut journal, &replica);
        drop(journal);

        let mut replica = riley(3);
        let (_, report) = site.recover(&mut replica);
        assert!(!report.has_losses());
        assert_eq!(stored(&replica), [entry("b", "1", 2), entry("a", "2", 3)]);
        let lineage: Vec<u64> = replica.lineage().iter().map(Incarnation::get).collect();
        assert_eq!(lineage, [2, 1]);
    }

    #[test]
    fn only_changes_are_written_and_each_client_once() {
        let site = two_frames();
        let mut replica = riley(2);
        let (mut journal, _) = site.recover(&mut replica);
        write(&mut journal, &replica);
        let written = journal.counts();
        write(&mut journal, &replica);
        assert_eq!(journal.counts(), written, "nothing changed");
        for time in ["2", "3", "4"] {
            admit(&replica, "a", time);
        }
        write(&mut journal, &replica);
        let one = journal.counts().bytes_written - written.bytes_written;
        admit(&replica, "a", "5");
        write(&mut journal, &replica);
        let both = journal.counts().bytes_written - written.bytes_written;
        assert_eq!(both, 2 * one);
    }

    #[test]
    fn a_torn_end_is_cut_and_all_before_it_is_there() {
        let whole = fs::read(two_frames().path(FIRST)).unwrap();
        for end in 0..whole.len() {
            let site = Site::new();
            fs::write(site.path(FIRST), &whole[..end]).unwrap();
            let mut replica = riley(2);
            let (mut journal, report) = site.recover(&mut replica);
            assert_eq!((report.damaged, report.unknown), (0, 0), "{end}");
            let is_readable = report.unused.is_empty();
            assert!(is_readable || stored(&replica).is_empty());
            let kept = stored(&replica).len() as u64;
            assert_eq!(replica.store().last(), kept);
            admit(&replica, "c", "1");
            write(&mut journal, &replica);
            drop(journal);
            let mut replica = riley(3);
            let (_, report) = site.recover(&mut replica);
            assert_eq!((report.has_losses(), report.bytes_cut), (false, 0), "{end}");
            assert_eq!(stored(&replica).len() as u64, kept + 1);
        }
    }

    #[test]
    fn a_damaged_byte_costs_its_frame_and_the_watermarks_after_it() {
        let whole = fs::read(two_frames().path(FIRST)).unwrap();
        for at in 0..whole.len() {
            let site = Site::new();
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(site.path(FIRST), &damaged).unwrap();
            let mut replica = riley(2);
            let (mut journal, report) = site.recover(&mut replica);
            let kept = stored(&replica);
            assert!(!kept.is_empty(), "byte {at}: {report:?}");
            for (client, _, number) in &kept {
                assert_eq!(*number, if client == "a" { 1 } else { 2 });
            }
            assert!(kept.len() == 2 || applied(&replica).is_empty(), "byte {at}");
            write(&mut journal, &replica);
            if report.damaged > 0 {
                let aside = format!("{FIRST}.damaged");
                assert_eq!(site.names(), [aside, "state-0000000000000002".to_owned()]);
                drop(journal);
                let mut replica = riley(3);
                let (_, report) = site.recover(&mut replica);
                assert!(!report.has_losses());
                assert_eq!(stored(&replica), kept);
            }
        }
    }

    /// Writes the file of a generation that has one frame.
    fn write_file(path: &Path, frame: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        frame(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_is_set_aside_and_earlier_ones_are_read() {
        fn header(herd: &str, server: &str) -> format::Header {
            format::Header {
                herd: herd.to_owned(),
                server: server.to_owned(),
                incarnation: Incarnation::new(9).unwrap(),
                lineage: Lineage::default(),
            }
        }
        let other = |herd: &str, server: &str| {
            UnusedReason::OtherServer(format!("{server:?} of the herd {herd:?}"))
        };
        let newer = |bytes: &mut Vec<u8>| {
            header("test", "Riley").write(bytes);
            bytes[3] = 2;
            let checksum = format::checksum(
                [2, bytes[4]],
                [bytes[5], bytes[6], bytes[7], bytes[8]],
                &bytes[13..],
            );
            bytes[9..13].copy_from_slice(&checksum.to_le_bytes());
        };
        let foreign = |herd: &'static str, server: &'static str| {
            move |bytes: &mut Vec<u8>| header(herd, server).write(bytes)
        };
        type Write = Box<dyn Fn(&mut Vec<u8>)>;
        let cases: [(Write, UnusedReason, &str); 5] = [
            (Box::new(newer), UnusedReason::OtherVersion(2), "version"),
            (
                Box::new(foreign("other", "Riley")),
                other("other", "Riley"),
                "foreign",
            ),
            (
                Box::new(foreign("test", "Jaquez")),
                other("test", "Jaquez"),
                "foreign",
            ),
            (Box::new(|_| ()), UnusedReason::Unreadable, "unreadable"),
            (
                Box::new(|bytes| bytes.extend([b'x'; 99])),
                UnusedReason::Unreadable,
                "unreadable",
            ),
        ];
        for (write_frame, reason, suffix) in cases {
            let site = two_frames();
            let unusable = "state-0000000000000007";
            write_file(&site.path(unusable), &write_frame);
            let mut replica = riley(2);
            let (mut journal, report) = site.recover(&mut replica);
            let name = format!("{unusable}.{suffix}");
            assert_eq!(
                report.unused,
                [UnusedFile {
                    name: name.clone(),
                    reason
                }]
            );
            assert_eq!(stored(&replica).len(), 2);
            admit(&replica, "c", "1");
            write(&mut journal, &replica);
            assert_eq!(site.names(), [name, "state-0000000000000008".to_owned()]);
        }
    }

    #[test]
    fn a_file_that_was_not_there_at_the_start_is_set_aside_and_hides_nothing() {
        let site = Site::new();
        let mut replica = riley(2);
        let (mut journal, _) = site.recover(&mut replica);
        // Its disk is mounted only now.
        let late = "state-0000000000000005";
        fs::copy(two_frames().path(FIRST), site.path(late)).unwrap();
        admit(&replica, "c", "1");
        write(&mut journal, &replica);
        let aside = format!("{late}.unreadable");
        assert_eq!(journal.take_set_aside(), [aside.as_str()]);
        let next = "state-0000000000000006".to_owned();
        assert_eq!(site.names(), [aside, next]);
        drop(journal);
        let mut replica = riley(3);
        site.recover(&mut replica);
        assert_eq!(stored(&replica), [entry("c", "1", 1)]);
    }

    #[test]
    fn a_missing_folder_is_created_and_a_second_user_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/Riley");
        let first = Folder::open(&path).unwrap();
        let error = Folder::open(&path).unwrap_err().to_string();
        let expected = format!(
            "cannot use {}: another process stores a server there; stop it, or set another \"dir\" \
             under [storage]",
            path.display()
        );
        assert_eq!(error, expected);
        drop(first);
        assert!(Folder::open(&path).is_ok());
    }

    #[test]
    fn compaction_bounds_the_files_and_forgets_what_was_replaced_and_purged() {
        let site = Site::new();
        let mut replica = riley(1);
        let (journal, _) = site.recover(&mut replica);
        let slack_bytes = 64 << 10;
        let mut journal = journal.with_sizes(JournalSizes {
            slack_bytes,
            ..JournalSizes::default()
        });
        let clients: Vec<String> = (0..300).map(|n| format!("client-{n}")).collect();
        let mut largest = 0;
        for round in 0..50 {
            let time = round.to_string();
            clients
                .iter()
                .for_each(|client| admit(&replica, client, &time));
            write(&mut journal, &replica);
            largest = largest.max(journal.size().0);
        }
        let live = 300 * 90;
        assert!(largest < 3 * live + slack_bytes, "{largest}");
        assert!(journal.counts().compactions > 1, "{:?}", journal.counts());
        let expected = stored(&replica);
        drop(journal);
        let mut replica = riley(2);
        site.recover(&mut replica);
        assert_eq!(stored(&replica), expected);
    }
}
