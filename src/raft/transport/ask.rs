//! Asking a member who the members are, before one has joined: the one question that is answered to
//! strangers.

use std::io;
use std::sync::Arc;

use crate::api::proto::vetcdpb::{ClusterAnswer, PeerHello};
use crate::host::{Host, HostExt};
use crate::server::Members;

use super::frame::{self, Reader};
use super::{CHANNEL_MEMBERS, HANDSHAKE_TIMEOUT, MAX_HELLO, PROTOCOL};

/// The largest answer (bytes).
const MAX_ANSWER: usize = 1 << 20;

/// Why a member did not say who the members are.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {source}")]
pub struct AskError {
    /// Whom it was asked.
    pub address: String,
    /// What went wrong.
    pub source: io::Error,
}

/// What a member says about its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The raft index it speaks of.
    pub index: u64,
    /// The cluster's ID.
    pub cluster_id: u64,
    /// The members.
    pub members: Members,
}

/// Asks the member at `address` (`host:port`) for its cluster's ID and members.
///
/// # Errors
/// It cannot be reached, or does not know yet.
pub async fn ask_members(host: &Arc<dyn Host>, address: &str) -> Result<Told, AskError> {
    let asking = async {
        let mut reader = Reader::new(host.connect(address).await?);
        let hello = PeerHello {
            protocol: PROTOCOL,
            channel: CHANNEL_MEMBERS,
            ..Default::default()
        };
        frame::write(reader.stream_mut(), &hello).await?;
        let answer: PeerHello = reader.next(MAX_HELLO).await?;
        if !answer.refusal.is_empty() {
            return Err(io::Error::other(answer.refusal));
        }
        let answer: ClusterAnswer = reader.next(MAX_ANSWER).await?;
        Ok(Told {
            index: answer.index,
            cluster_id: answer.cluster_id,
            members: Members::from_wire(answer.members),
        })
    };
    let asked = host.timeout(HANDSHAKE_TIMEOUT, asking).await;
    asked
        .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| AskError {
            address: address.to_owned(),
            source,
        })
}
