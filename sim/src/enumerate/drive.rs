//! A member's storage, driven by hand through the steps that the server's tasks take in this order.

use std::path::PathBuf;
use std::sync::Arc;

use prost::Message;
use vetcd::api::proto::etcdserverpb::{CompactionRequest, PutRequest};
use vetcd::api::proto::vetcdpb::{ClusterMember, Entry, LogRequest, log_request::Request};
use vetcd::backend::Backend;
use vetcd::defects::Defects;
use vetcd::host::Disk;
use vetcd::raft::Identity;
use vetcd::server::boot::{self, Booted, boot, load_snapshot};
use vetcd::server::{Members, Published};
use vetcd::{snapshot, wal};

use super::expect::{Ledger, Promise};
use super::key_index;
use super::workload::{Operation, Pace, Workload};
use crate::world::disk::{Bench, Image};

/// Small, so that two entries fill a segment.
const SEGMENT_BYTES: u64 = 2048;
/// So that two of them, with the log's own, touch several sectors.
const VALUE_BYTES: usize = 300;
const IDENTITY: Identity = Identity {
    cluster_id: 0xc1,
    member_id: 1,
};

/// What was done to a disk, and what could be expected of it when.
pub(super) struct Attempt {
    /// One image before every changing operation, and one at the end.
    pub images: Vec<Image>,
    /// What was promised from that image on, ascending.
    pub promises: Vec<(usize, Promise)>,
    /// All that was ever written.
    pub ledger: Ledger,
    /// The first image of the last operation.
    pub last_begins: usize,
    /// Whether the operation that was to fail did.
    pub has_failed: bool,
    /// What the member said when it stopped before the end.
    pub stopped: Option<String>,
}

impl Attempt {
    /// What was promised at an image.
    pub fn promise(&self, image: usize) -> &Promise {
        let upto = self.promises.partition_point(|(from, _)| *from <= image);
        &self.promises[upto - 1].1
    }
}

/// How the member is started; `boot` is the number of the machine's start.
pub(super) fn options(boot: u32) -> boot::Options {
    let member = ClusterMember {
        id: IDENTITY.member_id,
        name: "m1".into(),
        ..Default::default()
    };
    boot::Options {
        data_dir: PathBuf::from("/data"),
        identity: IDENTITY,
        identity_is_binding: true,
        members: Members::from_wire([member]),
        joins: false,
        force_new_cluster: false,
        wal_sync: wal::SyncPolicy::Always,
        wal_options: wal::Options {
            segment_bytes: SEGMENT_BYTES,
            allocate_bytes: 1024,
            reserve_bytes: 1024,
            spares: 1,
            keep: 0,
        },
        boot_id: boot.to_string(),
    }
}

/// Starts a member on an empty disk and lets it do `workload`; the disk operation numbered `fail_at`
/// fails.
pub(super) fn drive(workload: &Workload, fail_at: Option<usize>, defects: &Defects) -> Attempt {
    let Workload { operations, pace } = workload;
    let bench = Bench::new(fail_at);
    let mut ledger = Ledger::default();
    let mut promises = vec![(0, Promise::default())];
    let mut last_begins = 0;
    let mut run = || -> Result<(), String> {
        ledger.genesis(&options(1), IDENTITY);
        let disk = bench.disk();
        let booted = boot(&disk, &options(1)).map_err(|error| error.to_string())?;
        let mut member = Member::new(disk, booted, *pace, defects.clone())?;
        for (number, operation) in operations.iter().enumerate() {
            if number + 1 == operations.len() {
                last_begins = bench.count();
            }
            member.operate(*operation, &mut ledger, &mut |promise| {
                promises.push((bench.count(), promise));
            })?;
        }
        Ok(())
    };
    let stopped = run().err();
    let has_failed = bench.has_failed();
    Attempt {
        images: bench.into_images(),
        promises,
        ledger,
        last_begins,
        has_failed,
        stopped,
    }
}

struct Member {
    disk: Arc<dyn Disk>,
    options: boot::Options,
    log: wal::Log,
    /// Away only while another takes its place.
    backend: Option<Backend>,
    current: Published,
    hard_state: wal::HardState,
    pace: Pace,
    /// Waits for the log's next group.
    put_off: wal::PutOff,
    defects: Defects,
    /// In the log and not yet applied.
    waiting: Vec<Entry>,
    /// The last entry in the log, or the mark.
    last: u64,
    marked: u64,
    promise: Promise,
    _lock: Box<dyn Send + Sync>,
}

