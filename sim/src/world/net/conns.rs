//! Connections: two ends, two pipes of segments, and the kernel's reactions to what happens.
//!
//! Pipe `i` carries bytes from end `i` to end `1 - i`. A segment is in flight until its arrival
//! time, then readable; a held segment has no arrival time yet. A reset is a time at which an end
//! learns that its connection is gone; what arrived before it can still be read.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use super::core::Core;
use crate::world::NodeId;
use crate::world::timeline::Timeline;
use crate::world::trace::{EventKind, hash_bytes};

/// The arrival time of a segment that is held by its sender's kernel.
const HELD: u64 = u64::MAX;

/// Writes of one instant share a segment up to this size.
const SEGMENT_MAX: usize = 64 * 1024;

pub(super) struct Conn {
    pub(super) ends: [End; 2],
    pipes: [Pipe; 2],
}

pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) state: EndState,
    /// FIN was written: the application may not write any more.
    write_closed: bool,
    /// When this end learns that the connection was reset.
    reset_at_ns: Option<u64>,
    /// Waits for room to write.
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndState {
    /// An application holds it (or will, once it accepts).
    Open,
    /// Closed; the kernel still delivers what was written.
    Closed,
    /// Its machine lost power.
    Vanished,
}

#[derive(Default)]
struct Pipe {
    queue: VecDeque<Segment>,
    /// Bytes written and not yet acknowledged: what fills the send buffer.
    unacknowledged: usize,
    /// Of those, bytes that were read while the way back was cut.
    withheld: usize,
    last_arrival_ns: u64,
    /// When the oldest held segment was first lost.
    lost_at_ns: Option<u64>,
    reader: Option<Waker>,
    /// The timer armed for `reader`.
    armed_ns: Option<u64>,
    /// Bytes read so far.
    position: u64,
}

struct Segment {
    /// `None` is FIN.
    data: Option<Vec<u8>>,
    read: usize,
    sent_ns: u64,
    departs_ns: u64,
    arrives_ns: u64,
}

impl Segment {
    fn hold(&mut self) {
        self.departs_ns = HELD;
        self.arrives_ns = HELD;
    }
}

impl Pipe {
    fn has_data(&self) -> bool {
        self.queue.iter().any(|segment| segment.data.is_some())
    }

    fn has_held(&self) -> bool {
        self.queue
            .back()
            .is_some_and(|segment| segment.arrives_ns == HELD)
    }

    /// Drops every segment for which `lost` holds, as if it had never been written.
    fn discard(&mut self, lost: impl Fn(&Segment) -> bool) {
        let mut dropped = 0;
        self.queue.retain(|segment| {
            let gone = lost(segment);
            if gone {
                dropped += segment
                    .data
                    .as_ref()
                    .map_or(0, |data| data.len() - segment.read);
            }
            !gone
        });
        self.unacknowledged -= dropped;
    }

    /// Makes sure that a waiting reader wakes when the head of the queue arrives.
    fn arm(&mut self, reset_at_ns: Option<u64>, timeline: &Timeline) {
        let Some(reader) = &self.reader else { return };
        let head_ns = self
            .queue
            .front()
            .map_or(HELD, |segment| segment.arrives_ns);
        let next_ns = head_ns.min(reset_at_ns.unwrap_or(HELD));
        if next_ns != HELD && self.armed_ns != Some(next_ns) {
            self.armed_ns = Some(next_ns);
            timeline.wake_at(next_ns, reader);
        }
    }
}

impl Conn {
    pub(super) fn new(from: NodeId, to: NodeId) -> Conn {
        let end = |node| End {
            node,
            state: EndState::Open,
            write_closed: false,
            reset_at_ns: None,
            writer: None,
        };
        Conn {
            ends: [end(from), end(to)],
            pipes: [Pipe::default(), Pipe::default()],
        }
    }

    /// The end that sends from `from` to `to`, if the connection is between the two.
    pub(super) fn sender(&self, from: NodeId, to: NodeId) -> Option<usize> {
        match (self.ends[0].node, self.ends[1].node) {
            (a, b) if (a, b) == (from, to) => Some(0),
            (a, b) if (b, a) == (from, to) => Some(1),
            _ => None,
        }
    }

    /// What `sender` has on the wire is lost and held for retransmission. Returns how many.
    pub(super) fn lose_in_flight(&mut self, sender: usize, now_ns: u64) -> u64 {
        let pipe = &mut self.pipes[sender];
        let mut held = 0;
        for segment in pipe
            .queue
            .iter_mut()
            .filter(|segment| segment.arrives_ns > now_ns)
        {
            held += u64::from(segment.arrives_ns != HELD);
            segment.hold();
            pipe.lost_at_ns.get_or_insert(now_ns);
        }
        // A reset on its way is lost for good: kernels do not repeat it.
        let reset = &mut self.ends[1 - sender].reset_at_ns;
        if reset.is_some_and(|at_ns| at_ns > now_ns) {
            *reset = None;
        }
        held
    }

