//! A turn at what only one may hold, a lock or an office: a lease of the client's own is granted, the
//! thing is asked for, used for a while and given back, and the lease revoked. Some holders die with
//! it, and some sleep for longer than their lease and go on as if nothing was.

use std::sync::Arc;
use std::time::Duration;

use vetcd::client::Client;
use vetcd::host::Host;

use super::Session;
use crate::history::{LeaseAnswer, LeaseOutcome, LeaseRequest};
use crate::rng::Stream;

/// The share of holders that die with what they hold.
const DIE: f64 = 0.15;

/// One client, in one of its turns.
pub struct Turn<'a> {
    pub host: &'a Arc<dyn Host>,
    pub random: &'a mut Stream,
    pub client: &'a mut Client,
    pub session: &'a Session,
    /// The turn's own lease, used once in a run.
    pub lease: i64,
    /// The lease's TTL, seconds.
    pub ttl: i64,
}

impl Turn<'_> {
    /// Asks with a fresh lease for what `request` is for; `None` when there was no answer that gives
    /// it. What was asked for may be held all the same, until the lease ends.
    pub async fn begin(&mut self, request: &LeaseRequest) -> Option<LeaseAnswer> {
        let grant = LeaseRequest::Grant {
            id: self.lease,
            ttl: self.ttl,
        };
        self.ask(&grant).await?;
        self.ask(request).await
    }

    /// Gives it back, unless the holder dies.
    pub async fn end(&mut self, give_back: &LeaseRequest) {
        if self.random.chance(DIE) {
            return;
        }
        self.ask(give_back).await;
        self.ask(&LeaseRequest::Revoke { id: self.lease }).await;
    }

    /// The answer to a request; turns to the next member when there is none.
    pub async fn ask(&mut self, request: &LeaseRequest) -> Option<LeaseAnswer> {
        match self.session.lease_call(self.client, request).await {
            LeaseOutcome::Ok(answer) => Some(answer),
            _ => {
                self.client.next_endpoint();
                None
            }
        }
    }

    /// Renews the lease; `false` when the server says that it is gone.
    pub async fn renew(&mut self) -> bool {
        let renew = LeaseRequest::KeepAlive { id: self.lease };
        !matches!(
            self.ask(&renew).await,
            Some(LeaseAnswer::Renewed { ttl: 0 })
        )
    }

    /// Lets some of a holding pass, `step` on average; with the chance of `oversleep` for longer
    /// than the lease lasts.
    pub async fn pass(&mut self, step: Duration, oversleep: f64) {
        self.host.sleep(self.random.exponential(step)).await;
        if self.random.chance(oversleep) {
            self.host.sleep(self.lasts() * 2).await;
        }
    }

    /// How long the lease lasts.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(self.ttl.unsigned_abs())
    }
}