impl Member {
    fn new(
        disk: Arc<dyn Disk>,
        booted: Booted,
        pace: Pace,
        defects: Defects,
    ) -> Result<Member, String> {
        let (backend, state) = booted.store.read().map_err(|error| error.to_string())?;
        let mut log = booted.restored.log;
        log.choose_defects(defects.clone());
        Ok(Member {
            disk,
            options: options(1),
            last: log.last_index(),
            log,
            backend: Some(backend),
            marked: booted.restored.compacted.0,
            current: booted.standing.with(state),
            hard_state: booted.restored.hard_state,
            pace,
            put_off: wal::PutOff::default(),
            defects,
            waiting: Vec::new(),
            promise: Promise::default(),
            _lock: booted.lock,
        })
    }

    fn operate(
        &mut self,
        operation: Operation,
        ledger: &mut Ledger,
        promised: &mut dyn FnMut(Promise),
    ) -> Result<(), String> {
        match operation {
            Operation::Append => {
                self.hard_state.term += 1;
                // For another one in each term, so that an old one is not taken for it.
                self.hard_state.vote = 1 + self.hard_state.term % 2;
                let requests = vec![self.put(0, VALUE_BYTES), self.put(1, VALUE_BYTES)];
                self.append(requests, ledger, promised)
            }
            Operation::Cut => {
                // The one that is too many goes into the next segment.
                let full = self.put(2, SEGMENT_BYTES as usize);
                self.append(vec![full, self.put(3, VALUE_BYTES)], ledger, promised)
            }
            Operation::Commit => self.commit(ledger, promised),
            Operation::Snapshot => self.snapshot(),
            Operation::Compact => {
                self.apply(ledger)?;
                let compaction = CompactionRequest {
                    revision: self.current.state.revision(),
                    physical: false,
                };
                self.append(vec![Request::Compaction(compaction)], ledger, promised)
            }
            Operation::Install => self.install(ledger, promised),
            Operation::Defragment => self.defragment(ledger, promised),
            Operation::Index => self.index(ledger, promised),
        }
    }

    /// A put of one of few keys; every value is new.
    fn put(&self, key: u64, bytes: usize) -> Request {
        let mut value = format!("{}/{key}/", self.last).into_bytes();
        let filler = (0..).map(|at: usize| (at * 31 + value.len() + self.last as usize) as u8);
        let filler: Vec<u8> = filler.take(bytes).collect();
        value.extend(filler);
        Request::Put(PutRequest {
            key: format!("key-{key}").into_bytes().into(),
            value: value.into(),
            ..Default::default()
        })
    }

    /// As the log's writer does with a group: write what waited and the group, sync.
    fn write(&mut self, batch: wal::Batch) -> Result<(), String> {
        let group = self.put_off.with_group(vec![batch], &self.defects);
        let written = self.log.append_group(&group);
        let synced = written.and_then(|()| self.log.sync());
        synced.map_err(|error| error.to_string())
    }

    /// As the log's writer does once raft knows that a group is committed: the commit index, and the
    /// claim that the group is durable, wait for the next group, unless none comes.
    fn written(&mut self) -> Result<(), String> {
        self.hard_state.commit = self.last;
        self.put_off.put_off(&wal::Batch {
            hard_state: Some(self.hard_state),
            ..wal::Batch::default()
        });
        if self.pace == Pace::Busy {
            return Ok(());
        }
        let waited = self.put_off.with_group(Vec::new(), &self.defects);
        let written = self.log.append_group(&waited);
        let marked = written.and_then(|()| self.log.mark_synced());
        marked.map_err(|error| error.to_string())
    }

    /// New entries: written, synced, acknowledged.
    fn append(
        &mut self,
        requests: Vec<Request>,
        ledger: &mut Ledger,
        promised: &mut dyn FnMut(Promise),
    ) -> Result<(), String> {
        let mut batch = wal::Batch {
            hard_state: Some(self.hard_state),
            must_sync: true,
            ..Default::default()
        };
        for request in requests {
            self.last += 1;
            let request = LogRequest {
                id: self.last,
                member_id: IDENTITY.member_id,
                request: Some(request),
                ..Default::default()
            };
            batch.entries.push(Entry {
                term: self.hard_state.term,
                index: self.last,
                data: request.encode_to_vec().into(),
                ..Default::default()
            });
        }
        ledger.entries(&batch.entries);
        self.waiting.extend(batch.entries.iter().cloned());
        self.write(batch)?;
        self.promise.last = self.last;
        self.promise.term = self.hard_state.term;
        self.promise.vote = self.hard_state.vote;
        promised(self.promise.clone());
        self.written()
    }

