//! The kernel's side of connections: reading, writing, closing, and what goes over the links.

use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::core::Core;
use super::pipe::{EndState, HELD, SEGMENT_MAX, Segment};
use crate::world::NodeId;
use crate::world::trace::{EventKind, hash_bytes};

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
        conn.pipes[end].cut_short(now_ns);
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
