//! The raft loop: one task that owns raft-rs and decides what is written, sent and applied when.
//!
//! Order is everything here. What a [`Ready`] wants persisted goes to the WAL writer; messages that
//! depend on it are held in `in_flight` until the writer says it is durable; a leader's own messages
//! go out at once, in parallel with its sync, and its own vote counts only when the writer reports
//! back (`on_persist_ready`). Committed entries reach the apply task in log order. The loop never
//! blocks: it waits only for the next input or acknowledgement.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, HardState, Message, MessageType};
use raft::{RawNode, Ready, SnapshotStatus, StateRole};
use tokio::sync::{mpsc, watch};

use super::changes::Leaving;
use super::convert::{conf_state_to_wire, entry_to_wire};
use super::guard::{self, Refusal};
use super::log_store::LogStore;
use super::reads::Reads;
use super::transport::Transport;
use super::{Apply, Committed, Error, Input, Options, Reached, Role, Status};
use crate::defect;
use crate::defects::Defects;
use crate::host::{Event, Host, HostExt, Moment};
use crate::wal;

/// How many inputs are taken before what they caused is worked off.
const INPUTS_PER_ROUND: usize = 512;
/// Proposals that wait for a leader.
const MAX_HELD_PROPOSALS: usize = 4096;
/// Above this many bytes waiting for the disk, no new input is taken.
const MAX_WAL_QUEUE_BYTES: u64 = 64 << 20;

/// A Ready whose writes are not yet known to be durable.
struct InFlight {
    number: u64,
    /// Whether something of it went to the WAL; if not it is durable as soon as its elders are.
    written: bool,
    /// Messages that must not be sent before.
    messages: Vec<Message>,
    /// Index and term of a snapshot to install once its mark is durable.
    snapshot: Option<(u64, u64)>,
}

/// Everything the loop owns.
pub struct Node {
    pub(super) host: Arc<dyn Host>,
    pub(super) defects: Defects,
    pub(super) options: Options,
    pub(super) raft: RawNode<LogStore>,
    pub(super) reads: Reads,
    pub(super) transport: Transport,
    pub(super) wal: wal::Writer,
    pub(super) acks: mpsc::UnboundedReceiver<wal::Ack>,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) applies: mpsc::UnboundedSender<Apply>,
    pub(super) status: watch::Sender<Status>,
    in_flight: VecDeque<InFlight>,
    held: VecDeque<Entry>,
    last_number: u64,
    /// The newest snapshot mark in the log: entries up to it live in the backend.
    marked: u64,
    timeout_seed: u64,
    campaigns: u64,
    /// Set once this member knows that it was removed, see [`super::changes`].
    pub(super) leaving: Option<Leaving>,
    /// When the oldest unanswered heartbeat went to each peer, to measure the way there and back.
    heartbeats: BTreeMap<u64, Moment>,
}

/// What [`Node`] is built from.
pub struct Parts {
    pub host: Arc<dyn Host>,
    pub options: Options,
    pub raft: RawNode<LogStore>,
    pub transport: Transport,
    pub wal: wal::Writer,
    pub acks: mpsc::UnboundedReceiver<wal::Ack>,
    pub inputs: mpsc::Receiver<Input>,
    pub applies: mpsc::UnboundedSender<Apply>,
    pub status: watch::Sender<Status>,
    pub marked: u64,
}

impl Node {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Node {
        let member_id = parts.raft.raft.id;
        let reads = Reads::new(member_id, parts.host.random_u64());
        Node {
            defects: parts.host.defects(),
            timeout_seed: parts.host.random_u64(),
            host: parts.host,
            options: parts.options,
            raft: parts.raft,
            reads,
            transport: parts.transport,
            wal: parts.wal,
            acks: parts.acks,
            inputs: parts.inputs,
            applies: parts.applies,
            status: parts.status,
            in_flight: VecDeque::new(),
            held: VecDeque::new(),
            last_number: 0,
            marked: parts.marked,
            campaigns: 0,
            leaving: None,
            heartbeats: BTreeMap::new(),
        }
    }

