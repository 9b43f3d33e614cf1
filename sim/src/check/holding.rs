//! For how long a client certainly held what only one may hold: a lock, or the lead.
//!
//! From the moment it was told so until it asks to give it back, or until its lease ends: then it is
//! lost, whatever the client believes. Where members told of the ends of leases, those are taken;
//! else a lease certainly lives as long as was promised, and nothing is said of later.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Counterexample;
use crate::history::{
    LeaseAnswer, LeaseHistory, LeaseOperation, LeaseOutcome, LeaseRequest, Nanoseconds, Removal,
    display_seconds, display_short, lease_name,
};

const SECOND: u64 = 1_000_000_000;
/// How fast a clock may run where nobody says, parts per million.
pub(super) const DRIFT_PPM: u32 = 10_000;

/// The least true time in which a clock counts `seconds`.
pub(super) fn at_least(seconds: u64, drift_ppm: u32) -> Nanoseconds {
    let fast = u128::from(1_000_000 + drift_ppm);
    let counted = u128::from(seconds) * u128::from(SECOND) * 1_000_000 / fast;
    u64::try_from(counted).unwrap_or(u64::MAX)
}

/// The seconds an answer promises, and for which lease.
pub(super) fn promise(operation: &LeaseOperation) -> Option<(i64, u64)> {
    let (id, ttl) = match (&operation.request, &operation.outcome) {
        (LeaseRequest::Grant { id, .. }, LeaseOutcome::Ok(LeaseAnswer::Granted { ttl })) => {
            (*id, *ttl)
        }
        (LeaseRequest::KeepAlive { id }, LeaseOutcome::Ok(LeaseAnswer::Renewed { ttl })) => {
            (*id, *ttl)
        }
        _ => return None,
    };
    Some((id, u64::try_from(ttl).ok().filter(|ttl| *ttl > 0)?))
}

/// Until when leases certainly live.
pub(super) struct Lives<'a> {
    removals: BTreeMap<i64, &'a Removal>,
    /// Where members told nothing: until when each lease was promised, unless revoked before.
    promised: Option<BTreeMap<i64, Nanoseconds>>,
}

impl<'a> Lives<'a> {
    /// `told` says whether members told of every end.
    pub fn of(leases: &'a LeaseHistory, told: bool) -> Lives<'a> {
        let removals = leases.removals.iter().map(|r| (r.id, r)).collect();
        let mut lives = Lives {
            removals,
            promised: None,
        };
        if told {
            return lives;
        }
        let mut until: BTreeMap<i64, Nanoseconds> = BTreeMap::new();
        for operation in &leases.operations {
            if let Some((id, ttl)) = promise(operation) {
                let end = operation.invoked.saturating_add(at_least(ttl, DRIFT_PPM));
                let known = until.entry(id).or_default();
                *known = end.max(*known);
            }
        }
        for operation in &leases.operations {
            if let LeaseRequest::Revoke { id } = operation.request
                && !matches!(operation.outcome, LeaseOutcome::Failed(_))
                && let Some(known) = until.get_mut(&id)
            {
                *known = operation.invoked.min(*known);
            }
        }
        lives.promised = Some(until);
        lives
    }

    /// Until when the lease certainly lives.
    pub fn until(&self, lease: i64) -> Nanoseconds {
        let removed = self.removals.get(&lease).map(|removal| removal.at);
        match &self.promised {
            None => removed.unwrap_or(Nanoseconds::MAX),
            Some(until) => until.get(&lease).copied().unwrap_or_default(),
        }
    }

    /// How the lease ended, where members told of it.
    pub fn removal(&self, lease: i64) -> Option<&'a Removal> {
        self.removals.get(&lease).copied()
    }
}

/// A time for which a client certainly held something.
pub(super) struct Holding<'a> {
    /// The request for it that was granted.
    pub operation: &'a LeaseOperation,
    pub lease: i64,
    pub from: Nanoseconds,
    pub until: Nanoseconds,
    /// The request to give it back, where that came first.
    pub given_back: Option<&'a LeaseOperation>,
}

