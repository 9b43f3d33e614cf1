//! One file: its live content and the journal of what is not yet durable.
//!
//! The journal holds every change since the oldest one that is not durable, with what it replaced,
//! so that any of them can be undone and done again. Syncs are entries too: they count only once
//! their stamp has passed. A durable change leaves the journal when nothing before it is left.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard};

use super::content::Content;
use super::device::Stamp;
use super::power::{Fates, FileLoss, Survival};
use super::{UNSYNCED_BYTES_MAX, WRITEBACK_AFTER};
use crate::world::lock;
use crate::world::timeline::nanos;

/// A file on the disk, whatever its names.
pub(super) struct FileNode {
    pub(super) id: u64,
    state: Mutex<FileState>,
}

#[derive(Clone, Default)]
struct FileState {
    content: Content,
    journal: VecDeque<Entry>,
    /// Bytes of data in the journal.
    journal_bytes: usize,
    /// Bytes written since the last sync was issued: what the next one has to write.
    dirty_bytes: u64,
    /// The earliest stamp of a sync in the journal.
    next_sync_ns: Option<u64>,
}

#[derive(Clone)]
struct Entry {
    stamp_ns: u64,
    what: What,
    durable: bool,
    /// A failed sync marked it clean: no later sync writes it.
    orphan: bool,
}

#[derive(Clone)]
enum What {
    Change {
        change: Change,
        undo: Undo,
    },
    /// Covers changes whose stamp is at most `start_ns`.
    Sync {
        start_ns: u64,
    },
}

#[derive(Clone)]
pub(super) enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    SetLength(u64),
}

#[derive(Clone)]
struct Undo {
    length: u64,
    parts: Arc<[(u64, Vec<u8>)]>,
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Change::Write { data, .. } => data.len(),
            Change::SetLength(_) => 0,
        }
    }
}

impl FileNode {
    pub(super) fn new(id: u64) -> FileNode {
        FileNode {
            id,
            state: Mutex::default(),
        }
    }

    /// An independent file that is the same in everything.
    pub(super) fn copy(&self) -> FileNode {
        FileNode {
            id: self.id,
            state: Mutex::new(self.state().clone()),
        }
    }

    /// Feeds what the next process would read to `hasher`.
    pub(super) fn hash(&self, hasher: &mut impl Hasher) {
        self.state().content.hash(hasher);
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        lock(&self.state)
    }

    pub(super) fn length(&self) -> u64 {
        self.state().content.length()
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        self.state().content.read(offset, buffer)
    }

    pub(super) fn snapshot(&self) -> Vec<u8> {
        let state = self.state();
        state.content.read_vec(0, state.content.length() as usize)
    }

    /// Applies `change`, which takes effect at `stamp`.
    pub(super) fn change(&self, change: Change, stamp: Stamp, now_ns: u64) {
        let mut state = self.state();
        state.prune(now_ns);
        state.dirty_bytes += change.bytes() as u64;
        state.apply(change, stamp.done_ns, false);
    }

    /// The bytes that a sync issued now would have to write.
    pub(super) fn dirty_bytes(&self) -> u64 {
        self.state().dirty_bytes
    }

    /// A sync that will have succeeded at `stamp`.
    pub(super) fn sync(&self, stamp: Stamp, now_ns: u64) {
        let mut state = self.state();
        state.prune(now_ns);
        state.dirty_bytes = 0;
        let what = What::Sync {
            start_ns: stamp.start_ns,
        };
        state.push(Entry {
            stamp_ns: stamp.done_ns,
            what,
            durable: true,
            orphan: false,
        });
    }

    /// A sync that was answered without being done: a lie.
    pub(super) fn pretend_sync(&self, now_ns: u64) {
        let mut state = self.state();
        state.prune(now_ns);
        state.dirty_bytes = 0;
    }

