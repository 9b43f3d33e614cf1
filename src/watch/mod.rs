//! Watch: telling clients what was written, in order, all of it, and each revision whole.
//!
//! **Nothing is queued for a watch.** A watch is a cursor: the lowest revision whose events it may
//! still have to get. When something is written, the [`Hub`] finds the watches that want it (a map
//! for single keys, an interval tree for ranges) and marks each as ready, which is all that is done
//! at the time of the write. The stream, whenever its client has room, takes a ready watch, gathers
//! what lies between the cursor and the newest revision, and sends it as one response. So:
//!
//! - A client that does not read costs the marks of its watches, whatever is written meanwhile, and
//!   stalls nobody: its stream is just not asked for the next response.
//! - There is one path for watches that keep up, that fall behind, that start in the past, and that
//!   outlive the installation of a snapshot. They differ only in where the events are found: in the
//!   ring of newest events, encoded once for all, or further back in the store's own records.
//! - A cursor below the compaction revision, which the ring does not hold either, means that events
//!   are lost to the watch, and it is cancelled and told so.
//! - A progress answer is safe when no watch of the stream is ready: then everything up to the
//!   newest revision is in responses already handed over, and those come first on the stream.
//!
//! [`Hub`] is pure state behind a lock; [`Session`] is one client's stream.

mod book;
mod event;
mod hub;
mod interest;
mod ranges;
mod ring;
mod scan;
mod session;
mod slab;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::host::{Host, HostExt};
use crate::raft;

pub use event::Event;
pub use hub::{Counters, CreateError, Ending, Hub};
pub use interest::{Interest, Keys};
pub use session::{Outgoing, Requests, Session};

/// How many election timeouts in a row a member must be seen without leader before streams that
/// asked for one are ended.
const LEADERLESS_LOOKS: u32 = 3;

/// How streams behave, from the member's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time between the progress notices of a quiet watch.
    pub progress_interval: Duration,
    /// A response larger than this is split where the client allows it (bytes).
    pub fragment_bytes: usize,
}

/// Ends the streams that require a leader when there has been none for three election timeouts.
/// Runs until it is aborted.
pub async fn require_leader(
    host: Arc<dyn Host>,
    hub: Arc<Hub>,
    raft: raft::Handle,
    election_timeout: Duration,
) {
    let mut without = 0;
    loop {
        host.sleep(election_timeout).await;
        without = match raft.status().leader {
            0 => without + 1,
            _ => 0,
        };
        if without >= LEADERLESS_LOOKS {
            hub.end_leaderless();
        }
    }
}

/// `interval` and up to a tenth more, so that streams opened together do not report together.
fn with_jitter(host: &dyn Host, interval: Duration) -> Duration {
    let tenth = (interval / 10).as_nanos().max(1) as u64;
    interval + Duration::from_nanos(host.random_u64() % tenth)
}
