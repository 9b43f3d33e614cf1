//! Why a guarantee does not hold: the operations that conflict, and the sentences that say how.

use std::fmt;

use serde::Serialize;

use crate::history::objects::ObjectOperation;
use crate::history::{LeaseOperation, Observation, Operation, Watch};

/// The operations that cannot all be right, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counterexample {
    /// The guarantee that is broken.
    pub guarantee: &'static str,
    /// What is wrong, in one sentence.
    pub summary: String,
    /// The operations in conflict: two or three, rarely more.
    pub operations: Vec<Witness>,
    /// The steps of the argument, one sentence each.
    pub reasons: Vec<String>,
    /// What the answer should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What a judgement that ignores revisions says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_opinion: Option<String>,
}

/// An operation, a watch or an observation as a counterexample shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// Its id among its kind in the history.
    pub id: u64,
    /// Who invoked it.
    pub client: i64,
    /// Which member served it, where known.
    pub member: Option<u32>,
    /// When it was invoked, in nanoseconds.
    pub invoked: u64,
    /// When it returned, in nanoseconds.
    pub returned: Option<u64>,
    /// The whole operation as a sentence.
    pub text: String,
}

impl From<&Operation> for Witness {
    fn from(operation: &Operation) -> Witness {
        Witness {
            id: operation.id,
            client: operation.client.into(),
            member: operation.member,
            invoked: operation.invoked,
            returned: operation.returned,
            text: operation.to_string(),
        }
    }
}

impl From<&LeaseOperation> for Witness {
    fn from(operation: &LeaseOperation) -> Witness {
        Witness {
            id: operation.id,
            client: operation.client.into(),
            member: operation.member,
            invoked: operation.invoked,
            returned: operation.returned,
            text: operation.to_string(),
        }
    }
}

impl From<&Observation> for Witness {
    fn from(observation: &Observation) -> Witness {
        Witness {
            id: observation.id,
            client: observation.client.into(),
            member: observation.member,
            invoked: observation.opened,
            returned: observation.told.last().map(|(at, _)| *at),
            text: observation.to_string(),
        }
    }
}

impl From<&Watch> for Witness {
    fn from(watch: &Watch) -> Witness {
        Witness {
            id: watch.id,
            client: watch.client.into(),
            member: watch.member,
            invoked: watch.opened,
            returned: watch.responses.last().map(|response| response.at),
            text: watch.to_string(),
        }
    }
}

impl From<&ObjectOperation> for Witness {
    fn from(operation: &ObjectOperation) -> Witness {
        Witness {
            id: operation.id,
            client: operation.process,
            member: None,
            invoked: operation.invoked,
            returned: operation.returned,
            text: operation.to_string(),
        }
    }
}

impl Counterexample {
    /// Starts a counterexample for `guarantee`.
    pub(crate) fn new(guarantee: &'static str, summary: impl Into<String>) -> Counterexample {
        Counterexample {
            guarantee,
            summary: summary.into(),
            ..Counterexample::default()
        }
    }

    /// Adds an operation, unless it is there already.
    pub(crate) fn with(mut self, operation: impl Into<Witness>) -> Counterexample {
        let witness = operation.into();
        if self
            .operations
            .iter()
            .all(|known| known.text != witness.text)
        {
            self.operations.push(witness);
        }
        self
    }

    /// Adds a step of the argument.
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Counterexample {
        self.reasons.push(reason.into());
        self
    }

    /// States what was expected and what was found.
    pub(crate) fn instead(
        mut self,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Counterexample {
        self.expected = Some(expected.into());
        self.found = Some(found.into());
        self
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.guarantee, self.summary)?;
        for witness in &self.operations {
            write!(f, "\n  {}", witness.text)?;
        }
        for reason in &self.reasons {
            write!(f, "\n  {reason}")?;
        }
        for (title, text) in [
            ("expected", &self.expected),
            ("found", &self.found),
            ("revisions ignored", &self.second_opinion),
        ] {
            if let Some(text) = text {
                write!(f, "\n  {title}: {text}")?;
            }
        }
        Ok(())
    }
}