    /// Runs until the server lets go of the input queue, or until this member must not go on.
    pub async fn run(mut self) -> Result<(), Error> {
        self.set_election_timeout();
        if self.options.initial_tick_advance {
            self.shorten_first_election();
        }
        while self.raft.has_ready() {
            self.on_ready()?;
        }
        let mut batch = Vec::with_capacity(INPUTS_PER_ROUND);
        loop {
            let full = self.wal.queued_bytes() > MAX_WAL_QUEUE_BYTES;
            tokio::select! {
                biased;
                ack = self.acks.recv() => self.on_ack(ack)?,
                taken = self.inputs.recv_many(&mut batch, INPUTS_PER_ROUND), if !full => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
            }
            while let Ok(ack) = self.acks.try_recv() {
                self.on_ack(Some(ack))?;
            }
            for input in batch.drain(..) {
                self.on_input(input)?;
                self.set_election_timeout();
            }
            self.repropose_held();
            self.ask_reads();
            while self.raft.has_ready() {
                self.on_ready()?;
            }
            self.publish();
        }
    }

    /// A member that has just started need not wait a whole election timeout in silence: one tick
    /// is left before the randomised part begins (etcd's initial-election-tick-advance).
    fn shorten_first_election(&mut self) {
        let voters = self.raft.raft.prs().conf().to_conf_state().voters;
        if voters == [self.raft.raft.id] {
            // Nobody else could be leading.
            if let Err(error) = self.raft.campaign() {
                tracing::warn!(%error, "cannot campaign");
            }
            return;
        }
        for _ in 1..self.options.election_ticks {
            self.raft.tick();
        }
    }

    /// raft-rs draws its election timeout from an entropy source that no simulation controls, so it
    /// is replaced after every step: a function of the member's own seed, its term and how often it
    /// has campaigned, hence new for every attempt.
    fn set_election_timeout(&mut self) {
        let mut mixed = self.timeout_seed
            ^ self.raft.raft.term.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ self.campaigns.wrapping_mul(0xd1b5_4a32_d192_ed03);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let ticks = self.options.election_ticks;
        let timeout = ticks + (mixed % ticks as u64) as usize;
        self.raft.raft.set_randomized_election_timeout(timeout);
    }

    fn on_ack(&mut self, ack: Option<wal::Ack>) -> Result<(), Error> {
        match ack {
            Some(wal::Ack::Persisted { ticket }) => {
                self.on_persisted(ticket);
                self.set_election_timeout();
                Ok(())
            }
            Some(wal::Ack::Failed(error)) => Err(Error::Wal(error)),
            None => Err(Error::Stopped),
        }
    }

    fn on_persisted(&mut self, ticket: u64) {
        while let Some(front) = self.in_flight.front() {
            if front.written && front.number > ticket {
                break;
            }
            let Some(done) = self.in_flight.pop_front() else {
                break;
            };
            if let Some((index, term)) = done.snapshot {
                self.marked = index;
                self.apply(Apply::Install { index, term });
            }
            self.raft.on_persist_ready(done.number);
            self.send(done.messages);
        }
    }

    fn on_input(&mut self, input: Input) -> Result<(), Error> {
        match input {
            Input::Tick => {
                self.reads.retry_overdue(self.host.now());
                if self.leaving.is_some() {
                    return self.tick_leaving();
                }
                let campaigning = self.raft.raft.state;
                self.raft.tick();
                if self.raft.raft.state != campaigning {
                    self.campaigns += 1;
                }
            }
            // A removed member takes nothing new; its clients are told when it ends.
            Input::Propose(_) | Input::ProposeChange(_) | Input::ReadIndex(_)
                if self.leaving.is_some() => {}
            Input::Propose(data) => self.propose(entry(EntryType::EntryNormal, data)),
            Input::ProposeChange(request) => self.propose_change(request),
            Input::ReadIndex(answer) => self.reads.add(answer),
            Input::Peer(message) => return self.on_message(message),
            Input::Unreachable(peer) => {
                self.heartbeats.remove(&peer);
                self.raft.report_unreachable(peer);
            }
            Input::SnapshotSent { to, delivered } => {
                let status = match delivered {
                    true => SnapshotStatus::Finish,
                    false => SnapshotStatus::Failure,
                };
                self.raft.report_snapshot(to, status);
            }
            Input::Applied { index } => self.raft.advance_apply_to(index),
            Input::BackendDurable(reached) => self.compact_log(*reached),
            Input::Reconfigured(members) => return self.reconfigure(*members),
            Input::TransferLeadership { to } => self.raft.transfer_leader(to),
            Input::Stranger(member) => self.transport.add_stranger(&member),
            Input::Removed => return self.refused_as_removed(),
        }
        Ok(())
    }