    /// The machine under `end` lost power: what it had sent travels on, what it held is gone.
    pub(super) fn vanish(&mut self, end: usize, now_ns: u64) {
        self.ends[end].state = EndState::Vanished;
        self.ends[end].writer = None;
        self.pipes[end].discard(|segment| segment.departs_ns > now_ns);
        // The peer's kernel waits for acknowledgements of what had not arrived.
        self.pipes[1 - end].discard(|segment| segment.arrives_ns <= now_ns);
        self.pipes[1 - end].reader = None;
        self.lose_in_flight(1 - end, now_ns);
        if let Some(writer) = self.ends[1 - end].writer.take() {
            writer.wake();
        }
    }

    /// `end` learns at `at_ns` that the connection is gone.
    pub(super) fn reset_end(&mut self, end: usize, at_ns: u64, timeline: &Timeline) {
        let at_ns = self.ends[end]
            .reset_at_ns
            .map_or(at_ns, |before| before.min(at_ns));
        self.ends[end].reset_at_ns = Some(at_ns);
        // What would arrive later never does.
        self.pipes[1 - end].discard(|segment| segment.arrives_ns > at_ns);
        self.pipes[1 - end].arm(Some(at_ns), timeline);
        if let Some(writer) = &self.ends[end].writer {
            timeline.wake_at(at_ns, writer);
        }
    }

    fn is_reset(&self, end: usize, now_ns: u64) -> bool {
        self.ends[end]
            .reset_at_ns
            .is_some_and(|at_ns| at_ns <= now_ns)
    }
}

