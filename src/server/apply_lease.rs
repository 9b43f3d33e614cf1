//! Applying what entries say about leases.
//!
//! The state changes first; the leader's clock hears of it when the state that shows it has been
//! published, so that a clock which starts in between misses nothing.

use crate::api::proto::etcdserverpb::{LeaseGrantResponse, ResponseHeader};
use crate::api::proto::vetcdpb::{LeaseCheckpoints, LeaseExpiry};
use crate::defect;
use crate::host::Event;
use crate::lease::{Counters, Lease};
use crate::mvcc;

use super::Response;
use super::apply::Applier;
use super::waiters::Outcome;

/// A lease has come or gone.
pub enum LeaseEvent {
    Granted(Lease),
    Removed(Lease),
}

impl Applier {
    pub(super) fn grant_lease(&mut self, id: i64, ttl: i64) -> Outcome {
        let lease = self
            .current
            .state
            .grant_lease(id, ttl, self.current.index)?;
        Counters::count(&self.lease_counters.granted);
        self.lease_events.push(LeaseEvent::Granted(lease));
        Ok(Response::LeaseGrant(LeaseGrantResponse {
            header: Some(ResponseHeader {
                revision: self.current.state.revision(),
                ..Default::default()
            }),
            id: lease.id,
            ttl: lease.ttl,
            ..Default::default()
        }))
    }

    pub(super) fn revoke_lease(&mut self, id: i64, expired: bool) -> Outcome {
        let lease = self.current.state.revoke_lease(id)?;
        Counters::count(&self.lease_counters.revoked);
        self.lease_events.push(LeaseEvent::Removed(lease));
        let revision = self.current.state.revision();
        self.host.observe(Event::LeaseEnded {
            id,
            granted_index: lease.granted_index,
            expired,
            revision,
        });
        Ok(Response::LeaseRevoke { revision })
    }

    /// A leader's finding counts in its own term alone, and for the grant it is about: see
    /// [`LeaseExpiry`].
    pub(super) fn expire_lease(&mut self, expiry: &LeaseExpiry, own: bool) -> Outcome {
        let lease = self.current.state.leases().get(expiry.id);
        let same = lease.is_some_and(|lease| lease.granted_index == expiry.granted_index);
        let stale = expiry.term != self.current.term && !defect!(self.defects, StaleExpiry);
        if stale || !same {
            return Err(mvcc::Error::LeaseNotFound.into());
        }
        if own {
            Counters::count(&self.lease_counters.expired);
        }
        self.revoke_lease(expiry.id, true)
    }

    pub(super) fn checkpoint_leases(&mut self, checkpoints: &LeaseCheckpoints) -> Response {
        let counted = checkpoints.term == self.current.term;
        if counted {
            let state = &mut self.current.state;
            for lease in &checkpoints.leases {
                state.checkpoint_lease(lease.id, lease.granted_index, lease.remaining_ttl);
            }
        }
        Response::LeaseCheckpoint { counted }
    }

    /// Tells the clock what the state just published shows.
    pub(super) fn tell_clock(&mut self) {
        for event in self.lease_events.drain(..) {
            match event {
                LeaseEvent::Granted(lease) => self.clock.granted(lease, self.host.now()),
                LeaseEvent::Removed(lease) => self.clock.removed(lease),
            }
        }
    }
}
