//! The writer on a host with a virtual clock, where every disk operation takes its time.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::disk::{Draw, SYNC_COST};
use super::*;
use crate::defects::Defects;
use crate::host::{BoxFuture, Disk, Host, Listener, Moment, Stream, TaskHandle};
use crate::wal::{Ack, SyncPolicy, Writer};

/// Tokio's paused clock; disk work runs at once and then takes the time it costs.
struct TestHost {
    start: tokio::time::Instant,
    disk: Arc<MemoryDisk>,
    defects: Defects,
}

impl Host for TestHost {
    fn boot_id(&self) -> String {
        String::from("boot")
    }

    fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }
    fn wall_clock(&self) -> Duration {
        self.start.elapsed()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn spawn(&self, _name: &'static str, task: BoxFuture<()>) -> TaskHandle {
        let task = tokio::spawn(task);
        TaskHandle::new(move || task.abort())
    }
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let disk = self.disk.clone();
        Box::pin(async move {
            disk.take_cost();
            work();
            tokio::time::sleep(disk.take_cost()).await;
        })
    }
    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }
    fn listen(&self, _: &str) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
    fn connect(&self, _: &str) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
    fn fill_random(&self, buffer: &mut [u8]) {
        buffer.fill(4);
    }
    fn defects(&self) -> Defects {
        self.defects.clone()
    }
}

struct Bench {
    host: Arc<TestHost>,
    disk: Arc<MemoryDisk>,
    writer: Writer,
    acks: UnboundedReceiver<Ack>,
}

impl Bench {
    fn new(policy: &str) -> Bench {
        Bench::with(policy, Defects::default(), Options::default())
    }

    fn with(policy: &str, defects: Defects, options: Options) -> Bench {
        let disk = MemoryDisk::new();
        let log = create(&disk, options);
        let host = Arc::new(TestHost {
            start: tokio::time::Instant::now(),
            disk: disk.clone(),
            defects,
        });
        let policy: SyncPolicy = policy.parse().unwrap();
        let (sender, acks) = unbounded_channel();
        let writer = Writer::start(host.clone(), log, policy, sender, unmeasured());
        Bench {
            host,
            disk,
            writer,
            acks,
        }
    }

    /// Queues entry `index` under that ticket.
    fn put(&self, index: u64) {
        self.writer.append(index, entries([entry(index, 1, 100)]));
    }

    /// Waits for the next acknowledgement: its ticket and the time.
    async fn ack(&mut self) -> (u64, Duration) {
        match self.acks.recv().await {
            Some(Ack::Persisted { ticket }) => (ticket, self.host.now().0),
            other => panic!("{other:?}"),
        }
    }

    /// The index of the last entry that survives a power loss now, at worst.
    fn durable(&self) -> u64 {
        let losses = (0..60).map(|seed| self.disk.after_power_loss(&mut Draw(seed)));
        let last = |left: Arc<MemoryDisk>| {
            let recovered = crate::wal::read(&*left, &dir()).unwrap();
            recovered.entries.last().map_or(0, |entry| entry.index)
        };
        losses.map(last).min().unwrap()
    }

