//! One client's stream of watches: requests in, responses out, nothing in between.
//!
//! The session is a [`Stream`] that makes a response only when asked for one, so a client that does
//! not read leaves everything where it is. Requests are read only while responses can be handed
//! over, so a client cannot pile up answers either.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use prost::Message;
use tonic::Status;

use super::event::Event;
use super::hub::{Ending, Hub, Next, StreamId};
use super::interest::Interest;
use super::{Options, with_jitter};
use crate::api::proto::etcdserverpb as pb;
use crate::api::proto::etcdserverpb::watch_request::RequestUnion;
use crate::host::Host;
use crate::host::quiet::QuietSleep;

/// What a client asks, in order; an error ends the stream.
pub type Requests = Pin<Box<dyn Stream<Item = Result<pb::WatchRequest, Status>> + Send>>;

/// Makes a response header that shows a revision.
type Header = Box<dyn Fn(i64) -> pb::ResponseHeader + Send>;

/// Whether a watch may be created, or why not.
type Permit = Box<dyn Fn(&pb::WatchCreateRequest) -> Result<(), String> + Send>;

/// The ID in answers that concern no watch, or the whole stream.
const NO_WATCH: i64 = -1;
/// What etcd says about a start in the past that is no revision.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const RANGE_IS_EMPTY: &str = "mvcc: watcher range is empty";
/// Looks into the past without anything found before others get their turn.
const SCANS_IN_A_ROW: u32 = 4;

/// A response whose events are encoded already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outgoing {
    /// The response without its events.
    pub head: pb::WatchResponse,
    /// The events, each with its field key and length.
    pub events: Vec<Bytes>,
}

impl Outgoing {
    /// The bytes it takes on the wire.
    pub fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.events.iter().map(Bytes::len).sum::<usize>()
    }

    /// The response as a message, for a transport that is not protobuf.
    ///
    /// # Errors
    /// Never, for what a [`Session`] made.
    pub fn to_message(&self) -> Result<pb::WatchResponse, prost::DecodeError> {
        let mut bytes = self.head.encode_to_vec();
        self.events
            .iter()
            .for_each(|event| bytes.extend_from_slice(event));
        pb::WatchResponse::decode(&bytes[..])
    }

    /// Splits the response into several smaller than `limit` where its events allow it; all but the
    /// last say that more follows.
    fn split(self, limit: usize) -> Vec<Outgoing> {
        if self.encoded_len() < limit {
            return vec![self];
        }
        let empty = Outgoing {
            head: pb::WatchResponse {
                fragment: true,
                ..self.head
            },
            events: Vec::new(),
        };
        let head = empty.encoded_len();
        let (mut parts, mut part, mut length) = (Vec::new(), empty.clone(), head);
        for event in self.events {
            if !part.events.is_empty() && length + event.len() >= limit {
                parts.push(std::mem::replace(&mut part, empty.clone()));
                length = head;
            }
            length += event.len();
            part.events.push(event);
        }
        part.head.fragment = false;
        parts.push(part);
        parts
    }
}

/// One client's stream.
pub struct Session {
    hub: Arc<Hub>,
    host: Arc<dyn Host>,
    options: Options,
    header: Header,
    permit: Permit,
    stream: StreamId,
    /// `None` once the client has said that it asks no more.
    requests: Option<Requests>,
    out: VecDeque<Outgoing>,
    /// Watches that want to hear of progress; whether they have been quiet since the last notice.
    quiet: BTreeMap<i64, bool>,
    notice: Option<QuietSleep>,
    /// Whether a request for progress waits until the watches have caught up.
    progress_requested: bool,
    finished: bool,
}

impl Session {
    /// Opens a stream on `hub` that answers `requests`; `header` makes its headers, `permit` says
    /// which watches may be created.
    pub fn new(
        hub: Arc<Hub>,
        host: Arc<dyn Host>,
        options: Options,
        header: impl Fn(i64) -> pb::ResponseHeader + Send + 'static,
        permit: impl Fn(&pb::WatchCreateRequest) -> Result<(), String> + Send + 'static,
        requests: Requests,
        requires_leader: bool,
    ) -> Session {
        let stream = hub.open(requires_leader);
        Session {
            hub,
            host,
            options,
            header: Box::new(header),
            permit: Box::new(permit),
            stream,
            requests: Some(requests),
            out: VecDeque::new(),
            quiet: BTreeMap::new(),
            notice: None,
            progress_requested: false,
            finished: false,
        }
    }

    fn say(&mut self, revision: i64, response: pb::WatchResponse) {
        self.out.push_back(Outgoing {
            head: pb::WatchResponse {
                header: Some((self.header)(revision)),
                ..response
            },
            events: Vec::new(),
        });
    }

