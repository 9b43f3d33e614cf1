//! The `watch` workload: clients that watch what `kv` writes, and never lose their place.
//!
//! Each client has one stream with several watches: of single keys, of ranges and of everything,
//! with and without previous values, filters and fragments. It asks for progress all the time. When
//! the stream breaks, ends or falls silent, the client turns to the next member and resumes every
//! watch right behind what it has seen for certain; after a compaction it starts over from the
//! compaction's revision. Some clients stop reading now and then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vetcd::api::proto::etcdserverpb as pb;
use vetcd::api::proto::mvccpb::{self, event::EventType};
use vetcd::client::watch::{cancel, create, progress};
use vetcd::client::{CallError, Client, WatchStream};
use vetcd::host::{Host, HostExt};

use super::{Session, key_value};
use crate::history::{News, Watch, WatchEvent};
use crate::rng::Stream;
use crate::scenario::WatchWorkload;

/// How often a slow client stops reading, on average, in multiples of how long it stops.
const SLOW_EVERY: u32 = 2;
/// Pause before another member is tried.
const RETRY: Duration = Duration::from_millis(200);
/// The chance that a client cancels a watch itself when it asks for progress.
const CANCEL: f64 = 0.02;

/// Runs one client until it is aborted.
pub async fn watch(
    host: Arc<dyn Host>,
    workload: WatchWorkload,
    number: u32,
    mut random: Stream,
    mut client: Client,
    session: Session,
) {
    let mut places: Vec<Place> = (0..workload.watches)
        .map(|_| Place::draw(workload.keys, &mut random))
        .collect();
    let slow = number < workload.slow;
    loop {
        let mut reader = Reader {
            host: &host,
            workload: &workload,
            session: &session,
            places: &mut places,
            random: &mut random,
        };
        let why = reader.follow(&mut client, slow).await;
        for place in &mut places {
            if let Some(id) = place.open.take() {
                session.news(id, 0, News::Ended(why.clone()));
                place.before = Some(id);
            }
        }
        client.next_endpoint();
        host.sleep(RETRY).await;
    }
}

/// What one watch wants, and how far it has come.
struct Place {
    request: Watch,
    /// The lowest revision not yet seen; 0 for "from now on".
    next: i64,
    /// Its record, while it is open; what comes for a watch that is not is left aside.
    open: Option<u64>,
    /// Whether the server has said that it is there: before, the stream's progress is not its own.
    created: bool,
    /// The record that it goes on from.
    before: Option<u64>,
}

impl Place {
    fn draw(keys: u32, random: &mut Stream) -> Place {
        let (key, range_end) = match random.range(0..4) {
            0 => ("k".to_owned(), "l"),
            1 => (String::new(), "\0"),
            2 => (format!("k{}", random.range(0..u64::from(keys))), "l"),
            _ => (format!("k{}", random.range(0..u64::from(keys))), ""),
        };
        let filter = random.range(0..6);
        let request = Watch {
            key: match key.is_empty() {
                // The lowest key there is, as the server understands an empty one.
                true => Bytes::from_static(b"\0"),
                false => Bytes::from(key),
            },
            range_end: Bytes::from_static(range_end.as_bytes()),
            no_put: filter == 0,
            no_delete: filter == 1,
            prev_kv: random.chance(0.5),
            fragment: random.chance(0.5),
            // Half of them from the beginning, as far as it is still there.
            start: i64::from(random.chance(0.5)),
            ..Watch::default()
        };
        Place {
            next: request.start,
            request,
            open: None,
            created: false,
            before: None,
        }
    }

    fn saw(&mut self, revision: i64) {
        self.next = self.next.max(revision + 1);
    }
}

struct Reader<'a> {
    host: &'a Arc<dyn Host>,
    workload: &'a WatchWorkload,
    session: &'a Session,
    places: &'a mut Vec<Place>,
    random: &'a mut Stream,
}

