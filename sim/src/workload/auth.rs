//! The `auth` workload: an administrator changes users, roles and permissions without pause, and
//! the other clients read and write as these users, sometimes permitted and sometimes not.
//!
//! Names are never used again, and a name whose making had an unknown outcome is never used at all.
//! So a change that arrives late, out of some queue, speaks of something that is gone: that is what
//! lets the judge say anything at all after an unknown outcome.
//!
//! Every user may always write the keys that begin with `h`, so that a client is served in the end
//! whatever the administrator did last. The changing permissions are about `ka`, `kb` and so on.

mod administrator;
mod change;
mod user;

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use vetcd::client::FailureClass;

use crate::history::AuthOutcome;

pub use administrator::auth_administrator;
pub use user::auth_user;

/// What the administrator tells the users outside the cluster: who each is.
#[derive(Clone, Default)]
pub struct AuthWorld(Arc<Mutex<Vec<Identity>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    user: String,
    /// The one in force is among them.
    passwords: Vec<String>,
}

impl AuthWorld {
    fn lock(&self) -> MutexGuard<'_, Vec<Identity>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Who the user at `position` is, from 1; nobody before authentication is on.
    fn identity(&self, position: u32) -> Option<Identity> {
        self.lock().get(position as usize - 1).cloned()
    }
}

fn refused(class: FailureClass, message: &str) -> AuthOutcome {
    let message = message.to_owned();
    match class {
        FailureClass::Unknown => AuthOutcome::Unknown(message),
        _ if is_denial(&message) => AuthOutcome::Denied,
        _ => AuthOutcome::Refused(message),
    }
}

fn is_denial(message: &str) -> bool {
    matches!(
        message,
        "etcdserver: permission denied" | "etcdserver: user name is empty"
    )
}

fn key(number: u64) -> Bytes {
    // At most 26 keys and the end behind the last.
    Bytes::from(vec![b'k', b'a' + number as u8])
}