    fn apply(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        for entry in std::mem::take(&mut self.waiting) {
            super::expect::apply(&mut self.current, &entry)?;
            ledger.reached(&self.current);
        }
        Ok(())
    }

    fn commit(
        &mut self,
        ledger: &mut Ledger,
        promised: &mut dyn FnMut(Promise),
    ) -> Result<(), String> {
        self.apply(ledger)?;
        while self.current.state.compact_step(1000) {}
        let changes = self.current.state.take_changes();
        let number = ledger.committing(&self.current, IDENTITY);
        let backend = self.backend.as_ref().ok_or("the store is closed")?;
        let committed = backend.commit(&changes, &self.current.meta(IDENTITY));
        committed.map_err(|error| error.to_string())?;
        self.promise.commit = number;
        promised(self.promise.clone());
        Ok(())
    }

    /// As the apply task does: a commit, and a file with the same content takes the place of the old
    /// one, which stays open until then.
    fn defragment(
        &mut self,
        ledger: &mut Ledger,
        promised: &mut dyn FnMut(Promise),
    ) -> Result<(), String> {
        self.commit(ledger, promised)?;
        // It may go with the store it was beside.
        self.promise.index = 0;
        promised(self.promise.clone());
        let target = self.options.backend_path();
        let meta = self.current.meta(IDENTITY);
        let rebuilt = Backend::replace(self.disk.clone(), &target, &self.current.state, &meta);
        self.backend = Some(rebuilt.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// From the state at hand, which the backend may not have reached.
    fn index(
        &mut self,
        ledger: &mut Ledger,
        promised: &mut dyn FnMut(Promise),
    ) -> Result<(), String> {
        self.apply(ledger)?;
        let number = ledger.indexing(&self.current.state);
        key_index::keep(&*self.disk, &self.options, &self.current.state)?;
        self.promise.index = number;
        promised(self.promise.clone());
        Ok(())
    }

    /// As raft's loop does when the backend is durable up to an index.
    fn snapshot(&mut self) -> Result<(), String> {
        let index = self.current.index;
        if index <= self.marked || !self.waiting.is_empty() {
            return Ok(());
        }
        let mark = wal::SnapshotMark {
            index,
            term: self.current.term,
            conf_state: self.current.conf_state.clone(),
        };
        self.write(wal::Batch {
            snapshot: Some(mark),
            ..Default::default()
        })?;
        let released = self.log.release(index);
        released.map_err(|error| error.to_string())?;
        self.marked = index;
        self.written()
    }

    /// As when a leader sends its store: a file, a mark, and then the backend.
    fn install(
        &mut self,
        ledger: &mut Ledger,
        promised: &mut dyn FnMut(Promise),
    ) -> Result<(), String> {
        let mut received = self.current.clone();
        for entry in &self.waiting {
            super::expect::apply(&mut received, entry)?;
        }
        received.index = self.last + 3;
        received.term = self.hard_state.term;
        let Request::Put(put) = self.put(4, VALUE_BYTES) else {
            return Err("a put is a put".into());
        };
        received.state.put(&put).map_err(|e| e.to_string())?;
        received.state.take_changes();
        let number = ledger.committing(&received, IDENTITY);
        ledger.installing(&received);

        let (index, term) = (received.index, received.term);
        let directory = self.options.snapshot_dir();
        let meta = received.meta(IDENTITY);
        let file = snapshot::write_file(&*self.disk, &directory, &received.state, &meta)
            .map_err(|error| error.to_string())?;
        let mark = wal::SnapshotMark {
            index,
            term,
            conf_state: received.conf_state.clone(),
        };
        self.write(wal::Batch {
            snapshot: Some(mark),
            must_sync: true,
            ..Default::default()
        })?;
        (self.last, self.marked) = (index, index);
        self.promise.last = index;
        // It goes with the store it was beside.
        self.promise.index = 0;
        promised(self.promise.clone());
        self.written()?;

        self.backend = None;
        let target = self.options.backend_path();
        let (backend, _, _) = load_snapshot(self.disk.clone(), &file, &target, IDENTITY)
            .map_err(|error| error.to_string())?;
        self.promise.commit = number;
        promised(self.promise.clone());
        self.backend = Some(backend);
        self.current = received;
        self.waiting.clear();
        Ok(())
    }
}
