//! Service: for how long no request of any client succeeded, times in which clients were idle
//! included. A measurement, not a guarantee: how
//! long an outage may last after healing is judged by [`super::liveness`].

use serde::{Deserialize, Serialize};

use crate::history::{AuthOutcome, History, LeaseOutcome, Nanoseconds, Outcome};

/// Windows at least this long are counted as outages.
pub const OUTAGE_MIN: Nanoseconds = 1_000_000_000;

/// A time in which no request succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Window {
    /// When the last request before it succeeded, or the first of all was made.
    pub from_ns: Nanoseconds,
    /// When the first request after it succeeded, or the last of all was made.
    pub until_ns: Nanoseconds,
}

impl Window {
    /// How long it is.
    pub fn length(&self) -> Nanoseconds {
        self.until_ns.saturating_sub(self.from_ns)
    }
}

/// The windows without service in a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outages {
    /// The longest window, however short; `None` when nothing was asked.
    pub longest: Option<Window>,
    /// How many last [`OUTAGE_MIN`] or longer.
    pub count: u64,
    /// How long those last together.
    pub total_ns: Nanoseconds,
}

/// Finds the windows in which no request succeeded.
pub fn outages(history: &History) -> Outages {
    let mut made = Vec::new();
    let mut succeeded = Vec::new();
    let mut note = |invoked, returned: Option<Nanoseconds>, done: bool| {
        made.push(invoked);
        succeeded.extend(returned.filter(|_| done));
    };
    for operation in &history.operations {
        let done = matches!(operation.outcome, Outcome::Ok(_));
        note(operation.invoked, operation.returned, done);
    }
    for operation in &history.leases.operations {
        let done = matches!(operation.outcome, LeaseOutcome::Ok(_));
        note(operation.invoked, operation.returned, done);
    }
    for record in &history.auth {
        let done = matches!(record.outcome, AuthOutcome::Done);
        note(record.invoked, record.returned, done);
    }
    succeeded.sort_unstable();
    let (Some(first), Some(last)) = (made.iter().min(), made.iter().max()) else {
        return Outages::default();
    };
    let ends = succeeded.iter().chain([last]);
    let mut outages = Outages::default();
    let mut from = *first;
    for until in ends {
        let window = Window {
            from_ns: from,
            until_ns: *until,
        };
        from = (*until).max(from);
        if outages.longest.is_none_or(|l| l.length() < window.length()) {
            outages.longest = Some(window);
        }
        if window.length() >= OUTAGE_MIN {
            outages.count += 1;
            outages.total_ns += window.length();
        }
    }
    outages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Operation, Put, Request};

    const SECOND: u64 = 1_000_000_000;

    fn operation(id: u64, invoked: u64, returned: Option<u64>) -> Operation {
        let outcome = match returned {
            Some(_) => Outcome::Ok(crate::history::Response {
                revision: 2,
                body: crate::history::Body::Put(Default::default()),
            }),
            None => Outcome::Unknown("time-out".to_owned()),
        };
        Operation {
            id,
            client: 0,
            member: None,
            invoked: invoked * SECOND,
            returned: returned.map(|at| at * SECOND),
            request: Request::Put(Put::default()),
            outcome,
        }
    }

    fn of(times: &[(u64, Option<u64>)]) -> Outages {
        let operations = (0..).zip(times);
        let operations = operations.map(|(id, (from, to))| operation(id, *from, *to));
        outages(&History {
            operations: operations.collect(),
            ..History::default()
        })
    }

    #[test]
    fn windows_lie_between_successes_and_at_both_ends() {
        assert_eq!(of(&[]), Outages::default());
        let found = of(&[
            (1, Some(3)),
            (3, None),
            (4, Some(9)),
            (9, Some(9)),
            (13, None),
        ]);
        let longest = Window {
            from_ns: 3 * SECOND,
            until_ns: 9 * SECOND,
        };
        assert_eq!(found.longest, Some(longest));
        assert_eq!((found.count, found.total_ns), (3, (2 + 6 + 4) * SECOND));
    }

    #[test]
    fn nothing_ever_succeeded() {
        let found = of(&[(1, None), (5, None)]);
        assert_eq!(
            found.longest.map(|window| window.length()),
            Some(4 * SECOND)
        );
    }
}
