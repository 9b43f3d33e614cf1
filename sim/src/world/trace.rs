//! The trace: a rolling hash over everything that happened, and on request the events themselves.
//!
//! Each event is (virtual time, node, kind, three numbers, label). Equal hashes mean equal runs;
//! where they differ, [`first_difference`] over two recorded traces says where the runs parted.
//! Hashing is a few multiplications per event, so it is always on; recording costs memory and is
//! bounded by [`RECORDED_EVENTS_MAX`].

use std::fmt;
use std::sync::{Arc, Mutex};

use super::timeline::Timeline;
use super::{NodeId, lock};

/// Recording stops (and says so) after this many events; hashing goes on.
pub const RECORDED_EVENTS_MAX: usize = 4_000_000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal ($a:literal, $b:literal, $c:literal),)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum EventKind { $($(#[$doc])* $name,)* }

        impl EventKind {
            /// The name used in printed traces.
            pub fn name(self) -> &'static str {
                match self { $(EventKind::$name => $text,)* }
            }

            fn arguments(self) -> [&'static str; 3] {
                match self { $(EventKind::$name => [$a, $b, $c],)* }
            }
        }
    };
}

kinds! {
    /// A connection attempt reached the other side's kernel, or failed.
    Connect = "net-connect" ("conn", "to", "result"),
    /// Bytes were handed to the kernel for sending.
    Send = "net-send" ("conn", "bytes", "hash"),
    /// Bytes were read by the process they were sent to.
    Deliver = "net-deliver" ("conn", "bytes", "position"),
    /// A socket was shut down or closed.
    Close = "net-close" ("conn", "how", ""),
    /// A disk operation was issued; `at` is the time at which it takes effect.
    Disk = "disk" ("operation", "at", "hash"),
    /// What a power loss or crash left of a file.
    DiskImage = "disk-image" ("kept", "lost", "hash"),
    /// A process started its life number `life`.
    Start = "start" ("life", "", ""),
    /// A process ended.
    End = "end" ("life", "how", ""),
    /// A fault was injected or healed.
    Fault = "fault" ("a", "b", "c"),
    /// Something the testbed or a client noted.
    Note = "note" ("bytes", "hash", ""),
}

/// One recorded event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// True virtual time in nanoseconds.
    pub at_ns: u64,
    /// The node concerned; `None` for the world itself.
    pub node: Option<NodeId>,
    /// What happened.
    pub kind: EventKind,
    /// Numbers whose meaning depends on `kind`.
    pub arguments: [u64; 3],
    /// The label of a note or fault; empty otherwise.
    pub label: String,
}

impl Event {
    /// What happened, without when and where.
    pub fn what(&self) -> String {
        let mut text = self.kind.name().to_owned();
        if !self.label.is_empty() {
            text = format!("{text} {}", self.label);
        }
        for (name, value) in self.kind.arguments().into_iter().zip(self.arguments) {
            match name {
                "" => {}
                "hash" => text += &format!(" {name}={value:016x}"),
                _ => text += &format!(" {name}={value}"),
            }
        }
        text
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.at_ns / 1_000_000_000, self.at_ns % 1_000_000_000);
        write!(f, "{seconds:4}.{rest:09}s ")?;
        match self.node {
            Some(node) => write!(f, "node {} ", node.0)?,
            None => write!(f, "world  ")?,
        }
        f.write_str(&self.what())
    }
}

/// The hash of a trace: equal for equal runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceHash(pub u128);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The run's trace. Cloning shares it.
#[derive(Clone)]
pub struct Trace(Arc<Inner>);

struct Inner {
    timeline: Timeline,
    state: Mutex<State>,
}

struct State {
    low: u64,
    high: u64,
    count: u64,
    recorded: Option<Vec<Event>>,
}

impl Trace {
    pub(crate) fn new(timeline: Timeline, seed: u64, record: bool) -> Trace {
        let state = State {
            low: seed,
            high: !seed,
            count: 0,
            recorded: record.then(Vec::new),
        };
        Trace(Arc::new(Inner {
            timeline,
            state: Mutex::new(state),
        }))
    }