    /// A sync that failed: the pages are clean now and not on the disk. What an earlier sync covers
    /// is not touched, also where both belong to the same disk work and lie ahead of the clock.
    pub(super) fn fail_sync(&self, stamp: Stamp, now_ns: u64) {
        let mut state = self.state();
        state.prune(now_ns);
        state.mark_durable(stamp.start_ns);
        state.dirty_bytes = 0;
        for entry in state.journal.iter_mut().filter(|entry| !entry.durable) {
            entry.orphan = true;
        }
    }

    /// A sync that failed, after which the kernel has forgotten what it did not write: it reads as
    /// what is durable. The length, which is no page, stays as it was.
    pub(super) fn drop_dirty(&self, stamp: Stamp, now_ns: u64) {
        let mut state = self.state();
        state.prune(now_ns);
        state.mark_durable(stamp.start_ns);
        state.dirty_bytes = 0;
        let length = state.content.length();
        for entry in state.undo_all() {
            match entry.what {
                // Syncs that run beside this one find clean pages.
                What::Sync { .. } => {}
                What::Change { change, .. } if entry.durable => {
                    state.apply(change, entry.stamp_ns, false);
                    if let Some(again) = state.journal.back_mut() {
                        again.durable = true;
                    }
                }
                What::Change { .. } => {}
            }
        }
        state.next_sync_ns = None;
        if state.content.length() != length {
            state.apply(Change::SetLength(length), now_ns, true);
        }
    }

    /// The parts that were ever written to, roughly: (offset, length).
    pub(super) fn written_ranges(&self) -> Vec<(u64, u64)> {
        self.state().content.written_ranges()
    }

    /// Whether the byte at `offset` is what the disk itself holds.
    pub(super) fn is_durable_at(&self, offset: u64, now_ns: u64) -> bool {
        let mut state = self.state();
        state.prune(now_ns);
        state.journal.iter().all(|entry| match &entry.what {
            What::Sync { .. } => true,
            What::Change { change, .. } => match change {
                Change::Write { offset: from, data } => {
                    offset < *from || offset >= from + data.len() as u64
                }
                Change::SetLength(to) => offset < *to,
            },
        })
    }

    pub(super) fn flip_bits(&self, offset: u64, mask: u8) -> bool {
        let mut state = self.state();
        let mut byte = [0];
        if state.content.read(offset, &mut byte) == 0 {
            return false;
        }
        state.content.write(offset, &[byte[0] ^ mask]);
        true
    }

    /// The process died at `now_ns`: changes with later stamps never happened.
    pub(super) fn settle(&self, now_ns: u64) {
        self.state().settle(now_ns);
    }

    /// Power was lost at `now_ns`; `None` when nothing was un-synced.
    pub(super) fn lose_power(
        &self,
        now_ns: u64,
        sector: u32,
        fates: &mut dyn Fates,
        path: String,
    ) -> Option<FileLoss> {
        let mut state = self.state();
        state.settle(now_ns);
        state.prune(now_ns);
        if state.journal.is_empty() {
            return None;
        }
        let entries = state.undo_all();
        let mut survival = Survival::new(sector, fates, &mut state.content, path);
        for entry in entries {
            let What::Change { change, .. } = entry.what else {
                continue;
            };
            survival.apply(change, entry.durable);
        }
        let loss = survival.finish();
        state.dirty_bytes = 0;
        Some(loss)
    }
}

