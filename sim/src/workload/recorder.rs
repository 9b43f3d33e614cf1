//! Writes down what clients invoke and what comes back, on the one true clock of the run.

use std::sync::{Arc, Mutex, MutexGuard};

use vetcd::api::proto::etcdserverpb as pb;
use vetcd::client::{CallError, Client};

use super::Rebase;
use super::convert::{self, Misfit};
use crate::history::{
    AuthAction, AuthOutcome, AuthRecord, Body, History, Leader, LeaseHistory, LeaseOperation,
    LeaseOutcome, LeaseRequest, Observation, Operation, Outcome, Request, Watch, WatchResponse,
};

/// Hears of a response to a watch: the watch's ID, the response.
type NoteNews = Arc<dyn Fn(u64, &WatchResponse) + Send + Sync>;

/// Collects the operations of all clients of a run; clones write into the same book.
#[derive(Clone)]
pub struct Recorder {
    book: Arc<Mutex<Book>>,
    now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    note: Arc<dyn Fn(&Operation) + Send + Sync>,
    note_news: NoteNews,
    rebase: Option<Rebase>,
}

#[derive(Default)]
struct Book {
    operations: Vec<Operation>,
    leases: Vec<LeaseOperation>,
    observations: Vec<Observation>,
    watches: Vec<Watch>,
    auth: Vec<AuthRecord>,
    last_success_ns: Vec<u64>,
    misfits: Vec<String>,
}

impl Recorder {
    /// A recorder on the clock `now_ns`; `note` hears of every finished operation.
    pub fn new(
        now_ns: impl Fn() -> u64 + Send + Sync + 'static,
        note: impl Fn(&Operation) + Send + Sync + 'static,
    ) -> Recorder {
        Recorder {
            book: Arc::default(),
            now_ns: Arc::new(now_ns),
            note: Arc::new(note),
            note_news: Arc::new(|_, _| ()),
            rebase: None,
        }
    }

    /// Lets `note` hear of every response to a watch, with the watch's ID.
    pub fn noting_news(
        self,
        note: impl Fn(u64, &WatchResponse) + Send + Sync + 'static,
    ) -> Recorder {
        Recorder {
            note_news: Arc::new(note),
            ..self
        }
    }

    /// A recorder of work in a corner of a store that is in use.
    pub fn rebased(self, rebase: Rebase) -> Recorder {
        Recorder {
            rebase: Some(rebase),
            ..self
        }
    }

    /// A session for one client, which has one operation under way at a time.
    pub fn session(&self, client: u32, members: Vec<(String, u32)>) -> Session {
        let mut book = self.lock();
        let index = client as usize;
        if book.last_success_ns.len() <= index {
            book.last_success_ns.resize(index + 1, 0);
        }
        Session {
            recorder: self.clone(),
            client,
            members,
        }
    }

    /// Takes everything recorded so far. Operations still under way are in it as unknown.
    pub fn take_history(&self) -> History {
        let mut book = self.lock();
        let mut operations = std::mem::take(&mut book.operations);
        operations.sort_by_key(|operation| operation.id);
        History {
            operations,
            watches: std::mem::take(&mut book.watches),
            auth: std::mem::take(&mut book.auth),
            leases: LeaseHistory {
                operations: std::mem::take(&mut book.leases),
                removals: Vec::new(),
                observations: std::mem::take(&mut book.observations),
            },
            evidence: None,
        }
    }

    /// When each client was last answered, in virtual nanoseconds; 0 for never.
    pub fn last_success_ns(&self) -> Vec<u64> {
        self.lock().last_success_ns.clone()
    }

    /// Opens a watch in the book; returns its ID.
    fn open(&self, watch: Watch) -> u64 {
        let opened = (self.now_ns)();
        let mut book = self.lock();
        let id = book.watches.len() as u64;
        book.watches.push(Watch {
            id,
            opened,
            ..watch
        });
        id
    }

    /// Writes down a response to the watch `id`, which reached `client` now.
    fn news(&self, client: u32, id: u64, response: impl FnOnce(u64) -> WatchResponse) {
        let now = (self.now_ns)();
        let response = response(now);
        (self.note_news)(id, &response);
        let mut book = self.lock();
        if !matches!(response.news, crate::history::News::Ended(_)) {
            book.last_success_ns[client as usize] = now;
        }
        if let Some(watch) = book.watches.get_mut(id as usize) {
            watch.responses.push(response);
        }
    }