    /// Notes `bytes` under `label`: what clients do and see, what the testbed decides.
    pub fn note(&self, node: Option<NodeId>, label: &str, bytes: &[u8]) {
        let length = bytes.len() as u64;
        self.labelled(node, EventKind::Note, [length, hash_bytes(bytes), 0], label);
    }

    /// Notes a fault.
    pub(crate) fn fault(&self, node: Option<NodeId>, label: &str, arguments: [u64; 3]) {
        self.labelled(node, EventKind::Fault, arguments, label);
    }

    pub(crate) fn event(&self, node: Option<NodeId>, kind: EventKind, arguments: [u64; 3]) {
        self.labelled(node, kind, arguments, "");
    }

    fn labelled(&self, node: Option<NodeId>, kind: EventKind, arguments: [u64; 3], label: &str) {
        let at_ns = self.0.timeline.now_ns();
        let mut state = lock(&self.0.state);
        let who = node.map_or(0, |node| u64::from(node.0) + 1);
        state.absorb(at_ns, who << 8 | kind as u64);
        state.absorb(arguments[0], arguments[1]);
        state.absorb(
            arguments[2],
            if label.is_empty() {
                0
            } else {
                hash_bytes(label.as_bytes())
            },
        );
        state.count += 1;
        if let Some(events) = state.recorded.as_mut()
            && events.len() < RECORDED_EVENTS_MAX
        {
            events.push(Event {
                at_ns,
                node,
                kind,
                arguments,
                label: label.to_owned(),
            });
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> TraceHash {
        let state = lock(&self.0.state);
        TraceHash(u128::from(state.high) << 64 | u128::from(state.low))
    }

    /// How many events there were so far.
    pub fn count(&self) -> u64 {
        lock(&self.0.state).count
    }

    /// The events recorded so far (none unless the run records; at most
    /// [`RECORDED_EVENTS_MAX`]). Takes them: a second call returns what came after.
    pub fn take_events(&self) -> Vec<Event> {
        lock(&self.0.state)
            .recorded
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

impl State {
    fn absorb(&mut self, a: u64, b: u64) {
        self.low = fold(self.low ^ a, b ^ 0x9e37_79b9_7f4a_7c15).wrapping_add(self.high);
        self.high = fold(self.high ^ b, a ^ 0xc2b2_ae3d_27d4_eb4f) ^ self.low.rotate_left(31);
    }
}

/// The index of the first event in which two traces differ, with both events.
pub fn first_difference<'a>(
    a: &'a [Event],
    b: &'a [Event],
) -> Option<(usize, Option<&'a Event>, Option<&'a Event>)> {
    let index = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (index < a.len().max(b.len())).then(|| (index, a.get(index), b.get(index)))
}

/// A 64-bit hash of `bytes`; the same on every machine. Four lanes, 32 bytes a step.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut lanes = [
        0x243f_6a88_85a3_08d3u64,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
    ];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(0x9fb2_1c65_1e98_df25);
            *lane ^= *lane >> 32;
        }
    }
    let mut hash = fold(
        bytes.len() as u64 ^ 0x4528_21e6_38d0_1377,
        0x8ebc_6af0_9c88_c6e3,
    );
    for word in blocks.remainder().chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        hash = fold(hash ^ u64::from_le_bytes(padded), 0xa076_1d64_78bd_642f);
    }
    for lane in lanes {
        hash = fold(hash ^ lane, 0xe703_7ed1_a0b4_28db);
    }
    hash
}

/// The two halves of the 128-bit product, folded together.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_reach_the_hash() {
        for length in [0usize, 1, 7, 8, 31, 32, 33, 100] {
            let base = vec![0u8; length];
            let mut seen = std::collections::BTreeSet::from([hash_bytes(&base)]);
            for position in 0..length {
                let mut changed = base.clone();
                changed[position] = 1;
                assert!(
                    seen.insert(hash_bytes(&changed)),
                    "length {length} byte {position}"
                );
            }
            let mut longer = base.clone();
            longer.push(0);
            assert!(seen.insert(hash_bytes(&longer)));
        }
    }
}
