//! A connection's state: two ends, and two pipes of segments between them.
//!
//! Pipe `i` carries bytes from end `i` to end `1 - i`. A segment is in flight until its arrival
//! time, then readable; a held segment has no arrival time yet. A reset is a time at which an end
//! learns that its connection is gone; what arrived before it can still be read.

use std::collections::VecDeque;
use std::task::Waker;

use crate::world::NodeId;
use crate::world::timeline::Timeline;

/// The arrival time of a segment that is held by its sender's kernel.
pub(super) const HELD: u64 = u64::MAX;

/// Writes of one instant share a segment up to this size.
pub(super) const SEGMENT_MAX: usize = 64 * 1024;

pub(super) struct Conn {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
}

pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) state: EndState,
    /// FIN was written: the application may not write any more.
    pub(super) write_closed: bool,
    /// When this end learns that the connection was reset.
    pub(super) reset_at_ns: Option<u64>,
    /// Waits for room to write.
    pub(super) writer: Option<Waker>,
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
pub(super) struct Pipe {
    pub(super) queue: VecDeque<Segment>,
    /// Bytes written and not yet acknowledged: what fills the send buffer.
    pub(super) unacknowledged: usize,
    /// Of those, bytes that were read while the way back was cut.
    pub(super) withheld: usize,
    pub(super) last_arrival_ns: u64,
    /// When the oldest held segment was first lost.
    pub(super) lost_at_ns: Option<u64>,
    pub(super) reader: Option<Waker>,
    /// The timer armed for `reader`.
    pub(super) armed_ns: Option<u64>,
    /// Bytes read so far.
    pub(super) position: u64,
}

pub(super) struct Segment {
    /// `None` is FIN.
    pub(super) data: Option<Vec<u8>>,
    pub(super) read: usize,
    pub(super) sent_ns: u64,
    pub(super) departs_ns: u64,
    pub(super) arrives_ns: u64,
}

impl Segment {
    pub(super) fn hold(&mut self) {
        self.departs_ns = HELD;
        self.arrives_ns = HELD;
    }
}

impl Pipe {
    pub(super) fn has_data(&self) -> bool {
        self.queue.iter().any(|segment| segment.data.is_some())
    }

    pub(super) fn has_held(&self) -> bool {
        self.queue
            .back()
            .is_some_and(|segment| segment.arrives_ns == HELD)
    }

    /// Drops every segment for which `lost` holds, as if it had never been written.
    pub(super) fn discard(&mut self, lost: impl Fn(&Segment) -> bool) {
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

    /// The sender's kernel stops sending: what has not left by `now_ns` never does, and what left
    /// after a segment that must be sent again cannot be delivered either.
    pub(super) fn cut_short(&mut self, now_ns: u64) {
        let sent = self
            .queue
            .iter()
            .take_while(|segment| segment.departs_ns <= now_ns)
            .count();
        for segment in self.queue.drain(sent..) {
            let left = segment.data.map_or(0, |data| data.len() - segment.read);
            self.unacknowledged -= left;
        }
    }

    /// Makes sure that a waiting reader wakes when the head of the queue arrives.
    pub(super) fn arm(&mut self, reset_at_ns: Option<u64>, timeline: &Timeline) {
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
        self.pipes[end].cut_short(now_ns);
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

    pub(super) fn is_reset(&self, end: usize, now_ns: u64) -> bool {
        self.ends[end]
            .reset_at_ns
            .is_some_and(|at_ns| at_ns <= now_ns)
    }
}
