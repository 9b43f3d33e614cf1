//! Applying while the store is still being read.

use super::*;
use crate::mvcc::KeyRanges;

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

/// A store with a key for each of `numbers`.
fn store(numbers: std::ops::Range<u32>) -> State {
    let mut state = State::new();
    for number in numbers {
        state.put(&put(&format!("key{number}"), "old")).unwrap();
    }
    state
}

fn keys(key: &str, range_end: &str) -> KeyRanges {
    let mut keys = KeyRanges::default();
    keys.insert_request(key.as_bytes(), range_end.as_bytes());
    keys
}

impl Bench {
    fn learn(&self, keys: KeyRanges) -> oneshot::Receiver<()> {
        let (answer, heard) = oneshot::channel();
        self.orders.try_send(Order::Learn(keys, answer)).unwrap();
        heard
    }

    fn value(&self, key: &str) -> Option<String> {
        let latest = self.published.latest();
        assert!(latest.state.knows(&keys(key, "")), "{key} is not known");
        let record = latest
            .state
            .get_at(key.as_bytes(), latest.state.revision())?;
        Some(String::from_utf8(record.kv.value.to_vec()).unwrap())
    }
}

fn compaction(revision: i64) -> Request {
    Request::Compaction(pb::CompactionRequest {
        revision,
        ..Default::default()
    })
}

#[tokio::test(start_paused = true)]
async fn single_keys_are_served_at_once_and_what_needs_all_of_them_waits() {
    let mut bench = Bench::start_with(&store(0..5), true);
    bench.apply(2, Request::Put(put("key1", "new")));
    bench.apply(3, Request::Put(put("unheard-of", "new")));
    bench.host.sleep(3 * DISK).await;
    assert_eq!(bench.published.latest().index, 3);
    assert_eq!(bench.value("key1").as_deref(), Some("new"));
    bench.learn(keys("key3", "key5")).await.unwrap();
    assert_eq!(bench.value("key3").as_deref(), Some("old"));
    assert_eq!(bench.value("key4").as_deref(), Some("old"));
    assert_eq!(bench.value("key44"), None);
    assert!(!bench.published.latest().state.knows(&keys("key0", "")));

    bench.apply(4, compaction(4));
    bench.apply(5, Request::Put(put("key2", "newer")));
    bench.host.sleep(READING / 2).await;
    assert_eq!(bench.published.latest().index, 3);
    assert!(!bench.whole.is_read());
    assert!(bench.whole.read().await);
    bench.durable(5).await;
    bench.host.sleep(DISK).await;
    let latest = bench.published.latest();
    assert!(!latest.state.is_partial());
    assert_eq!(latest.state.compact_finished(), 4);
    let stored = bench.backend().load().unwrap();
    assert_eq!(stored.state.hash(0).unwrap(), latest.state.hash(0).unwrap());
    assert_eq!(bench.value("key2").as_deref(), Some("newer"));
    assert_eq!(bench.value("key0").as_deref(), Some("old"));
}

#[tokio::test(start_paused = true)]
async fn a_read_of_many_keys_waits_without_holding_up_the_others() {
    let bench = Bench::start_with(&store(0..10_001), true);
    let mut many = bench.learn(keys("key", "kez"));
    bench.host.sleep(2 * DISK).await;
    bench.learn(keys("key7", "")).await.unwrap();
    assert_eq!(bench.value("key7").as_deref(), Some("old"));
    assert!(many.try_recv().is_err() && !bench.whole.is_read());
    many.await.unwrap();
    assert!(bench.whole.is_read());
    assert_eq!(bench.published.latest().state.record_count(), 10_001);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_waits_for_the_store_that_it_replaces() {
    let mut bench = Bench::start_with(&store(0..5), true);
    bench.install_state(10, &store(0..50));
    bench.apply(11, Request::Put(put("key49", "new")));
    bench.host.sleep(READING / 2).await;
    assert_eq!(bench.published.latest().index, 0);
    bench.durable(11).await;
    assert_eq!(bench.value("key49").as_deref(), Some("new"));
    assert_eq!(bench.published.latest().state.record_count(), 51);
}

/// The index says that there is no `key1`, and two versions of `key0` instead.
#[tokio::test(start_paused = true)]
async fn an_index_that_lied_ends_the_member_and_is_not_believed_again() {
    let mut lies = State::new();
    for _ in 0..2 {
        lies.put(&put("key0", "old")).unwrap();
    }
    let mut bench = Bench::start_indexed(&store(0..2), Some(&lies));
    bench.learn(keys("key1", "")).await.unwrap();
    assert_eq!(bench.value("key1"), None);
    let ended = (&mut bench.ended).await.unwrap();
    let text = ended.unwrap_err().to_string();
    assert!(
        text.contains("the store says otherwise about key key1"),
        "{text}"
    );
    let index = key_index::path_beside(&bench.snapshots.join("db"));
    assert!(!bench.host.disk().exists(&index).unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_index_that_does_not_add_up_is_not_used() {
    let folder = tempfile::TempDir::new().unwrap();
    let system = OsHost::new(tokio::runtime::Handle::current());
    let (disk, path) = (system.disk(), folder.path().join("db"));
    let meta = crate::api::proto::vetcdpb::BackendMeta::default();
    let backend = Arc::new(Backend::replace(disk.clone(), &path, &store(0..5), &meta).unwrap());
    let (index, owner) = (key_index::path_beside(&path), boot::index_owner(IDENTITY));
    let mut longer = store(0..5);
    longer.put(&put("key0", "future")).unwrap();
    let mut compacted = store(0..5);
    compacted.put(&put("key0", "new")).unwrap();
    compacted.compact(7).unwrap();
    while compacted.compact_step(10) {}
    for (state, fits) in [
        (store(0..5), true),
        (store(0..3), true),
        (State::new(), true),
        (longer, false),
        (compacted, false),
    ] {
        assert!(key_index::write(&*disk, &index, owner, &state, &|| true).unwrap());
        let opened = key_index::KeyIndex::open(&*disk, &index, owner)
            .unwrap()
            .unwrap();
        let unread = backend::Unread::open(backend.clone(), opened).unwrap();
        assert_eq!(unread.is_some(), fits, "index of {:?}", state.names());
    }
}
