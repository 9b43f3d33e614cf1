//! The judges: pure functions from what was recorded to a verdict, one guarantee a file.
//!
//! They share three rules. A verdict of [`Verdict::Ok`] is never given on trust: strict
//! serializability comes with an explicit order that [`certificate`], which shares no code with the
//! search for it, has replayed. Running out of budget is [`Verdict::Undetermined`], never a pass.
//! And whatever a judge leaves out is counted as not checked in its statistics and said in its
//! file's first paragraph.
//!
//! | File | Guarantee |
//! |---|---|
//! | [`strict_serializability`] | one order of all operations explains every answer and respects real time |
//! | [`search`] | the same for data alone, where revisions are absent or not trusted |
//! | [`objects`] | the same for registers, strings and lists that others recorded |
//! | [`serializable_reads`] | a serializable read shows the store as it was at one revision, not a future one |
//! | [`loss`] | no acknowledged write is lost beyond what the durability setting allows |
//! | [`after_loss`] | what remains after an allowed loss is strictly serializable |
//! | [`lease`] | no lease ends before its promise or lives much longer, and its keys go with it |
//! | [`lock`] | a lock has one holder at a time, and fenced writes come in the holders' order |
//! | [`election`] | an election has one leader at a time, and all are told of them in one order |
//! | [`convergence`] | all members hold the same store in the end |
//! | [`damage`] | a member with a faulty disk comes back as the others are, or refuses in the right words |
//! | [`watch`] | watches are shown what was written: in order, once, each revision whole, all of it |
//! | [`auth`] | nothing succeeds without permission, nothing permitted is denied |
//! | [`liveness`] | after healing there is a leader and every client is served in time |

use std::fmt;

use serde::Serialize;

pub mod after_loss;
pub mod auth;
pub mod certificate;
pub mod convergence;
mod core;
mod counterexample;
pub mod damage;
mod depth_first;
pub mod election;
mod evidence;
mod holding;
pub mod known_order;
pub mod lease;
pub mod liveness;
pub mod lock;
pub mod loss;
pub mod membership;
pub mod objects;
pub mod search;
pub mod serializable_reads;
pub mod service;
mod store;
pub mod strict_serializability;
mod unseen;
pub mod watch;

pub use counterexample::{Counterexample, Witness};
pub use evidence::{Evidence, Expected, Insides, Start, Told};
pub use known_order::{KnownOrder, Record};
pub use watch::Leeway as WatchLeeway;

/// What a judge says about one guarantee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict<T> {
    /// It holds; with what shows that, or how much was looked at.
    Ok(T),
    /// It does not hold, and here is why.
    Violation(Box<Counterexample>),
    /// It could not be decided, for the reason given. Never to be shown as a pass.
    Undetermined(String),
}

impl<T> Verdict<T> {
    /// Whether the guarantee holds.
    pub fn is_ok(&self) -> bool {
        matches!(self, Verdict::Ok(_))
    }

    /// Whether the guarantee is broken.
    pub fn is_violation(&self) -> bool {
        matches!(self, Verdict::Violation(_))
    }

    /// What came with the verdict that the guarantee holds.
    pub fn ok(self) -> Option<T> {
        match self {
            Verdict::Ok(value) => Some(value),
            _ => None,
        }
    }

    /// The counterexample, when there is one.
    pub fn violation(self) -> Option<Counterexample> {
        match self {
            Verdict::Violation(counterexample) => Some(*counterexample),
            _ => None,
        }
    }

    /// Changes what comes with an Ok.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Verdict::Ok(value) => Verdict::Ok(change(value)),
            Verdict::Violation(counterexample) => Verdict::Violation(counterexample),
            Verdict::Undetermined(reason) => Verdict::Undetermined(reason),
        }
    }
}

impl<T> From<Counterexample> for Verdict<T> {
    fn from(counterexample: Counterexample) -> Verdict<T> {
        Verdict::Violation(Box::new(counterexample))
    }
}

impl<T: fmt::Display> fmt::Display for Verdict<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Ok(value) => write!(f, "ok: {value}"),
            Verdict::Violation(counterexample) => write!(f, "violation: {counterexample}"),
            Verdict::Undetermined(reason) => write!(f, "undetermined: {reason}"),
        }
    }
}

/// How much work a judge may do, and what else it is told.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What the final store says it holds, revision by revision, where the audit recorded it.
    pub known_order: Option<&'a KnownOrder>,
    /// The most steps spent on choices among operations of unknown outcome, beyond one pass over
    /// the history. One step judges one operation.
    pub steps_max: u64,
    /// Whether a violation is judged again with revisions ignored, to say whether the data or the
    /// revisions are wrong.
    pub second_opinion: bool,
}

impl Options<'_> {
    /// The steps that are usually more than enough: a few seconds of work.
    pub const STEPS_MAX_DEFAULT: u64 = 20_000_000;
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            known_order: None,
            steps_max: Self::STEPS_MAX_DEFAULT,
            second_opinion: true,
        }
    }
}
