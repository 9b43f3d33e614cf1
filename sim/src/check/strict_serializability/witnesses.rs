//! Which answers may bear witness to revisions that nobody is known to have written.
//!
//! Only few do, and to find them again means to read all the history once more. So they are noted
//! down while it is read for the first time: an answer that shows a revision whose writer has not
//! come along yet. Where every outcome is known, nobody is looked for.

use super::plan::Index;
use crate::check::unseen::Compared;
use crate::history::{Body, Operand, Operation, Relation, Request, Txn, TxnBody};

/// The most revisions whose writers are remembered for each operation so far; where revisions are
/// further apart, more answers are noted down than need be.
const SPARSENESS_MAX: usize = 64;

/// The answers that may bear witness.
#[derive(Default)]
pub(super) struct Witnesses {
    /// How many operations were looked at.
    looked: usize,
    /// By revision: whether a writer has come along, as bits.
    written: Vec<u64>,
    writers: usize,
    found: Vec<Index>,
    compared: Compared,
}

impl Witnesses {
    /// The writer of a revision has come along.
    pub(super) fn written(&mut self, revision: i64) {
        self.writers += 1;
        let Ok(revision) = usize::try_from(revision) else {
            return;
        };
        let word = revision / 64;
        if word >= self.written.len() {
            if word > self.writers * SPARSENESS_MAX / 64 + 1024 {
                return;
            }
            self.written.resize(word + 1, 0);
        }
        self.written[word] |= 1 << (revision % 64);
    }

    fn is_written(&self, revision: i64) -> bool {
        usize::try_from(revision).is_ok_and(|revision| {
            let word = self.written.get(revision / 64).copied().unwrap_or(0);
            word >> (revision % 64) & 1 == 1
        })
    }

    /// Looks at those of the operations that come after the ones looked at before.
    pub(super) fn look(&mut self, operations: &[Operation], with_serializable: bool) {
        // Skipping over those looked at before would go through them one by one.
        let new = operations.get(self.looked..).unwrap_or(&[]);
        for (index, operation) in (self.looked as Index..).zip(new) {
            self.compared.collect(&operation.request);
            let mut any = false;
            each_revision(operation, with_serializable, &mut |revision| {
                any |= revision >= 2 && !self.is_written(revision);
            });
            if any {
                self.found.push(index);
            }
        }
        self.looked = operations.len();
    }

    /// The operations that may bear witness, ascending, and whose values anyone compares.
    pub(super) fn finish(
        mut self,
        operations: &[Operation],
        with_serializable: bool,
    ) -> (Vec<Index>, Compared) {
        self.look(operations, with_serializable);
        (self.found, self.compared)
    }
}

/// The revisions that the answer of an operation shows to have been written.
fn each_revision(operation: &Operation, with_serializable: bool, visit: &mut impl FnMut(i64)) {
    let Some(response) = operation.response() else {
        return;
    };
    // What a serializable read shows may be wrong without any harm to this guarantee.
    if !with_serializable && operation.request.is_serializable() {
        return;
    }
    response.body.for_each_key_value(&mut |kv| {
        visit(kv.mod_revision);
        visit(kv.create_revision);
    });
    if let (Request::Txn(txn), Body::Txn(body)) = (&operation.request, &response.body) {
        for (_, revision) in revisions_compared(txn, body) {
            visit(revision);
        }
    }
}

/// The keys that a transaction found to have been written or created at a revision.
pub(super) fn revisions_compared<'a>(
    txn: &'a Txn,
    body: &TxnBody,
) -> impl Iterator<Item = (&'a bytes::Bytes, i64)> {
    let held = txn.compare.iter().filter(|_| body.succeeded);
    held.filter_map(|compare| match compare.operand {
        Operand::ModRevision(revision) | Operand::CreateRevision(revision)
            if compare.range_end.is_empty() && compare.relation == Relation::Equal =>
        {
            Some((&compare.key, revision))
        }
        _ => None,
    })
}