impl<'a> Holding<'a> {
    /// The holding that `operation` began, of `lease`; `gives_back` knows requests that end it.
    pub fn new(
        operation: &'a LeaseOperation,
        lease: i64,
        leases: &'a LeaseHistory,
        lives: &Lives<'_>,
        gives_back: impl Fn(&LeaseRequest) -> bool,
    ) -> Holding<'a> {
        let givings = leases
            .operations
            .iter()
            .filter(|other| gives_back(&other.request) && other.invoked >= operation.invoked);
        let given_back = givings.min_by_key(|other| other.invoked);
        let lives_until = lives.until(lease);
        let given_back = given_back.filter(|giving| giving.invoked < lives_until);
        Holding {
            operation,
            lease,
            from: operation.returned.unwrap_or(operation.invoked),
            until: given_back.map_or(lives_until, |giving| giving.invoked),
            given_back,
        }
    }

    /// Whether it ended with its lease, as far as is known.
    pub fn is_lost(&self, lives: &Lives<'_>) -> bool {
        self.given_back.is_none() && lives.removal(self.lease).is_some()
    }

    /// `client 1 (lease 7)`
    fn holder(&self) -> String {
        format!(
            "client {} (lease {})",
            self.operation.client,
            lease_name(self.lease)
        )
    }

    fn end(&self, lives: &Lives<'_>) -> String {
        match (self.given_back, lives.removal(self.lease)) {
            (Some(giving), _) => format!(
                "until it asked to give it back at {}",
                display_seconds(giving.invoked)
            ),
            (None, Some(removal)) => format!("until its {removal}"),
            (None, None) if self.until == Nanoseconds::MAX => "until the end".to_owned(),
            (None, None) => format!(
                "at least until {}, as long as its lease was promised",
                display_seconds(self.until)
            ),
        }
    }
}

/// What is held: `lock` or `election`, and the guarantee's name.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub guarantee: &'static str,
    pub noun: &'static str,
}

/// That of one thing's holdings no two overlap, and that each was held at some moment.
pub(super) fn one_at_a_time(
    kind: Kind,
    name: &Bytes,
    mut holdings: Vec<Holding<'_>>,
    lives: &Lives<'_>,
) -> Result<(), Box<Counterexample>> {
    never_held(kind, name, &holdings, lives)?;
    holdings.retain(|holding| holding.from < holding.until);
    holdings.sort_by_key(|holding| holding.from);
    let mut longest: Option<&Holding<'_>> = None;
    for holding in &holdings {
        if let Some(other) = longest
            && other.until > holding.from
            && other.lease != holding.lease
        {
            return Err(both(kind, name, other, holding, lives));
        }
        if longest.is_none_or(|other| other.until < holding.until) {
            longest = Some(holding);
        }
    }
    Ok(())
}

fn both(
    kind: Kind,
    name: &Bytes,
    other: &Holding<'_>,
    holding: &Holding<'_>,
    lives: &Lives<'_>,
) -> Box<Counterexample> {
    let at = display_seconds(holding.from);
    let summary = format!(
        "{} {} had two holders at {at}: {} and {}",
        kind.noun,
        display_short(name),
        other.holder(),
        holding.holder()
    );
    let mut told = Counterexample::new(kind.guarantee, summary)
        .with(other.operation)
        .with(holding.operation);
    if let Some(giving) = other.given_back {
        told = told.with(giving);
    }
    let since = display_seconds(other.from);
    told = told
        .because(format!(
            "{} held it since {since}, when it was told so, {}",
            other.holder(),
            other.end(lives)
        ))
        .because(format!(
            "{} held it since {at}, when it was told so, {}",
            holding.holder(),
            holding.end(lives)
        ))
        .instead(
            format!("{} holds it alone at {at}", other.holder()),
            format!("{} holds it as well", holding.holder()),
        );
    Box::new(told)
}

/// What a lease that had ended before the answer held must have been free at some moment before
/// that.
fn never_held(
    kind: Kind,
    name: &Bytes,
    holdings: &[Holding<'_>],
    lives: &Lives<'_>,
) -> Result<(), Box<Counterexample>> {
    for late in holdings {
        let Some(removal) = lives.removal(late.lease) else {
            continue;
        };
        let asked = late.operation.invoked;
        let all_along = holdings.iter().find(|other| {
            removal.at < late.from
                && other.lease != late.lease
                && other.from <= asked
                && removal.at <= other.until
        });
        if let Some(other) = all_along {
            let (noun, name) = (kind.noun, display_short(name));
            let summary = format!(
                "client {} was told at {} that it holds {noun} {name}, but its lease {} had ended \
                 before it can have been free",
                late.operation.client,
                display_seconds(late.from),
                lease_name(late.lease),
            );
            let told = Counterexample::new(kind.guarantee, summary)
                .with(other.operation)
                .with(late.operation)
                .because(removal.to_string())
                .because(format!(
                    "{} held it since {}, {}",
                    other.holder(),
                    display_seconds(other.from),
                    other.end(lives)
                ))
                .instead(
                    "a refusal, since the lease is gone",
                    "an answer that it is held",
                );
            return Err(Box::new(told));
        }
    }
    Ok(())
}
