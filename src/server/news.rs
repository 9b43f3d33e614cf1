//! Tells waiting requests that a key they wait for has changed, and nobody else.
//!
//! A lock waits for one other key to go, an election's observer for any key of the election. Each
//! names its topic: a whole key, or a prefix that ends in `/`. The apply task looks at what a batch
//! has changed, and only while somebody waits; so a write costs a few look-ups then, however many
//! wait, and nothing otherwise.
//!
//! No news gets lost: whoever subscribes first and then looks at the newest state, published before
//! the news of it, sees a change or hears of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::mvcc::State;

/// The most subscriptions at a time.
const MAX_WAITING: usize = 100_000;

/// Who waits for what.
#[derive(Default)]
pub struct News(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    topics: BTreeMap<Bytes, BTreeMap<u64, oneshot::Sender<()>>>,
    count: usize,
    next: u64,
}

/// Waits for one change; dropping it gives up.
pub struct Subscription {
    news: Arc<News>,
    topic: Bytes,
    number: u64,
    heard: oneshot::Receiver<()>,
}

impl News {
    /// Waits for the next change of the key `topic`, or of any key that begins with it if it ends
    /// in `/`. `None` when too many wait.
    pub fn subscribe(self: &Arc<News>, topic: Bytes) -> Option<Subscription> {
        let (sender, heard) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.count >= MAX_WAITING {
            return None;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.count += 1;
        let subscribers = waiting.topics.entry(topic.clone()).or_default();
        subscribers.insert(number, sender);
        Some(Subscription {
            news: self.clone(),
            topic,
            number,
            heard,
        })
    }

    /// `state` is published; its changes after the revision `before` are news.
    pub fn published(&self, state: &State, before: i64) {
        let mut waiting = self.lock();
        if waiting.topics.is_empty() {
            return;
        }
        for record in state.records_from(before + 1) {
            let key = &record.kv.key;
            waiting.wake(key);
            for (at, _) in key.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                waiting.wake(&key[..=at]);
            }
        }
    }

    /// Anything may have changed.
    pub fn replaced(&self) {
        let mut waiting = self.lock();
        while let Some((topic, subscribers)) = waiting.topics.pop_first() {
            drop(topic);
            waiting.count -= subscribers.len();
            for subscriber in subscribers.into_values() {
                let _ = subscriber.send(());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Waiting {
    fn wake(&mut self, topic: &[u8]) {
        if let Some(subscribers) = self.topics.remove(topic) {
            self.count -= subscribers.len();
            for subscriber in subscribers.into_values() {
                // Whoever gave up no longer listens.
                let _ = subscriber.send(());
            }
        }
    }
}

impl Subscription {
    /// Waits for the change; `false` when none can come any more.
    pub async fn heard(mut self) -> bool {
        (&mut self.heard).await.is_ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiting = self.news.lock();
        let Some(subscribers) = waiting.topics.get_mut(&self.topic) else {
            return;
        };
        let removed = subscribers.remove(&self.number).is_some();
        if subscribers.is_empty() {
            waiting.topics.remove(&self.topic);
        }
        waiting.count -= usize::from(removed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::api::proto::etcdserverpb::PutRequest;

    impl News {
        /// How many subscriptions and topics are held.
        fn held(&self) -> (usize, usize) {
            let waiting = self.lock();
            (waiting.count, waiting.topics.len())
        }
    }

    fn heard(subscription: &mut Subscription) -> bool {
        subscription.heard.try_recv().is_ok()
    }

    #[test]
    fn a_change_wakes_those_who_wait_for_its_key_or_prefix_and_no_others() {
        let news = Arc::new(News::default());
        let topics = ["a/b/1", "a/b/", "a/", "a", "a/b", "a/c/", "a/b/12"];
        let mut all = topics.map(|topic| news.subscribe(Bytes::from(topic)).unwrap());
        let mut state = State::new();
        let put = PutRequest {
            key: "a/b/1".into(),
            ..Default::default()
        };
        state.put(&put).unwrap();
        news.published(&state, 1);
        let woken = all.each_mut().map(heard);
        assert_eq!(woken, [true, true, true, false, false, false, false]);
        assert_eq!(news.lock().count, 4);
        news.replaced();
        let woken = all.each_mut().map(heard);
        assert_eq!(woken, [false, false, false, true, true, true, true]);
        drop(all);
        assert_eq!(news.held(), (0, 0));
    }

    #[test]
    fn whoever_gives_up_leaves_nothing_behind() {
        let news = Arc::new(News::default());
        let first = news.subscribe("k".into()).unwrap();
        let second = news.subscribe("k".into()).unwrap();
        drop(first);
        assert_eq!(news.lock().count, 1);
        drop(second);
        assert_eq!(news.held(), (0, 0));
    }
}
