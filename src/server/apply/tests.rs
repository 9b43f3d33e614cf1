//! The apply task on a disk that takes its time, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::api::proto::etcdserverpb as pb;
use crate::host::BoxFuture;
use crate::host::layer::{Layer, Layered};
use crate::host::os::OsHost;
use crate::raft::Input;

use super::*;
use crate::backend::key_index;
use std::sync::Mutex;

mod reading;

/// How long any disk work takes.
const DISK: Duration = Duration::from_secs(1);

/// How long it takes to read a whole store in the background.
const READING: Duration = Duration::from_secs(100);

/// A slow disk.
#[derive(Default)]
struct Slow {
    /// The next work takes this long.
    next: Mutex<Option<Duration>>,
}

impl Layer for Slow {
    fn blocking(&self, inner: &Arc<dyn Host>, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let next = self.next.lock().unwrap().take();
        let pause = inner.sleep(next.unwrap_or(DISK));
        Box::pin(async move {
            work();
            pause.await;
        })
    }
}

struct Bench {
    applies: mpsc::UnboundedSender<Apply>,
    told: mpsc::Receiver<Input>,
    orders: mpsc::Sender<Order>,
    published: Arc<Board>,
    whole: Arc<Whole>,
    snapshots: std::path::PathBuf,
    host: Arc<dyn Host>,
    ended: oneshot::Receiver<Result<(), Error>>,
    _folder: tempfile::TempDir,
}

const IDENTITY: raft::Identity = raft::Identity {
    cluster_id: 7,
    member_id: 1,
};

impl Bench {
    fn start() -> Bench {
        Self::start_with(&State::new(), false)
    }

    /// A member whose store holds `state`; if it is `unread`, its keys are indexed.
    fn start_with(state: &State, unread: bool) -> Bench {
        Self::start_indexed(state, unread.then_some(state))
    }

    /// A member whose store holds `state`. With an index, of the state given, it takes [`READING`] to
    /// read the store.
    fn start_indexed(state: &State, indexed: Option<&State>) -> Bench {
        let folder = tempfile::TempDir::new().unwrap();
        let system = Arc::new(OsHost::new(tokio::runtime::Handle::current()));
        let slow = Slow::default();
        let path = folder.path().join("db");
        let disk = system.disk();
        let meta = crate::api::proto::vetcdpb::BackendMeta::default();
        let backend = Arc::new(Backend::replace(disk.clone(), &path, state, &meta).unwrap());
        let (mut state, mut reader) = (state.clone(), None);
        if let Some(indexed) = indexed {
            let (index, owner) = (key_index::path_beside(&path), boot::index_owner(IDENTITY));
            assert!(key_index::write(&*disk, &index, owner, indexed, &|| true).unwrap());
            let index = key_index::KeyIndex::open(&*disk, &index, owner)
                .unwrap()
                .unwrap();
            let opened = backend::Unread::open(backend.clone(), index)
                .unwrap()
                .unwrap();
            (reader, state) = (Some(Arc::new(opened.0)), opened.1);
            *slow.next.lock().unwrap() = Some(READING);
        }
        let host: Arc<dyn Host> = Arc::new(Layered::new(system, slow));
        let reading = reader.map(|reader| Reading::start(&host, reader, backend.clone()));
        let current = Published::restored(state, backend.meta().unwrap());
        let (raft, told) = raft::Handle::detached();
        let (applies, to_apply) = mpsc::unbounded_channel();
        let (orders, ordered) = mpsc::channel(1);
        let published = Arc::new(Board::new(current.clone()));
        let whole = Arc::new(Whole::default());
        let timekeeper = super::super::lease::Timekeeper::new(
            &crate::config::Config::from_pairs::<&str, &str>([]).unwrap(),
        );
        let applier = Applier {
            clock: timekeeper.clock.clone(),
            lease_counters: timekeeper.counters.clone(),
            lease_events: Vec::new(),
            news: Arc::default(),
            watches: Arc::new(crate::watch::Hub::new(current.state.clone(), 1)),
            metrics: Arc::new(crate::metrics::Metrics::new()),
            host: host.clone(),
            defects: Defects::default(),
            identity: IDENTITY,
            current,
            restored: 0,
            backends: watch::channel(backend.clone()).0,
            backend,
            options: BackendOptions {
                path,
                batch_interval: Duration::from_millis(100),
                batch_limit: 2,
            },
            raft,
            applies: to_apply,
            published: published.clone(),
            waiters: Arc::default(),
            snapshots: Arc::new(SnapshotStore::new(folder.path().to_owned())),
            orders: ordered,
            sizes: Arc::default(),
            space: Arc::default(),
            tokens: Arc::new(Tokens::new(Duration::from_secs(300))),
            auth_kept: (1, false),
            reading,
            whole: whole.clone(),
            indexing: Indexing::new(u64::MAX, None),
        };
        let (sender, ended) = oneshot::channel();
        let running = async move {
            let _ = sender.send(applier.run().await);
        };
        host.spawn("apply", Box::pin(running));
        Bench {
            applies,
            told,
            orders,
            published,
            whole,
            snapshots: folder.path().to_owned(),
            host,
            ended,
            _folder: folder,
        }
    }