impl Core {
    /// Reads what has arrived at `end`. `Ready` with nothing read is the end of the stream.
    pub(super) fn read(
        &mut self,
        id: u64,
        end: usize,
        buffer: &mut ReadBuf<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Poll::Ready(Err(reset()));
        };
        let now_ns = self.timeline.now_ns();
        let pipe = &mut conn.pipes[1 - end];
        let before = buffer.remaining();
        let mut finished = false;
        while let Some(segment) = pipe.queue.front_mut()
            && segment.arrives_ns <= now_ns
            && buffer.remaining() > 0
        {
            let Some(data) = &segment.data else {
                finished = true;
                break;
            };
            let count = buffer.remaining().min(data.len() - segment.read);
            buffer.put_slice(&data[segment.read..segment.read + count]);
            segment.read += count;
            if segment.read == data.len() {
                pipe.queue.pop_front();
            }
        }
        let count = before - buffer.remaining();
        if count > 0 {
            pipe.reader = None;
            pipe.armed_ns = None;
            pipe.position += count as u64;
            let position = pipe.position;
            self.acknowledge(id, end, count);
            return Poll::Ready({
                self.delivered(id, end, count, position);
                Ok(())
            });
        }
        if finished || before == 0 {
            return Poll::Ready(Ok(()));
        }
        if conn.is_reset(end, now_ns) {
            self.counters.resets += 1;
            return Poll::Ready(Err(reset()));
        }
        let reset_at_ns = conn.ends[end].reset_at_ns;
        let pipe = &mut conn.pipes[1 - end];
        if !pipe
            .reader
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            pipe.reader = Some(context.waker().clone());
            pipe.armed_ns = None;
        }
        pipe.arm(reset_at_ns, &self.timeline);
        Poll::Pending
    }

    fn delivered(&mut self, id: u64, end: usize, count: usize, position: u64) {
        self.counters.delivered += count as u64;
        let node = self.conns[&id].ends[end].node;
        self.note(node, EventKind::Deliver, [id, count as u64, position]);
    }

    /// `count` bytes were read at `end`: its peer's send buffer has room again, unless the way
    /// back is cut.
    fn acknowledge(&mut self, id: u64, end: usize, count: usize) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let heard = self.reachable(conn.ends[end].node, conn.ends[1 - end].node);
        let room_needed = self.config.send_buffer - self.config.send_buffer / 4;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let pipe = &mut conn.pipes[1 - end];
        if !heard {
            pipe.withheld += count;
            return;
        }
        pipe.unacknowledged -= count;
        if pipe.unacknowledged <= room_needed
            && let Some(writer) = conn.ends[1 - end].writer.take()
        {
            writer.wake();
        }
    }

    /// Writes as much of `parts` as there is room for, as one segment.
    pub(super) fn write(
        &mut self,
        id: u64,
        end: usize,
        parts: &[io::IoSlice<'_>],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Poll::Ready(Err(reset()));
        };
        if conn.is_reset(end, self.timeline.now_ns()) {
            return Poll::Ready(Err(reset()));
        }
        if conn.ends[end].write_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = self
            .config
            .send_buffer
            .saturating_sub(conn.pipes[end].unacknowledged);
        if room == 0 {
            let waker = context.waker().clone();
            if let Some(at_ns) = conn.ends[end].reset_at_ns {
                self.timeline.wake_at(at_ns, &waker);
            }
            conn.ends[end].writer = Some(waker);
            return Poll::Pending;
        }
        let count = wanted.min(room);
        let mut data = Vec::with_capacity(count);
        for part in parts {
            let taken = part.len().min(count - data.len());
            data.extend_from_slice(&part[..taken]);
        }
        conn.pipes[end].unacknowledged += count;
        let node = conn.ends[end].node;
        self.note(node, EventKind::Send, [id, count as u64, hash_bytes(&data)]);
        self.counters.bytes += count as u64;
        self.push(id, end, Some(data));
        Poll::Ready(Ok(count))
    }

    /// Hands a segment (FIN when it has no data) to the sender's kernel.
    fn push(&mut self, id: u64, end: usize, data: Option<Vec<u8>>) {
        let data = match self.append_to_tail(id, end, data) {
            Ok(()) => return,
            Err(data) => data,
        };
        let now_ns = self.timeline.now_ns();
        self.counters.segments += 1;
        let bytes = data.as_ref().map_or(0, Vec::len);
        let mut segment = Segment {
            data,
            read: 0,
            sent_ns: now_ns,
            departs_ns: HELD,
            arrives_ns: HELD,
        };
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (from, to) = (conn.ends[end].node, conn.ends[1 - end].node);
        let heard = conn.ends[1 - end].state == EndState::Open;
        let queued = conn.pipes[end].has_held();
        let reachable = self.reachable(from, to);
        if heard && reachable && !queued {
            let backoff = self.backoff();
            let passage = self.link_mut(from, to).send(now_ns, bytes, backoff);
            self.counters.lost += u64::from(passage.losses);
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            let pipe = &mut conn.pipes[end];
            segment.departs_ns = passage.departs_ns;
            segment.arrives_ns = passage.arrives_ns.max(pipe.last_arrival_ns);
            pipe.last_arrival_ns = segment.arrives_ns;
            pipe.queue.push_back(segment);
            pipe.arm(conn.ends[1 - end].reset_at_ns, &self.timeline);
            return;
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.pipes[end].lost_at_ns.get_or_insert(now_ns);
        conn.pipes[end].queue.push_back(segment);
        self.counters.held += u64::from(!reachable);
        if !heard && !queued {
            self.answer_with_reset(id, end, now_ns);
        }
    }

    /// Adds data to the last segment when it was sent in this same instant, or is held as well.
    fn append_to_tail(
        &mut self,
        id: u64,
        end: usize,
        data: Option<Vec<u8>>,
    ) -> Result<(), Option<Vec<u8>>> {
        let Some(more) = data else { return Err(None) };
        let now_ns = self.timeline.now_ns();
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        let (from, to) = (conn.ends[end].node, conn.ends[1 - end].node);
        let Some(tail) = conn.pipes[end].queue.back_mut() else {
            return Err(Some(more));
        };
        let held = tail.arrives_ns == HELD;
        let fits = match &tail.data {
            Some(data) => data.len() + more.len() <= SEGMENT_MAX,
            None => false,
        };
        if !fits || !(held || tail.sent_ns == now_ns) {
            return Err(Some(more));
        }
        if let Some(data) = &mut tail.data {
            data.extend_from_slice(&more);
        }
        if !held {
            let before_ns = self.link_mut(from, to).occupy(now_ns, 0);
            let extra_ns = self.link_mut(from, to).occupy(now_ns, more.len()) - before_ns;
            let Some(conn) = self.conns.get_mut(&id) else {
                return Ok(());
            };
            let pipe = &mut conn.pipes[end];
            if let Some(tail) = pipe.queue.back_mut() {
                tail.departs_ns += extra_ns;
                tail.arrives_ns += extra_ns;
                pipe.last_arrival_ns = tail.arrives_ns;
            }
        }
        Ok(())
    }

    /// Data sent by `end` at `departs_ns` reach a kernel that does not know the connection (any
    /// more): its reset comes back after a round trip, if both ways are open.
    fn answer_with_reset(&mut self, id: u64, end: usize, departs_ns: u64) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (from, to) = (conn.ends[end].node, conn.ends[1 - end].node);
        if !self.reachable(from, to) || !self.reachable(to, from) {
            return;
        }
        let forth_ns = self.link_mut(from, to).latency_ns();
        let back_ns = self.link_mut(to, from).latency_ns();
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.reset_end(end, departs_ns + forth_ns + back_ns, &self.timeline);
        }
    }

    /// A way that was closed is open again: held segments go out at their next retransmission,
    /// and withheld acknowledgements arrive.
    pub(super) fn release(&mut self, id: u64) {
        for end in [0, 1] {
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            let (from, to) = (conn.ends[end].node, conn.ends[1 - end].node);
            let withheld = std::mem::take(&mut conn.pipes[end].withheld);
            if withheld > 0 {
                // Counted again as withheld when the way back is still closed.
                self.acknowledge(id, 1 - end, withheld);
            }
            let Some(conn) = self.conns.get(&id) else {
                return;
            };
            if !conn.pipes[end].has_held() || !self.reachable(from, to) {
                continue;
            }
            let now_ns = self.timeline.now_ns();
            let lost_ns = conn.pipes[end].lost_at_ns.unwrap_or(now_ns);
            let attempt_ns = self.backoff().next_attempt_ns(lost_ns, now_ns);
            match conn.ends[1 - end].state {
                EndState::Open => self.resend(id, end, attempt_ns),
                EndState::Closed | EndState::Vanished => {
                    self.answer_with_reset(id, end, attempt_ns);
                }
            }
        }
    }

    /// Sends what `end` holds, the first of it at `attempt_ns`.
    fn resend(&mut self, id: u64, end: usize, attempt_ns: u64) {
        let backoff = self.backoff();
        let Some(mut conn) = self.conns.remove(&id) else {
            return;
        };
        let (from, to) = (conn.ends[end].node, conn.ends[1 - end].node);
        let link = self.link_mut(from, to);
        let pipe = &mut conn.pipes[end];
        pipe.lost_at_ns = None;
        let mut departs_ns = attempt_ns;
        let mut lost = 0;
        for segment in pipe
            .queue
            .iter_mut()
            .filter(|segment| segment.arrives_ns == HELD)
        {
            let bytes = segment.data.as_ref().map_or(0, Vec::len);
            let passage = link.send_later(departs_ns, bytes, backoff);
            lost += u64::from(passage.losses);
            departs_ns = passage.departs_ns;
            segment.departs_ns = passage.departs_ns;
            segment.arrives_ns = passage.arrives_ns.max(pipe.last_arrival_ns);
            pipe.last_arrival_ns = segment.arrives_ns;
        }
        pipe.arm(conn.ends[1 - end].reset_at_ns, &self.timeline);
        self.counters.lost += lost;
        self.conns.insert(id, conn);
    }

    /// The application will write no more.
    pub(super) fn shut_down_writing(&mut self, id: u64, end: usize) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut conn.ends[end].write_closed, true) {
            let node = conn.ends[end].node;
            self.note(node, EventKind::Close, [id, 0, 0]);
            self.push(id, end, None);
        }
    }

    /// The application is done with its socket, or died.
    pub(super) fn close(&mut self, id: u64, end: usize) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.ends[end].state != EndState::Open {
            return;
        }
        conn.ends[end].writer = None;
        conn.pipes[1 - end].reader = None;
        let now_ns = self.timeline.now_ns();
        let known_dead = conn.is_reset(end, now_ns);
        let unread = conn.pipes[1 - end].has_data();
        let (from, to) = (conn.ends[end].node, conn.ends[1 - end].node);
        self.note(from, EventKind::Close, [id, 1 + u64::from(unread), 0]);
        if !known_dead && !unread {
            self.shut_down_writing(id, end);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.ends[end].state = EndState::Closed;
        }
        if !known_dead && unread {
            self.abort(id, end, from, to);
        }
        self.forget_if_over(id);
    }

    /// Closing with unread data: a reset goes out once, behind what is already on its way.
    fn abort(&mut self, id: u64, end: usize, from: NodeId, to: NodeId) {
        let now_ns = self.timeline.now_ns();
        let heard = self.reachable(from, to);
        let latency_ns = self.link_mut(from, to).latency_ns();
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.pipes[end].discard(|segment| segment.departs_ns > now_ns);
        // What the peer still has on the way (or holds) will meet a closed socket.
        conn.pipes[1 - end].discard(|segment| segment.arrives_ns <= now_ns);
        conn.lose_in_flight(1 - end, now_ns);
        if let Some(writer) = conn.ends[1 - end].writer.take() {
            writer.wake();
        }
        if heard {
            let behind_ns = conn.pipes[end]
                .queue
                .back()
                .map_or(0, |last| last.arrives_ns);
            conn.reset_end(
                1 - end,
                (now_ns + latency_ns).max(behind_ns),
                &self.timeline,
            );
        }
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