    fn on_message(&mut self, mut message: Message) -> Result<(), Error> {
        if message.msg_type == MessageType::MsgHeartbeatResponse
            && let Some(sent) = self.heartbeats.remove(&message.from)
        {
            let seconds = self.host.now().since(sent).as_secs_f64();
            let peer = format!("{:x}", message.from);
            let round_trips = &self.options.metrics.peers.round_trip_seconds;
            round_trips
                .with_label_values(&[peer.as_str()])
                .observe(seconds);
        }
        let raft = &self.raft.raft;
        let own = guard::Own {
            id: raft.id,
            term: raft.term,
            committed: raft.raft_log.committed,
            last: raft.raft_log.last_index(),
            // raft answers 0 for what it does not have.
            term_of: |index| raft.raft_log.term(index).ok().filter(|term| *term > 0),
        };
        match guard::check(&message, &own) {
            Ok(()) => {}
            Err(refusal @ Refusal::Malformed { .. }) => {
                tracing::warn!(%refusal, "peer message dropped");
                return Ok(());
            }
            Err(refusal @ Refusal::Diverged { .. }) => return Err(Error::Diverged(refusal)),
        }
        if message.msg_type == MessageType::MsgPropose && !self.admit_proposal(&mut message) {
            return Ok(());
        }
        if let Err(error) = self.raft.step(message) {
            tracing::debug!(%error, "raft did not take a peer's message");
        }
        Ok(())
    }

    pub(super) fn propose(&mut self, entry: Entry) {
        let leaderless = self.raft.raft.leader_id == raft::INVALID_ID;
        if leaderless && self.held.len() < MAX_HELD_PROPOSALS {
            self.held.push_back(entry);
            return;
        }
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.raft.raft.id;
        message.entries = vec![entry].into();
        if !self.admit_proposal(&mut message) {
            return;
        }
        if let Err(error) = self.raft.step(message) {
            // The client waits until its time-out: whether to try again is its decision.
            tracing::debug!(%error, "proposal dropped");
        }
    }

    fn repropose_held(&mut self) {
        if !self.held.is_empty() && self.raft.raft.leader_id != raft::INVALID_ID {
            for entry in std::mem::take(&mut self.held) {
                self.propose(entry);
            }
        }
    }

    fn ask_reads(&mut self) {
        // Without a leader raft would drop the question; it is asked again after the next input.
        if !self.reads.anybody_waits() || self.raft.raft.leader_id == raft::INVALID_ID {
            return;
        }
        if let Some(context) = self.reads.start_round(self.host.now()) {
            self.raft.read_index(context);
        }
    }