impl Reader<'_> {
    /// Follows one stream to its end, and says how it ended.
    async fn follow(&mut self, client: &mut Client, slow: bool) -> String {
        match self.try_follow(client, slow).await {
            Ok(()) => "the server ended the stream".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    async fn try_follow(&mut self, client: &mut Client, slow: bool) -> Result<(), CallError> {
        let endpoint = client.endpoint().to_owned();
        let first = self.ask(0, &endpoint);
        let mut stream = client.watch(first, self.random.chance(0.5)).await?;
        for index in 1..self.places.len() {
            let request = self.ask(index, &endpoint);
            stream.send(request).await?;
        }
        let tick = self.workload.progress.min(self.workload.timeout);
        let mut asked = self.host.now();
        let mut heard = asked;
        let mut pause_at = self.host.now() + self.pause_after();
        // Whoever has stopped catches up before he stops again.
        let mut caught_up = false;
        loop {
            let now = self.host.now();
            if slow && caught_up && now >= pause_at {
                caught_up = false;
                self.host.sleep(self.workload.slow_for).await;
                pause_at = self.host.now() + self.pause_after();
                heard = self.host.now();
            }
            if now.since(heard) >= self.workload.timeout {
                return Err(CallError::from(tonic::Status::unavailable("silence")));
            }
            if now.since(asked) >= self.workload.progress {
                asked = now;
                self.ask_more(&stream).await?;
            }
            let waiting = self.host.timeout(tick, stream.next());
            match waiting.await {
                Some(Ok(Some(response))) => {
                    heard = self.host.now();
                    caught_up |= response.watch_id == -1;
                    let response = self.session.seen_watch(response);
                    self.take(response, &stream, &endpoint).await?;
                }
                Some(Ok(None)) => return Ok(()),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
    }

    fn pause_after(&mut self) -> Duration {
        self.random.exponential(SLOW_EVERY * self.workload.slow_for)
    }

    /// The request for a watch from where it stands, noted as asked.
    fn ask(&mut self, index: usize, endpoint: &str) -> pb::WatchRequest {
        let place = &mut self.places[index];
        let request = Watch {
            start: place.next,
            resumes: place.before,
            ..place.request.clone()
        };
        let mut filters = Vec::new();
        if request.no_put {
            filters.push(0);
        }
        if request.no_delete {
            filters.push(1);
        }
        let asked = pb::WatchCreateRequest {
            key: request.key.clone(),
            range_end: request.range_end.clone(),
            start_revision: request.start,
            progress_notify: true,
            filters,
            prev_kv: request.prev_kv,
            watch_id: index as i64 + 1,
            fragment: request.fragment,
        };
        place.created = false;
        place.open = Some(self.session.watch(endpoint, request));
        create(self.session.sent_watch(asked))
    }

    async fn ask_more(&mut self, stream: &WatchStream) -> Result<(), CallError> {
        if self.random.chance(CANCEL) {
            let index = self.random.range(0..self.places.len() as u64) as usize;
            if let Some(id) = self.places[index].open.take() {
                self.session.cancel(id);
                self.places[index].before = Some(id);
                return stream.send(cancel(index as i64 + 1)).await;
            }
        }
        stream.send(progress()).await
    }

    async fn take(
        &mut self,
        response: pb::WatchResponse,
        stream: &WatchStream,
        endpoint: &str,
    ) -> Result<(), CallError> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.watch_id == -1 && !response.created {
            for place in self.places.iter_mut() {
                if let Some(id) = place.open.filter(|_| place.created) {
                    self.session.news(id, revision, News::Progress);
                    place.saw(revision);
                }
            }
            return Ok(());
        }
        let found = usize::try_from(response.watch_id - 1).ok();
        let Some((index, place)) = found.and_then(|i| Some((i, self.places.get_mut(i)?))) else {
            self.session
                .misfit(format!("a response to no watch: {response:?}"));
            return Ok(());
        };
        let Some(id) = place.open else {
            // The client has cancelled it, and goes on once the server is done with it too.
            if !response.canceled {
                return Ok(());
            }
            let request = self.ask(index, endpoint);
            return stream.send(request).await;
        };
        if response.canceled {
            let news = News::Cancelled {
                compacted: response.compact_revision,
                reason: response.cancel_reason,
            };
            self.session.news(id, revision, news);
            place.open = None;
            place.before = None;
            place.next = response.compact_revision;
            let request = self.ask(index, endpoint);
            return stream.send(request).await;
        }
        if response.created {
            place.created = true;
            self.session.news(id, revision, News::Created);
            if place.next == 0 {
                place.saw(revision);
            }
            return Ok(());
        }
        if response.events.is_empty() {
            self.session.news(id, revision, News::Progress);
            place.saw(revision);
            return Ok(());
        }
        let events: Vec<WatchEvent> = response.events.into_iter().map(event).collect();
        let last = events.last().map_or(0, WatchEvent::revision);
        if !response.fragment {
            place.saw(last);
        }
        let more = response.fragment;
        self.session
            .news(id, revision, News::Events { events, more });
        Ok(())
    }
}

fn event(event: mvccpb::Event) -> WatchEvent {
    WatchEvent {
        deleted: event.r#type() == EventType::Delete,
        kv: event.kv.map(key_value).unwrap_or_default(),
        previous: event.prev_kv.map(key_value),
    }
}