    fn answer(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(&create),
            Some(RequestUnion::CancelRequest(cancel)) => {
                // A watch that is not there is not answered, as in etcd.
                if let Some(revision) = self.hub.cancel(self.stream, cancel.watch_id) {
                    self.forget(cancel.watch_id);
                    let response = pb::WatchResponse {
                        watch_id: cancel.watch_id,
                        canceled: true,
                        ..Default::default()
                    };
                    self.say(revision, response);
                }
            }
            Some(RequestUnion::ProgressRequest(_)) => self.progress_requested = true,
            None => {}
        }
    }

    fn create(&mut self, request: &pb::WatchCreateRequest) {
        let made = match (self.permit)(request).map(|()| Interest::of(request)) {
            // etcd 3.5.1 takes a negative revision for a very old one; later ones refuse it.
            _ if request.start_revision < 0 => Err(COMPACTED.to_owned()),
            Err(refusal) => Err(refusal),
            Ok(None) => Err(RANGE_IS_EMPTY.to_owned()),
            Ok(Some(interest)) => {
                let start = request.start_revision;
                let made = self
                    .hub
                    .create(self.stream, request.watch_id, interest, start);
                made.map_err(|error| error.to_string())
            }
        };
        match made {
            Ok((watch_id, revision)) => {
                if request.progress_notify {
                    self.quiet.insert(watch_id, true);
                    self.schedule_notice();
                }
                let response = pb::WatchResponse {
                    watch_id,
                    created: true,
                    ..Default::default()
                };
                self.say(revision, response);
            }
            Err(cancel_reason) => {
                let revision = self.hub.revision();
                let response = pb::WatchResponse {
                    watch_id: NO_WATCH,
                    created: true,
                    canceled: true,
                    cancel_reason,
                    ..Default::default()
                };
                self.say(revision, response);
            }
        }
    }

    fn forget(&mut self, watch_id: i64) {
        self.quiet.remove(&watch_id);
        if self.quiet.is_empty() {
            self.notice = None;
        }
    }

    fn schedule_notice(&mut self) {
        if self.notice.is_none() {
            let pause = with_jitter(&*self.host, self.options.progress_interval);
            self.notice = Some(QuietSleep::new(self.host.sleep(pause)));
        }
    }

    /// Tells the quiet watches how far the store has come.
    fn notify_progress(&mut self) {
        let watches: Vec<i64> = self.quiet.keys().copied().collect();
        for watch_id in watches {
            let was_quiet = self.quiet.insert(watch_id, true) == Some(true);
            if was_quiet && let Some(revision) = self.hub.progress_of(self.stream, watch_id) {
                let response = pb::WatchResponse {
                    watch_id,
                    ..Default::default()
                };
                self.say(revision, response);
            }
        }
    }

    fn deliver(&mut self, watch_id: i64, interest: &Interest, events: &[Arc<Event>]) {
        // The newest revision shown, and no newer one: what lies behind it may still be to come.
        let Some(revision) = events.last().map(|event| event.revision()) else {
            return;
        };
        if let Some(quiet) = self.quiet.get_mut(&watch_id) {
            *quiet = false;
        }
        self.hub.count_delivered(events.len());
        let response = Outgoing {
            head: pb::WatchResponse {
                header: Some((self.header)(revision)),
                watch_id,
                ..Default::default()
            },
            events: events
                .iter()
                .map(|event| event.encoded(interest.prev_kv))
                .collect(),
        };
        match interest.fragment {
            true => self.out.extend(response.split(self.options.fragment_bytes)),
            false => self.out.push_back(response),
        }
    }

    /// Takes one request; whether there was one, or the end of them.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Status> {
        let Some(requests) = &mut self.requests else {
            return Ok(false);
        };
        match requests.as_mut().poll_next(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Some(request)) => self.answer(request?),
            // As in etcd the watches go on: the client only has nothing more to ask.
            Poll::Ready(None) => self.requests = None,
        }
        Ok(true)
    }

    /// Does one piece of work; `Pending` when there is none, or others shall have their turn.
    fn step(&mut self, cx: &mut Context<'_>, scans: &mut u32) -> Poll<Result<(), Status>> {
        if self.read(cx)? {
            return Poll::Ready(Ok(()));
        }
        match self.hub.next(self.stream, cx.waker()) {
            Next::Events {
                watch_id,
                interest,
                events,
            } => {
                self.deliver(watch_id, &interest, &events);
                return Poll::Ready(Ok(()));
            }
            Next::Scan {
                watch_id,
                watcher,
                scan,
            } => {
                let (events, rest) = scan.run();
                if let Some(rest) = rest {
                    self.hub.resume(watcher, rest);
                }
                self.deliver(watch_id, &scan.interest, &events);
                *scans += 1;
                if events.is_empty() && *scans >= SCANS_IN_A_ROW {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(Ok(()));
            }
            Next::Compacted { watch_id, revision } => {
                self.forget(watch_id);
                let response = pb::WatchResponse {
                    watch_id,
                    canceled: true,
                    compact_revision: revision,
                    ..Default::default()
                };
                // etcd shows no revision here.
                self.say(0, response);
                return Poll::Ready(Ok(()));
            }
            Next::End(Ending::NoLeader) => {
                return Poll::Ready(Err(Status::unavailable("etcdserver: no leader")));
            }
            Next::End(Ending::Stopped) => {
                return Poll::Ready(Err(Status::unavailable("etcdserver: server stopped")));
            }
            Next::Idle => {}
        }
        // Nothing is on its way to the client here: what is said now comes behind every event.
        if self.progress_requested
            && let Some(revision) = self.hub.progress(self.stream)
        {
            self.progress_requested = false;
            let response = pb::WatchResponse {
                watch_id: NO_WATCH,
                ..Default::default()
            };
            self.say(revision, response);
            return Poll::Ready(Ok(()));
        }
        if let Some(notice) = &mut self.notice
            && Pin::new(notice).poll(cx).is_ready()
        {
            self.notice = None;
            self.notify_progress();
            self.schedule_notice();
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl Stream for Session {
    type Item = Result<Outgoing, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Outgoing, Status>>> {
        let mut scans = 0;
        loop {
            if let Some(response) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(response)));
            }
            if self.finished {
                return Poll::Ready(None);
            }
            match self.step(cx, &mut scans) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(status)) => {
                    self.finished = true;
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hub.shut(self.stream);
    }
}
