//! Invocations and what became of them: Jepsen writes two events for each operation.

use std::collections::BTreeMap;

use crate::history::objects::{Access, ObjectHistory, ObjectOperation, Value};

/// Puts events of processes together.
#[derive(Default)]
pub(super) struct Pairs {
    open: BTreeMap<i64, usize>,
    operations: Vec<Option<ObjectOperation>>,
    /// Operations that certainly did not happen.
    pub(super) failed: usize,
    /// Operations whose outcome nobody learned.
    pub(super) unknown: usize,
}

impl Pairs {
    /// A process asks for something.
    ///
    /// # Errors
    /// When it has something under way already.
    pub(super) fn invoke(
        &mut self,
        process: i64,
        at: u64,
        accesses: Vec<Access>,
    ) -> Result<(), String> {
        if self.open.insert(process, self.operations.len()).is_some() {
            return Err(format!(
                "process {process} has an operation under way already"
            ));
        }
        self.operations.push(Some(ObjectOperation {
            id: self.operations.len() as u64,
            process,
            invoked: at,
            returned: None,
            accesses,
        }));
        Ok(())
    }

    /// It happened, as `accesses` says; `None` when the answer does not say more than the question.
    ///
    /// # Errors
    /// When the process has nothing under way.
    pub(super) fn ok(
        &mut self,
        process: i64,
        at: u64,
        accesses: Option<Vec<Access>>,
    ) -> Result<(), String> {
        if let Some(operation) = &mut self.operations[close(&mut self.open, process)?] {
            operation.returned = Some(at);
            operation.accesses = accesses.unwrap_or(std::mem::take(&mut operation.accesses));
        }
        Ok(())
    }

    /// It did not happen.
    ///
    /// # Errors
    /// When the process has nothing under way.
    pub(super) fn fail(&mut self, process: i64) -> Result<(), String> {
        self.failed += 1;
        self.operations[close(&mut self.open, process)?] = None;
        Ok(())
    }

    /// Nobody knows whether it happened.
    ///
    /// # Errors
    /// When the process has nothing under way.
    pub(super) fn info(&mut self, process: i64) -> Result<(), String> {
        close(&mut self.open, process).map(|_| ())
    }

    /// What the process asked for last, if it has not been answered.
    pub(super) fn asked(&self, process: i64) -> Option<&[Access]> {
        let operation = self.operations[*self.open.get(&process)?].as_ref()?;
        Some(&operation.accesses)
    }

    /// All that happened or may have.
    pub(super) fn history(self, initial: Value) -> ObjectHistory {
        ObjectHistory {
            initial,
            operations: self.operations.into_iter().flatten().collect(),
        }
    }
}

fn close(open: &mut BTreeMap<i64, usize>, process: i64) -> Result<usize, String> {
    let problem = || format!("process {process} has nothing under way that could end");
    open.remove(&process).ok_or_else(problem)
}