    /// Answers that did not fit their requests.
    pub fn misfits(&self) -> Vec<String> {
        self.lock().misfits.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn invoke(&self, client: u32, member: Option<u32>, request: &Request) -> usize {
        let invoked = (self.now_ns)();
        let mut book = self.lock();
        let position = book.operations.len();
        book.operations.push(Operation {
            id: position as u64,
            client,
            member,
            invoked,
            returned: None,
            request: request.clone(),
            outcome: Outcome::Unknown("still under way when the run ended".to_owned()),
        });
        position
    }

    /// Begins an operation on a lease or lock. What it does to keys goes into the history of keys
    /// as an operation of unknown outcome: the judges there need to know what may have happened.
    fn invoke_lease(&self, client: u32, member: Option<u32>, request: &LeaseRequest) -> usize {
        for effect in convert::effects_on_keys(request) {
            self.invoke(client, member, &effect);
        }
        let invoked = (self.now_ns)();
        let mut book = self.lock();
        let id = book.leases.len() as u64;
        book.leases.push(LeaseOperation {
            id,
            client,
            member,
            invoked,
            returned: None,
            request: request.clone(),
            outcome: LeaseOutcome::Unknown("still under way when the run ended".to_owned()),
        });
        book.leases.len() - 1
    }

    fn finish_lease(&self, position: usize, outcome: LeaseOutcome) {
        let now = (self.now_ns)();
        let mut book = self.lock();
        let Some(operation) = book.leases.get_mut(position) else {
            // The history has been taken: the run is over.
            return;
        };
        if !matches!(outcome, LeaseOutcome::Unknown(_)) {
            operation.returned = Some(now);
        }
        let (client, ok) = (
            operation.client as usize,
            matches!(outcome, LeaseOutcome::Ok(_)),
        );
        operation.outcome = outcome;
        if ok {
            book.last_success_ns[client] = now;
        }
    }

    fn finish(&self, position: usize, outcome: Result<Outcome, Misfit>) -> Outcome {
        let now = (self.now_ns)();
        let mut book = self.lock();
        let outcome = outcome.unwrap_or_else(|misfit| {
            book.misfits.push(misfit.to_string());
            Outcome::Unknown(misfit.to_string())
        });
        let Some(operation) = book.operations.get_mut(position) else {
            // The history has been taken: the run is over.
            return outcome;
        };
        operation.outcome = outcome.clone();
        if !matches!(outcome, Outcome::Unknown(_)) {
            operation.returned = Some(now);
        }
        let (finished, client) = (operation.clone(), operation.client as usize);
        if matches!(outcome, Outcome::Ok(_)) {
            book.last_success_ns[client] = now;
        }
        drop(book);
        (self.note)(&finished);
        outcome
    }
}

/// One client's way to the recorder.
pub struct Session {
    recorder: Recorder,
    client: u32,
    /// Endpoints and the members behind them.
    members: Vec<(String, u32)>,
}

impl Session {
    /// Sends `request` through `client`, once, and records it.
    pub async fn call(&self, client: &mut Client, request: &Request) -> Outcome {
        let endpoint = client.endpoint();
        let member = self.members.iter().find(|(address, _)| address == endpoint);
        let member = member.map(|(_, number)| *number);
        let position = self.recorder.invoke(self.client, member, request);
        let outcome = match &self.recorder.rebase {
            None => send(client, request).await,
            Some(rebase) => {
                let outcome = send(client, &rebase.request(request)).await;
                outcome.map(|outcome| rebase.outcome(request, outcome))
            }
        };
        self.recorder.finish(position, outcome)
    }

    /// Sends a request about a lease or a lock through `client`, once, and records it.
    pub async fn lease_call(&self, client: &mut Client, request: &LeaseRequest) -> LeaseOutcome {
        let endpoint = client.endpoint();
        let member = self.members.iter().find(|(address, _)| address == endpoint);
        let member = member.map(|(_, number)| *number);
        let position = self.recorder.invoke_lease(self.client, member, request);
        let rebase = self.recorder.rebase.as_ref();
        let sent = rebase.map(|rebase| rebase.lease_request(request));
        let outcome = match convert::send_lease(client, sent.as_ref().unwrap_or(request)).await {
            Ok(answer) => LeaseOutcome::Ok(answer),
            Err(error) => convert::lease_failed(&error),
        };
        let outcome = match rebase {
            Some(rebase) => rebase.lease_outcome(outcome),
            None => outcome,
        };
        self.recorder.finish_lease(position, outcome.clone());
        outcome
    }
}

impl Session {
    /// The request for a watch that the live store is sent, and below the meaning of its responses:
    /// the book is kept in the corner's own terms.
    pub fn sent_watch(&self, mut request: pb::WatchCreateRequest) -> pb::WatchCreateRequest {
        if let Some(rebase) = &self.recorder.rebase {
            rebase.watch_request(&mut request);
        }
        request
    }

    /// What a response to a watch means.
    pub fn seen_watch(&self, mut response: pb::WatchResponse) -> pb::WatchResponse {
        if let Some(rebase) = &self.recorder.rebase {
            rebase.watch_response(&mut response);
        }
        response
    }

    /// The name of an election, as the live store is sent it.
    pub fn sent_election(&self, name: &bytes::Bytes) -> bytes::Bytes {
        match &self.recorder.rebase {
            Some(rebase) => rebase.election(name),
            None => name.clone(),
        }
    }