    fn on_ready(&mut self) -> Result<(), Error> {
        let mut ready = self.raft.ready();
        self.tell_role(&ready);
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, state.index);
        }
        self.send(ready.take_messages());

        let number = ready.number();
        self.last_number = number;
        let written = self.persist(&ready);
        let mut messages = ready.take_persisted_messages();
        if defect!(self.defects, VoteBeforeSync) {
            let (votes, others) = messages
                .into_iter()
                .partition(|message| message.msg_type == MessageType::MsgRequestVoteResponse);
            messages = others;
            self.send(votes);
        }
        let snapshot = match ready.snapshot().is_empty() {
            true => None,
            false => {
                let metadata = ready.snapshot().get_metadata();
                Some((metadata.index, metadata.term))
            }
        };
        let committed = ready.take_committed_entries();
        self.raft.advance_append_async(ready);
        self.in_flight.push_back(InFlight {
            number,
            written,
            messages,
            snapshot,
        });
        if !committed.is_empty() {
            let entries = committed
                .into_iter()
                .map(committed_entry)
                .collect::<Result<_, _>>()?;
            self.apply(Apply::Entries(entries));
        }
        if !written && self.in_flight.len() == 1 {
            self.on_persisted(number);
        }
        Ok(())
    }

    /// Puts what the Ready wants durable into the in-memory log and the WAL's queue.
    fn persist(&mut self, ready: &Ready) -> bool {
        let leader = self.raft.raft.state == StateRole::Leader;
        let store = self.raft.mut_store();
        let mut batch = wal::Batch::default();
        if !ready.snapshot().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            store.reset_to(ready.snapshot());
            batch.snapshot = Some(wal::SnapshotMark {
                index: metadata.index,
                term: metadata.term,
                conf_state: conf_state_to_wire(metadata.get_conf_state()),
            });
        }
        store.append(ready.entries());
        batch.entries = ready.entries().iter().map(entry_to_wire).collect();
        if let Some(hard_state) = ready.hs() {
            store.set_hard_state(hard_state.clone());
            batch.hard_state = Some(wal_hard_state(hard_state));
        }
        batch.must_sync = batch.snapshot.is_some() || self.vote_or_term_changed(ready.hs());
        batch.ack_early = leader;
        if batch.entries.is_empty() && batch.hard_state.is_none() && batch.snapshot.is_none() {
            return false;
        }
        self.wal.append(ready.number(), batch);
        true
    }

    fn vote_or_term_changed(&mut self, hard_state: Option<&HardState>) -> bool {
        let Some(hard_state) = hard_state else {
            return false;
        };
        let changed = self.options.synced_vote != (hard_state.term, hard_state.vote);
        self.options.synced_vote = (hard_state.term, hard_state.vote);
        changed
    }

    fn tell_role(&mut self, ready: &Ready) {
        let Some(soft) = ready.ss() else {
            return;
        };
        let term = self.raft.raft.term;
        let before = self.status.borrow().clone();
        let metrics = &self.options.metrics;
        if soft.leader_id != raft::INVALID_ID && soft.leader_id != before.leader {
            metrics.server.leader_changes.inc();
        }
        if before.role == Role::Leader && soft.raft_state != StateRole::Leader {
            self.host.observe(Event::SteppedDown { term: before.term });
        }
        match soft.raft_state {
            StateRole::Leader if before.role != Role::Leader => {
                tracing::info!(term, "became leader");
                self.host.observe(Event::BecameLeader { term });
            }
            StateRole::Candidate => self.host.observe(Event::Campaigned { term }),
            StateRole::Follower => self.host.observe(Event::Follows {
                term,
                leader: soft.leader_id,
            }),
            StateRole::Leader | StateRole::PreCandidate => {}
        }
        self.publish();
    }

    fn send(&mut self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let beats = |message: &&Message| message.msg_type == MessageType::MsgHeartbeat;
        for message in messages.iter().filter(beats) {
            // Only the oldest unanswered one counts: its answer comes first.
            self.heartbeats
                .entry(message.to)
                .or_insert_with(|| self.host.now());
        }
        for peer in self.transport.send(messages) {
            self.heartbeats.remove(&peer);
            self.raft.report_unreachable(peer);
        }
    }

    fn apply(&mut self, apply: Apply) {
        // The apply task ends only when the whole member does; nothing is owed to it then.
        let _ = self.applies.send(apply);
    }

    /// The backend holds everything up to `index`: the log before it is needed only by followers
    /// that lag a little.
    fn compact_log(&mut self, reached: Reached) {
        let Reached {
            index,
            term,
            conf_state,
        } = reached;
        if index < self.marked + self.options.snapshot_count {
            return;
        }
        let mark = wal::Batch {
            snapshot: Some(wal::SnapshotMark {
                index,
                term,
                conf_state,
            }),
            ..Default::default()
        };
        self.wal.append(self.last_number, mark);
        self.wal.release(index);
        self.marked = index;
        let keep_from = index.saturating_sub(self.options.snapshot_catchup_entries);
        self.raft.mut_store().compact(keep_from);
        self.host.observe(Event::LogCompacted { index });
    }

    fn publish(&mut self) {
        let raft = &self.raft.raft;
        let status = Status {
            term: raft.term,
            leader: raft.leader_id,
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            commit: raft.raft_log.committed,
        };
        if *self.status.borrow() != status {
            self.status.send_replace(status);
        }
    }
}

/// An entry to propose.
pub(super) fn entry(entry_type: EntryType, data: Bytes) -> Entry {
    Entry {
        entry_type,
        data,
        ..Default::default()
    }
}

fn committed_entry(entry: raft::eraftpb::Entry) -> Result<Committed, Error> {
    if entry.entry_type == EntryType::EntryConfChangeV2 {
        return Err(Error::UnsupportedEntry { index: entry.index });
    }
    Ok(Committed {
        index: entry.index,
        term: entry.term,
        is_change: entry.entry_type == EntryType::EntryConfChange,
        data: entry.data,
    })
}

fn wal_hard_state(hard_state: &HardState) -> wal::HardState {
    wal::HardState {
        term: hard_state.term,
        vote: hard_state.vote,
        commit: hard_state.commit,
    }
}
