//! Liveness: once all faults are healed, there is a leader and every client is served, in time.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Counterexample, Verdict};
use crate::history::{Nanoseconds, display_seconds};

const GUARANTEE: &str = "liveness";

/// What happened after the last fault was healed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// When the last fault was healed.
    pub healed: Nanoseconds,
    /// How long recovery may take.
    pub budget: Nanoseconds,
    /// When the members agreed on a leader; `None` when they did not. A leader from before counts
    /// as one at `healed`.
    pub leader: Option<Nanoseconds>,
    /// Every client, and when its first request invoked after `healed` succeeded.
    pub clients: Vec<Service>,
}

/// When one client was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The client.
    pub client: u32,
    /// When its first request after healing succeeded; `None` when none did.
    pub served: Option<Nanoseconds>,
}

/// How long recovery took, from healing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Until there was a leader.
    pub leader_after: Nanoseconds,
    /// Until the last client was served.
    pub clients_after: Nanoseconds,
    /// How many clients there were.
    pub clients: usize,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leader = display_seconds(self.leader_after);
        let clients = display_seconds(self.clients_after);
        write!(
            f,
            "a leader after {leader}, all {} clients served after {clients}",
            self.clients
        )
    }
}

/// Judges a recovery.
pub fn check(recovery: &Recovery) -> Verdict<Recovered> {
    let Recovery { healed, budget, .. } = *recovery;
    if recovery.clients.is_empty() {
        return Verdict::Undetermined("no client asked for anything after healing".to_owned());
    }
    let mut late = Vec::new();
    let mut judge = |who: String, at: Option<Nanoseconds>| match at {
        Some(at) if at.saturating_sub(healed) <= budget => at.saturating_sub(healed),
        Some(at) => {
            late.push(format!(
                "{who} only after {}",
                display_seconds(at.saturating_sub(healed))
            ));
            0
        }
        None => {
            late.push(format!("{who} never"));
            0
        }
    };
    let leader_after = judge("a leader was elected".to_owned(), recovery.leader);
    let served = recovery.clients.iter().map(|service| {
        judge(
            format!("client {} was served", service.client),
            service.served,
        )
    });
    let clients_after = served.max().unwrap_or(0);
    if late.is_empty() {
        let clients = recovery.clients.len();
        return Verdict::Ok(Recovered {
            leader_after,
            clients_after,
            clients,
        });
    }
    let summary = format!(
        "not recovered within {} after healing at {}",
        display_seconds(budget),
        display_seconds(healed)
    );
    late.into_iter()
        .fold(
            Counterexample::new(GUARANTEE, summary),
            Counterexample::because,
        )
        .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn recovery(leader: Option<u64>, served: &[Option<u64>]) -> Recovery {
        let service = |(client, served): (u32, &Option<u64>)| Service {
            client,
            served: *served,
        };
        let clients = (1..).zip(served).map(service).collect();
        Recovery {
            healed: 1_000,
            budget: 100,
            leader,
            clients,
        }
    }

    #[test]
    fn in_time() {
        let verdict = check(&recovery(Some(900), &[Some(1_001), Some(1_100)]));
        let recovered = Recovered {
            leader_after: 0,
            clients_after: 100,
            clients: 2,
        };
        assert_eq!(verdict, Verdict::Ok(recovered));
    }

    #[test]
    fn too_late_or_never() {
        for (leader, served, reason) in [
            (None, Some(1_001), "leader was elected never"),
            (Some(1_101), Some(1_001), "leader was elected only after"),
            (Some(1_001), None, "client 2 was served never"),
            (Some(1_001), Some(1_101), "client 2 was served only after"),
        ] {
            let counterexample = check(&recovery(leader, &[Some(1_001), served]))
                .violation()
                .unwrap();
            assert_eq!(counterexample.reasons.len(), 1, "{counterexample}");
            assert!(
                counterexample.reasons[0].contains(reason),
                "{counterexample}"
            );
        }
    }

    #[test]
    fn nobody_asked_is_no_pass() {
        assert!(matches!(
            check(&recovery(Some(1), &[])),
            Verdict::Undetermined(_)
        ));
    }
}
