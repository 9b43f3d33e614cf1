//! What operations do to data, as the search wants to know it.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::model::{Data, Decisions};
use crate::check::certificate::Step;
use crate::check::depth_first::Model;
use crate::history::{Body, Operation, Request};

/// The moves of a search over data.
#[derive(Default)]
pub(super) struct Moves {
    incomplete: Cell<bool>,
}

impl Moves {
    /// Whether a transaction had too many comparisons that may go either way: then what is
    /// impossible may only not have been tried.
    pub(super) fn incomplete(&self) -> bool {
        self.incomplete.get()
    }
}

fn body(operation: &Operation) -> Option<&Body> {
    operation.response().map(|response| &response.body)
}

impl Model for Moves {
    type Operation = Operation;
    type Request = Request;
    type State = Data;
    type Step = Step;

    fn timing(operation: &Operation) -> (u64, u64, Option<u64>) {
        let returned = match operation.is_unknown() {
            true => None,
            false => Some(operation.returned.unwrap_or(u64::MAX)),
        };
        (operation.id, operation.invoked, returned)
    }

    fn request(operation: &Operation) -> &Request {
        &operation.request
    }

    fn is_read(operation: &Operation) -> bool {
        !body(operation).is_none_or(Body::is_effect)
    }

    fn step(operation: &Operation) -> Step {
        Step::Operation(operation.id)
    }

    fn answered(&self, state: &Data, operation: &Operation) -> Option<Data> {
        let mut data = state.clone();
        let body = body(operation)?;
        data.execute(&operation.request, Some(body), &mut Decisions::default())
            .then_some(data)
    }

    fn guessed(
        &self,
        state: &Data,
        operation: &Operation,
        found: &mut dyn FnMut(Step, Data),
    ) -> u64 {
        let mut decisions = Decisions::default();
        let mut cost = 0;
        loop {
            cost += 1;
            let mut data = state.clone();
            let done = data.execute(&operation.request, None, &mut decisions);
            self.incomplete
                .set(self.incomplete.get() || decisions.too_many);
            if done {
                let step = match &decisions.taken[..] {
                    [] => Step::Operation(operation.id),
                    branches => Step::Branches(operation.id, branches.into()),
                };
                found(step, data);
            }
            if !decisions.advance() {
                return cost;
            }
        }
    }

    fn hidden(&self, state: &Data, found: &mut dyn FnMut(Step, Data)) -> u64 {
        let leases: BTreeSet<i64> = state.keys.values().map(|held| held.1).collect();
        let mut cost = 0;
        for lease in leases.into_iter().filter(|lease| *lease != 0) {
            cost += 1;
            let mut data = state.clone();
            data.expire(lease);
            found(Step::Expiry(lease), data);
        }
        cost
    }
}
