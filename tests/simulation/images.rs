//! Images of machines: a process is replaced by its own state of an earlier moment, as when an image
//! of its virtual machine is restored.
//!
//! A schedule is determined by its seed. So an image of a moment is the process of a second world
//! that runs the same schedule up to that event.

use proxyherd::replication::Incarnation;
use proxyherd::replication::link::CallFailure;

use crate::coverage::Situation;
use crate::model::Pid;
use crate::queue::Event;
use crate::world::{CheckResult, MAX_PROCESSES, World, trace};

/// Maximum number of events between half of the images and their restoration.
const MAX_RECENT_EVENTS: u64 = 40;

impl World {
    /// Restores an image, at random.
    pub(crate) fn maybe_restore_image(&mut self) -> CheckResult {
        let is_possible = self.images_left > 0 && self.processes.len() < MAX_PROCESSES;
        if !is_possible || !self.random.chance(self.setup.images) {
            return Ok(());
        }
        let Some((_, former)) = self.random_process() else {
            return Ok(());
        };
        self.images_left -= 1;
        let born = self.processes[former.0].born;
        let last = self.events - 1;
        let first = self
            .random
            .pick(&[born, born.max(last.saturating_sub(MAX_RECENT_EVENTS))]);
        let frozen_at = self.random.between(first, last);
        let mut past = World::new(&self.setup, false);
        past.begin();
        while past.events < frozen_at {
            past.run_one(u64::MAX)?;
        }
        self.restore(former, past);
        Ok(())
    }

    /// Replaces a process by its state in an earlier world.
    fn restore(&mut self, former: Pid, mut past: World) {
        let pid = Pid(self.processes.len());
        let frozen_at = past.now;
        let mut image = past.processes.swap_remove(former.0);
        let runs = self.processes.iter().filter(|p| p.server == image.server);
        (image.pid, image.run) = (pid, runs.count() + 1);
        image.answers = std::mem::take(&mut image.answers).without_clients();
        (image.born, image.paused_until) = (self.events, self.now);
        self.shared |= Pid::of_incarnation(image.incarnation).bit();
        let (server, calls) = (
            image.server,
            image.links.iter().filter(|it| it.waiting.is_some()),
        );
        let mut has_call = calls.count() > 0;
        for (at, link) in image.links.iter_mut().enumerate() {
            link.next_step = u64::MAX;
            if let Some(waiting) = link.waiting {
                // Its connection was that of the former self, so there is no response.
                let limit = self.now + self.random.between(1, 60);
                self.queue
                    .push(limit, Event::TimeOut(pid, at, waiting.number));
            }
        }
        self.processes.push(image);
        for (at, mut incoming) in past.queue.into_merges(former) {
            incoming.by = pid;
            has_call = true;
            self.queue
                .push(self.now + at - frozen_at, Event::Merge(incoming));
        }
        let at = self.running[server]
            .iter()
            .position(|&running| running == former);
        self.end(former);
        self.running[server].insert(at.expect("a running process was drawn"), pid);
        self.ledger.note_image();
        self.coverage.count(Situation::ImageRestored);
        if has_call {
            self.coverage.count(Situation::ImageOfCall);
        }
        trace!(
            self,
            "{} is restored from an image of {} of tick {frozen_at}",
            self.process_name(pid),
            self.process_name(former)
        );
        self.wake_links(pid);
    }

    /// Handles an answer that pushes of this process do not account for.
    pub(crate) fn not_accepted(
        &mut self,
        pid: Pid,
        at: usize,
        failure: CallFailure,
    ) -> CheckResult {
        let CallFailure::IncarnationUsed(used) = failure else {
            return Err(failure.reason().to_owned());
        };
        let name = self.process_name(pid);
        if !self.is_shared(Pid::of_incarnation(used.get())) {
            return Err(format!(
                "{name} renews incarnation {used}, which only it has used"
            ));
        }
        let fresh = Incarnation::new(pid.incarnation()).expect("is not 0");
        if self.replica(pid).renew_incarnation(used, fresh) {
            trace!(self, "{name} continues as incarnation {}", fresh.get());
            self.coverage.count(Situation::Renewed);
            let process = &mut self.processes[pid.0];
            process.incarnation = fresh.get();
            process.model.renew();
            process.answers.forget_acknowledged();
            self.wake_links(pid);
        }
        self.call_failed(pid, at, failure);
        Ok(())
    }
}
