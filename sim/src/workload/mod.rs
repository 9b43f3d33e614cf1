//! What clients do during a run, one kind of workload a file.
//!
//! A workload talks to the cluster through `vetcd::client`, over real gRPC bytes on the simulated
//! network, and writes every operation into the [`Recorder`]. It never retries a write and never
//! decides what an unclear outcome meant.

mod auth;
mod compact;
mod convert;
mod election;
mod kv;
mod lease;
mod lock;
mod membership;
mod rebase;
mod recorder;
mod replace;
mod turn;
mod watch;

pub use auth::{AuthWorld, auth_administrator, auth_user};
pub use compact::compact;
pub use convert::{key_value, range_body};
pub use election::{candidate, observer};
pub use kv::kv;
pub use lease::lease;
pub use lock::lock;
pub use membership::membership;
pub use rebase::Rebase;
pub use recorder::{Recorder, Session};
pub use replace::replace;
pub use watch::watch;