    fn syncs(&self) -> u64 {
        self.writer.metrics().syncs.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn always_acknowledges_what_is_durable_and_groups_what_waits() {
    let mut bench = Bench::new("always");
    bench.put(1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    // These arrive during the first sync and share the next.
    (2..=50).for_each(|index| bench.put(index));
    assert!(bench.writer.queued_bytes() > 5000);
    let (ticket, first) = bench.ack().await;
    assert_eq!(ticket, 1);
    assert!(first >= SYNC_COST, "{first:?}");
    assert!(bench.durable() >= 1);
    let (ticket, second) = bench.ack().await;
    assert_eq!(ticket, 50);
    assert!(second - first >= SYNC_COST && second - first < 2 * SYNC_COST);
    assert_eq!(bench.durable(), 50);
    assert_eq!(bench.syncs(), 2);
    assert_eq!(bench.writer.queued_bytes(), 0);
    let metrics = bench.writer.metrics();
    assert_eq!(metrics.entries.load(Ordering::Relaxed), 50);
    assert_eq!(metrics.batches.load(Ordering::Relaxed), 50);
    assert_eq!(metrics.groups.load(Ordering::Relaxed), 2);
    assert!(metrics.bytes.load(Ordering::Relaxed) > 5000);
}

#[tokio::test(start_paused = true)]
async fn batch_waits_for_company_from_the_first_one_on() {
    let mut bench = Bench::new("batch:5ms");
    for index in 1..=4 {
        bench.put(index);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (ticket, when) = bench.ack().await;
    assert_eq!(ticket, 4);
    assert!(when >= Duration::from_millis(5) + SYNC_COST);
    assert!(when < Duration::from_millis(7) + SYNC_COST, "{when:?}");
    assert_eq!((bench.syncs(), bench.durable()), (1, 4));

    // A vote does not wait.
    let before = bench.host.now().0;
    let mut vote = commit(2, 1);
    vote.must_sync = true;
    bench.writer.append(5, vote);
    let (_, when) = bench.ack().await;
    let took = when - before;
    assert!(
        took >= SYNC_COST && took < SYNC_COST + Duration::from_millis(4),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn commit_indexes_alone_are_never_synced() {
    for policy in ["always", "batch:5ms", "interval:5ms", "none"] {
        let mut bench = Bench::new(policy);
        bench.put(1);
        bench.ack().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (syncs, before) = (bench.syncs(), bench.host.now().0);
        bench.writer.append(2, commit(1, 1));
        let (ticket, when) = bench.ack().await;
        assert_eq!(ticket, 2);
        assert!(when - before < Duration::from_millis(2), "{policy}");
        assert_eq!(bench.syncs(), syncs, "{policy}");
    }
}

/// The commit index that a reader finds now.
fn recovered_commit(disk: &MemoryDisk) -> u64 {
    crate::wal::read(disk, &dir()).unwrap().hard_state.commit
}

#[tokio::test(start_paused = true)]
async fn commit_indexes_are_written_with_the_next_group_or_when_none_comes() {
    let mut bench = Bench::new("always");
    let bytes = |bench: &Bench| bench.writer.metrics().bytes.load(Ordering::Relaxed);
    bench.put(1);
    bench.ack().await;
    let written = bytes(&bench);
    bench.writer.append(2, commit(1, 1));
    bench.ack().await;
    assert_eq!((bytes(&bench), recovered_commit(&bench.disk)), (written, 0));
    bench.writer.append(3, entries([entry(2, 1, 100)]));
    bench.ack().await;
    assert_eq!(recovered_commit(&bench.disk), 1);
    bench.writer.append(4, commit(1, 2));
    bench.ack().await;
    assert_eq!(recovered_commit(&bench.disk), 1);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(recovered_commit(&bench.disk), 2);
    // Then nothing is left to say.
    let written = bytes(&bench);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bytes(&bench), written);
}

#[tokio::test(start_paused = true)]
async fn a_commit_index_that_waits_is_written_when_the_writer_is_dropped() {
    let Bench {
        disk,
        writer,
        mut acks,
        ..
    } = Bench::new("always");
    writer.append(1, entries([entry(1, 1, 100)]));
    writer.append(2, commit(1, 1));
    while !matches!(acks.recv().await, Some(Ack::Persisted { ticket: 2 })) {}
    writer.append(3, commit(1, 1));
    drop(writer);
    while acks.recv().await.is_some() {}
    assert_eq!(recovered_commit(&disk), 1);
}

#[tokio::test(start_paused = true)]
async fn interval_acknowledges_first_and_syncs_beside_the_writes() {
    let mut bench = Bench::new("interval:50ms");
    let mut slowest = Duration::ZERO;
    for index in 1..=400 {
        let before = bench.host.now().0;
        bench.put(index);
        let (ticket, when) = bench.ack().await;
        assert_eq!(ticket, index);
        slowest = slowest.max(when - before);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // No write waited for a sync, and yet there was one every 50 ms.
    assert!(slowest < SYNC_COST / 2, "{slowest:?}");
    let elapsed = bench.host.now().0.as_millis() as u64;
    let syncs = bench.syncs();
    assert!(
        (elapsed / 70..=elapsed / 50 + 2).contains(&syncs),
        "{syncs} in {elapsed} ms"
    );
    // What is un-synced is no older than the interval and one sync.
    let durable = bench.durable();
    assert!((330..400).contains(&durable), "{durable}");
    // And when the writes end, the last one is synced too, and the syncs end.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.durable(), 400);
    let syncs = bench.syncs();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.syncs(), syncs);
}

#[tokio::test(start_paused = true)]
async fn interval_syncs_votes_before_it_acknowledges_them() {
    let mut bench = Bench::new("interval:10s");
    bench.put(1);
    bench.ack().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = bench.host.now().0;
    let mut vote = entries([entry(2, 1, 100)]);
    vote.must_sync = true;
    bench.writer.append(2, vote);
    let (_, when) = bench.ack().await;
    assert!(when - before >= SYNC_COST);
    assert_eq!(bench.durable(), 2);
}

#[tokio::test(start_paused = true)]
async fn none_never_syncs() {
    let mut bench = Bench::with("none", Defects::default(), SMALL);
    let operations = bench.disk.operations().len();
    for index in 1..=30 {
        bench.put(index);
        bench.ack().await;
    }
    bench.writer.append(31, mark(30, 1));
    bench.ack().await;
    bench.writer.release(30);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(bench.disk.files().len() == 1, "{:?}", bench.disk.files());
    drop(bench.writer);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let operations = bench.disk.operations().split_off(operations);
    assert!(operations.contains(&"rename") && operations.contains(&"remove"));
    assert!(!operations.iter().any(|name| name.starts_with("sync")));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_writer_leaves_everything_durable() {
    for policy in ["always", "batch:5ms", "interval:10s"] {
        let mut bench = Bench::new(policy);
        (1..=3).for_each(|index| bench.put(index));
        let (queue, durable) = (bench.writer, |disk: &MemoryDisk| {
            let left = disk.after_power_loss(&mut Draw(3));
            crate::wal::read(&*left, &dir()).unwrap().entries.len()
        });
        drop(queue);
        while bench.acks.recv().await.is_some() {}
        assert_eq!(durable(&bench.disk), 3, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_the_last_word() {
    for policy in ["always", "interval:5ms"] {
        for failing in ["write", "sync"] {
            let mut bench = Bench::new(policy);
            bench.put(1);
            bench.ack().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let already = bench.disk.operations().len();
            bench.put(2);
            if failing == "write" {
                bench.disk.fail_from(Some(already));
            } else {
                bench.disk.fail_from(Some(already + 1));
            }
            let failed = loop {
                match bench.acks.recv().await.unwrap() {
                    Ack::Persisted { ticket } => {
                        assert!(policy != "always" && failing == "sync" && ticket == 2);
                    }
                    Ack::Failed(error) => break error.to_string(),
                }
            };
            assert!(
                failed.contains("injected") && failed.contains(failing),
                "{failed}"
            );
            // The disk is well again, and is not touched again.
            bench.disk.fail_from(None);
            let operations = bench.disk.operations().len();
            bench.put(3);
            assert!(bench.acks.recv().await.is_none());
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(bench.disk.operations().len(), operations);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_log_proves_its_last_entry() {
    for policy in ["always", "batch:1ms", "interval:5ms"] {
        let mut bench = Bench::new(policy);
        bench.put(1);
        bench.ack().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let file = bench.disk.files().remove(0);
        let (_, mut content) = bench.disk.versions(&file);
        // The last bytes are the synced record; before them ends the entry.
        let position = content.len() - 40;
        content[position] ^= 1;
        bench.disk.replace(&file, content);
        let refused = open(&bench.disk.copy(), SMALL);
        assert!(
            matches!(refused, Err(Error::Damaged { .. })),
            "{policy}: {refused:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn early_acknowledgements_are_given_only_by_the_defect() {
    for (name, early) in [(None, false), (Some("ack-before-sync"), true)] {
        if early && cfg!(not(feature = "defects")) {
            continue;
        }
        let defects = Defects::by_name(name).unwrap();
        let mut bench = Bench::with("always", defects, Options::default());
        let mut batch = entries([entry(1, 1, 100)]);
        batch.ack_early = true;
        bench.writer.append(1, batch);
        let mut vote = commit(2, 1);
        vote.must_sync = true;
        bench.writer.append(2, vote);
        let (ticket, when) = bench.ack().await;
        assert_eq!(ticket, if early { 1 } else { 2 });
        assert_eq!(when < SYNC_COST, early);
        if early {
            let (ticket, when) = bench.ack().await;
            assert!(ticket == 2 && when >= SYNC_COST);
        }
    }
}

fn unmeasured() -> prometheus::Histogram {
    prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("syncs", "syncs")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_looked_at_until_there_is_space() {
    let options = Options {
        allocate_bytes: 1024,
        reserve_bytes: 4096,
        ..Options::default()
    };
    let disk = MemoryDisk::new();
    let mut log = create(&disk, options);
    let space = Arc::new(crate::storage::Space::default());
    log.report_space(space.clone());
    let host = Arc::new(TestHost {
        start: tokio::time::Instant::now(),
        disk: disk.clone(),
        defects: Defects::default(),
    });
    let (sender, mut acks) = unbounded_channel();
    let policy: SyncPolicy = "always".parse().unwrap();
    let writer = Writer::start(host.clone(), log, policy, sender, unmeasured());
    // What is written first takes the reserve.
    writer.append(1, entries([entry(1, 1, 100)]));
    assert!(matches!(acks.recv().await, Some(Ack::Persisted { .. })));
    disk.pack(true);
    for index in 2..=10 {
        writer.append(index, entries([entry(index, 1, 100)]));
        assert!(matches!(acks.recv().await, Some(Ack::Persisted { .. })));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(space.is_short());
    disk.pack(false);
    // Nothing is written meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!space.is_short());
    drop(writer);
    assert!(acks.recv().await.is_none(), "no timer keeps the task alive");
}