impl FileState {
    fn push(&mut self, entry: Entry) {
        match &entry.what {
            What::Change { change, .. } => self.journal_bytes += change.bytes(),
            What::Sync { .. } => {
                let next_ns = self.next_sync_ns.unwrap_or(u64::MAX).min(entry.stamp_ns);
                self.next_sync_ns = Some(next_ns);
            }
        }
        self.journal.push_back(entry);
        while self.journal_bytes > UNSYNCED_BYTES_MAX {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.journal.pop_front()
            && let What::Change { change, .. } = entry.what
        {
            self.journal_bytes -= change.bytes();
        }
    }

    fn apply(&mut self, change: Change, stamp_ns: u64, orphan: bool) {
        let length = self.content.length();
        let parts = match &change {
            Change::Write { offset, data } => {
                let parts = vec![(*offset, self.content.read_vec(*offset, data.len()))];
                self.content.write(*offset, data);
                parts
            }
            Change::SetLength(to) => {
                let parts = self.content.written_after(*to);
                self.content.set_length(*to);
                parts
            }
        };
        let what = What::Change {
            change,
            undo: Undo {
                length,
                parts: parts.into(),
            },
        };
        self.push(Entry {
            stamp_ns,
            what,
            durable: false,
            orphan,
        });
    }

    /// Marks as durable what syncs (or the flusher) have written by `now_ns`, and forgets it.
    fn prune(&mut self, now_ns: u64) {
        if self.next_sync_ns.is_some_and(|next_ns| next_ns <= now_ns) {
            self.mark_durable(now_ns);
        }
        let flushed_ns = now_ns.saturating_sub(nanos(WRITEBACK_AFTER));
        while let Some(front) = self.journal.front() {
            let flushed = !front.orphan && front.stamp_ns < flushed_ns;
            if matches!(front.what, What::Sync { .. }) || !(front.durable || flushed) {
                break;
            }
            self.pop_front();
        }
    }

    /// Lets the syncs that are done by `now_ns` count, and removes them.
    fn mark_durable(&mut self, now_ns: u64) {
        let done = |entry: &Entry| match entry.what {
            What::Sync { start_ns } if entry.stamp_ns <= now_ns => Some(start_ns),
            _ => None,
        };
        // From the end backwards: an entry is covered by the widest sync after it.
        let mut covered_ns = None;
        for entry in self.journal.iter_mut().rev() {
            if let Some(start_ns) = done(entry) {
                covered_ns = covered_ns.max(Some(start_ns));
            } else if !entry.orphan && Some(entry.stamp_ns) <= covered_ns {
                entry.durable = true;
            }
        }
        self.journal.retain(|entry| done(entry).is_none());
        let syncs = self
            .journal
            .iter()
            .filter(|entry| matches!(entry.what, What::Sync { .. }));
        self.next_sync_ns = syncs.map(|entry| entry.stamp_ns).min();
    }

    /// Takes back everything in the journal, and returns it in the order in which it was done.
    fn undo_all(&mut self) -> VecDeque<Entry> {
        self.undo_from(0)
    }

    fn undo_from(&mut self, first: usize) -> VecDeque<Entry> {
        let entries = self.journal.split_off(first);
        for entry in entries.iter().rev() {
            if let What::Change { change, undo } = &entry.what {
                self.journal_bytes -= change.bytes();
                for (offset, bytes) in undo.parts.iter() {
                    // A write that only extended the file replaced nothing.
                    if !bytes.is_empty() {
                        self.content.write(*offset, bytes);
                    }
                }
                self.content.set_length(undo.length);
            }
        }
        entries
    }

    fn settle(&mut self, now_ns: u64) {
        // The process that would have pruned is gone: let what was synced in time count first.
        self.prune(now_ns);
        let Some(first) = self
            .journal
            .iter()
            .position(|entry| entry.stamp_ns > now_ns)
        else {
            return;
        };
        let undone = self.undo_from(first);
        // Syncs that are done were taken out above: those left never happened.
        self.journal
            .retain(|entry| matches!(entry.what, What::Change { .. }));
        self.next_sync_ns = None;
        for entry in undone {
            if entry.stamp_ns > now_ns {
                continue;
            }
            match entry.what {
                What::Change { change, .. } => {
                    self.apply(change, entry.stamp_ns, entry.orphan);
                    if let Some(again) = self.journal.back_mut() {
                        again.durable = entry.durable;
                    }
                }
                What::Sync { .. } => unreachable!("a sync in the past was taken out above"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use crate::world::disk::power::{Drawn, PowerLoss};

    fn lose_all(file: &FileNode, now_ns: u64) {
        let mut draws = Stream::new(1, "test");
        let mut fates = Drawn::new(PowerLoss::lose_all(), &mut draws);
        file.lose_power(now_ns, 512, &mut fates, String::new());
    }

    fn stamp(start_ns: u64, done_ns: u64) -> Stamp {
        Stamp { start_ns, done_ns }
    }

    fn put(offset: u64, data: &[u8]) -> Change {
        Change::Write {
            offset,
            data: data.into(),
        }
    }

    fn write(file: &FileNode, offset: u64, data: &[u8], at: Stamp) {
        file.change(put(offset, data), at, at.start_ns);
    }

    #[test]
    fn concurrent_changes_are_taken_back_one_by_one() {
        // A's call runs first but its second write comes late; B overwrites in time.
        let file = FileNode::new(1);
        write(&file, 0, b"aaaa", stamp(0, 10));
        write(&file, 2, b"AAAA", stamp(10, 700));
        write(&file, 4, b"bb", stamp(20, 30));
        assert_eq!(file.snapshot(), b"aaAAbb");
        file.settle(100);
        assert_eq!(file.snapshot(), b"aaaabb");
        file.settle(100);
        assert_eq!(file.snapshot(), b"aaaabb");
    }

    #[test]
    fn a_sync_covers_what_came_before_it_and_only_once_it_is_done() {
        for (death_ns, expected) in [(49, &b""[..]), (50, b"one")] {
            let file = FileNode::new(1);
            write(&file, 0, b"one", stamp(0, 10));
            write(&file, 3, b"two", stamp(10, 30));
            file.sync(stamp(20, 50), 20);
            file.settle(death_ns);
            assert_eq!(file.snapshot(), b"onetwo");
            lose_all(&file, death_ns);
            assert_eq!(file.snapshot(), expected, "death at {death_ns}");
        }
    }

    #[test]
    fn an_orphan_is_lost_under_later_durable_writes() {
        let file = FileNode::new(1);
        write(&file, 0, b"base", stamp(0, 1));
        file.sync(stamp(1, 2), 1);
        write(&file, 0, b"XX", stamp(3, 4));
        file.fail_sync(stamp(5, 6), 5);
        write(&file, 1, b"Y", stamp(6, 7));
        file.sync(stamp(7, 8), 7);
        assert_eq!(file.snapshot(), b"XYse");
        lose_all(&file, 20);
        assert_eq!(file.snapshot(), b"bYse");
    }

    #[test]
    fn a_failed_sync_does_not_undo_one_before_it_in_the_same_work() {
        let fail: [fn(&FileNode); 2] = [
            |file| file.fail_sync(stamp(5, 6), 0),
            |file| file.drop_dirty(stamp(5, 6), 0),
        ];
        for fail in fail {
            let file = FileNode::new(1);
            // All of it is issued at time 0 and takes effect later.
            file.change(put(0, b"base"), stamp(0, 1), 0);
            file.sync(stamp(1, 2), 0);
            file.change(put(0, b"XX"), stamp(3, 4), 0);
            fail(&file);
            lose_all(&file, 20);
            assert_eq!(file.snapshot(), b"base");
        }
    }

    #[test]
    fn the_journal_is_short_after_a_sync_and_bounded_without() {
        let file = FileNode::new(1);
        for round in 0..100 {
            let at = round * 100;
            write(&file, at, &[1; 100], stamp(at, at + 1));
            file.sync(stamp(at + 1, at + 2), at);
        }
        assert!(
            file.state().journal.len() <= 4,
            "{}",
            file.state().journal.len()
        );
        let block = vec![2; 1 << 20];
        for round in 0..100 {
            write(&file, 0, &block, stamp(20_000 + round, 20_001 + round));
        }
        assert!(file.state().journal_bytes <= UNSYNCED_BYTES_MAX);
        let later_ns = nanos(WRITEBACK_AFTER) * 2;
        write(&file, 0, b"z", stamp(later_ns, later_ns + 1));
        assert_eq!(file.state().journal.len(), 1);
    }
}