    /// Writes down that `watch` is asked of the member behind `endpoint`; returns its ID.
    pub fn watch(&self, endpoint: &str, watch: Watch) -> u64 {
        let member = self.members.iter().find(|(address, _)| address == endpoint);
        self.recorder.open(Watch {
            client: self.client,
            member: member.map(|(_, number)| *number),
            ..watch
        })
    }

    /// Writes down what came back to the watch `id`.
    pub fn news(&self, id: u64, revision: i64, news: crate::history::News) {
        self.recorder
            .news(self.client, id, |at| WatchResponse { at, revision, news });
    }

    /// Writes down that the client asks to cancel the watch `id`.
    pub fn cancel(&self, id: u64) {
        let now = (self.recorder.now_ns)();
        if let Some(watch) = self.recorder.lock().watches.get_mut(id as usize) {
            watch.cancelled = Some(now);
        }
    }

    /// Writes down that the client behind `endpoint` begins to observe the election `name`.
    pub fn observe(&self, endpoint: &str, name: &bytes::Bytes) -> usize {
        let member = self.members.iter().find(|(address, _)| address == endpoint);
        let opened = (self.recorder.now_ns)();
        let mut book = self.recorder.lock();
        let position = book.observations.len();
        book.observations.push(Observation {
            id: position as u64,
            client: self.client,
            member: member.map(|(_, number)| *number),
            name: name.clone(),
            opened,
            told: Vec::new(),
        });
        position
    }

    /// Writes down what the observation at `position` was told, as the live store tells it.
    pub fn told(&self, position: usize, mut leader: Leader) {
        if let Some(rebase) = &self.recorder.rebase {
            rebase.leader(&mut leader);
        }
        let now = (self.recorder.now_ns)();
        let mut book = self.recorder.lock();
        book.last_success_ns[self.client as usize] = now;
        if let Some(observation) = book.observations.get_mut(position) {
            observation.told.push((now, leader));
        }
    }

    /// Writes down a response that fits no watch.
    pub fn misfit(&self, what: String) {
        self.recorder.lock().misfits.push(what);
    }
}

/// Something done about permissions that is under way.
#[derive(Clone, Copy, Debug)]
pub struct AuthTicket(usize);

impl Session {
    /// Records that something is being done about permissions; unknown until it is finished.
    pub fn begin_auth(&self, action: AuthAction) -> AuthTicket {
        let invoked = (self.recorder.now_ns)();
        let mut book = self.recorder.lock();
        book.auth.push(AuthRecord {
            client: self.client,
            invoked,
            returned: None,
            action,
            outcome: AuthOutcome::Unknown("still under way when the run ended".to_owned()),
        });
        AuthTicket(book.auth.len() - 1)
    }

    /// Records what came of it.
    pub fn finish_auth(&self, ticket: AuthTicket, outcome: AuthOutcome) {
        let now = (self.recorder.now_ns)();
        let mut book = self.recorder.lock();
        let Some(record) = book.auth.get_mut(ticket.0) else {
            // The history has been taken: the run is over.
            return;
        };
        if !matches!(outcome, AuthOutcome::Unknown(_)) {
            record.returned = Some(now);
        }
        record.outcome = outcome;
    }
}

async fn send(client: &mut Client, request: &Request) -> Result<Outcome, Misfit> {
    fn or_failed<T>(
        result: Result<T, CallError>,
        body: impl FnOnce(T) -> Result<Outcome, Misfit>,
    ) -> Result<Outcome, Misfit> {
        match result {
            Ok(response) => body(response),
            Err(error) => Ok(convert::failed(&error)),
        }
    }
    match request {
        Request::Range(request) => or_failed(
            client.range(convert::range(request)).await,
            |mut response| {
                let header = response.header.take();
                convert::answered(header, Body::Range(convert::range_body(response)))
            },
        ),
        Request::Put(request) => {
            or_failed(client.put(convert::put(request)).await, |mut response| {
                let header = response.header.take();
                convert::answered(header, Body::Put(convert::put_body(response)))
            })
        }
        Request::Delete(request) => {
            let answer = client.delete_range(convert::delete(request)).await;
            or_failed(answer, |mut response| {
                let header = response.header.take();
                convert::answered(header, Body::Delete(convert::delete_body(response)))
            })
        }
        Request::Txn(request) => {
            or_failed(client.txn(convert::txn(request)).await, |mut response| {
                let header = response.header.take();
                convert::answered(header, Body::Txn(convert::txn_body(response)?))
            })
        }
        Request::Compact(request) => {
            let compaction = vetcd::api::proto::etcdserverpb::CompactionRequest {
                revision: request.revision,
                physical: false,
            };
            or_failed(client.compact(compaction).await, |response| {
                convert::answered(response.header, Body::Compact)
            })
        }
    }
}
