//! What clients see: the generated protocol types and the services over them.

pub mod serve;

/// Generated protocol types; the definitions are in `src/api/proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::disallowed_types)]
pub mod proto {
    /// Stored key-value pairs and events.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// The v3 API.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// Between vetcd's own members, and in its log.
    pub mod vetcdpb {
        tonic::include_proto!("vetcdpb");
    }
}