    fn apply(&self, index: u64, request: Request) {
        let request = LogRequest {
            id: index,
            member_id: 9,
            request: Some(request),
            ..Default::default()
        };
        let entry = Committed {
            index,
            term: 1,
            is_change: false,
            data: request.encode_to_vec().into(),
        };
        self.applies.send(Apply::Entries(vec![entry])).unwrap();
    }

    fn put(&self, index: u64) {
        let key = bytes::Bytes::from(format!("k{index}"));
        self.apply(
            index,
            Request::Put(pb::PutRequest {
                key,
                ..Default::default()
            }),
        );
    }

    /// Hands over a snapshot of the state now published, as of `index`.
    fn install(&self, index: u64) {
        self.install_state(index, &self.published.latest().state);
    }

    /// Hands over a snapshot of `state`, as of `index`.
    fn install_state(&self, index: u64, state: &State) {
        let latest = self.published.latest();
        let mut meta = Published {
            state: state.clone(),
            ..(*latest).clone()
        }
        .meta(IDENTITY);
        (meta.consistent_index, meta.term) = (index, 1);
        let disk = self.host.disk();
        snapshot::write_file(disk.as_ref(), &self.snapshots, state, &meta).unwrap();
        self.applies
            .send(Apply::Install { index, term: 1 })
            .unwrap();
    }

    /// The store, as whoever else opens it sees it.
    fn backend(&self) -> Backend {
        Backend::open(self.host.disk(), &self.snapshots.join("db")).unwrap()
    }

    /// Waits until the backend holds everything up to `index`.
    async fn durable(&mut self, index: u64) {
        let hearing = async {
            loop {
                if let Some(Input::BackendDurable(reached)) = self.told.recv().await
                    && reached.index >= index
                {
                    return;
                }
            }
        };
        let heard = self.host.timeout(Duration::from_secs(3600), hearing).await;
        assert!(
            heard.is_some(),
            "entry {index} is never committed to the backend"
        );
    }
}

/// A commit was running and another one due when a snapshot came: once the due signal was swallowed
/// no commit followed for as long as the member lived.
#[tokio::test(start_paused = true)]
async fn commits_go_on_after_an_install_in_the_middle_of_one() {
    let mut bench = Bench::start();
    bench.put(2);
    // The timer for the first entry runs. The next two begin a commit at once.
    bench.host.sleep(Duration::from_millis(50)).await;
    bench.put(3);
    bench.host.sleep(Duration::from_millis(10)).await;
    bench.install(10);
    bench.host.sleep(5 * DISK).await;
    assert_eq!(bench.published.latest().index, 10);
    bench.put(11);
    bench.durable(11).await;
}

/// The same for the steps of a compaction.
#[tokio::test(start_paused = true)]
async fn compaction_goes_on_after_an_install_in_the_middle_of_it() {
    let mut bench = Bench::start();
    for index in 2..2500 {
        bench.put(index);
    }
    bench.durable(2499).await;
    let compact = |revision| {
        Request::Compaction(pb::CompactionRequest {
            revision,
            ..Default::default()
        })
    };
    bench.apply(2500, compact(2400));
    bench.host.sleep(Duration::from_millis(5)).await;
    bench.install(2501);
    bench.host.sleep(10 * DISK).await;
    bench.put(2502);
    bench.apply(2503, compact(2450));
    bench.host.sleep(10 * DISK).await;
    // Steps of a compaction show with the next entry.
    bench.put(2504);
    bench.host.sleep(DISK).await;
    let state = bench.published.latest();
    assert_eq!(state.state.compact_revision(), 2450);
    assert_eq!(
        state.state.compact_finished(),
        2450,
        "nothing carries it on"
    );
}

#[tokio::test(start_paused = true)]
async fn the_file_is_built_anew_while_entries_are_applied() {
    let mut bench = Bench::start();
    bench.put(2);
    let (answer, heard) = oneshot::channel();
    bench.orders.send(Order::Defragment(answer)).await.unwrap();
    bench.host.sleep(DISK / 2).await;
    bench.put(3);
    bench.host.sleep(DISK / 4).await;
    assert_eq!(bench.published.latest().index, 3);
    assert_eq!(heard.await, Ok(Ok(())));
    bench.durable(3).await;
    // The other handle is still open, which redb does not mind on our files.
    let loaded = bench.backend().load().unwrap();
    assert_eq!(
        (loaded.meta.consistent_index, loaded.state.revision()),
        (3, 3)
    );
}
