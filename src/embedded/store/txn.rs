//! Transactions: all comparisons first, then all that is asked for in the branches that they choose.

use std::cmp::Ordering;

use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbKeyValue, PbPutRequest, PbRangeRequest, PbResponseOp, PbTargetUnion, PbTxnOpRequest,
    PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};

use super::write::revision_only;
use super::{Error, Keys, Store, Write};

/// A transaction whose comparisons are done: the operations that will run, those of nested transactions within them.
struct Chosen {
    succeeded: bool,
    operations: Vec<Operation>,
}

enum Operation {
    Range(PbRangeRequest),
    Put(PbPutRequest),
    Delete(PbDeleteRequest),
    Nested(Chosen),
}

impl Store {
    pub(in crate::embedded) fn txn(&mut self, request: PbTxnRequest) -> Result<PbTxnResponse, Error> {
        let chosen = self.choose(request)?;
        let mut write = Write::new(self);
        let response = write.execute(chosen);
        write.commit();
        let mut response = response?;
        response.header = Some(self.header());
        Ok(response)
    }

    /// Compares, and checks that all of the chosen branches can be done: what has begun to write does not fail.
    fn choose(&self, request: PbTxnRequest) -> Result<Chosen, Error> {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let operations = if succeeded { request.success } else { request.failure };
        let operation = |PbTxnRequestOp { request }| {
            Some(match request? {
                PbTxnOpRequest::RequestRange(range) if range.revision < 0 => Err(Error::Compacted),
                PbTxnOpRequest::RequestRange(range) => self.readable(range.revision).map(|_| Operation::Range(range)),
                PbTxnOpRequest::RequestPut(put) => self.can_put(&put).map(|()| Operation::Put(put)),
                PbTxnOpRequest::RequestDeleteRange(delete) => Ok(Operation::Delete(delete)),
                PbTxnOpRequest::RequestTxn(nested) => self.choose(nested).map(Operation::Nested),
            })
        };
        let operations = operations.into_iter().filter_map(operation).collect::<Result<_, _>>()?;
        Ok(Chosen { succeeded, operations })
    }

    /// Whether a comparison holds for all keys that it is about. A key that is not there has zeros and no value, with
    /// which no comparison holds.
    fn holds(&self, compare: &PbCompare) -> bool {
        let keys = Keys::new(&compare.key, &compare.range_end);
        let mut found = self.at(&keys, self.revision).peekable();
        if found.peek().is_none() {
            return compare.target != VALUE && compare_to(compare, &PbKeyValue::default());
        }
        found.all(|kv| compare_to(compare, kv))
    }
}

/// The number of the target `VALUE` in the API; those of the others follow.
const VALUE: i32 = 3;

fn compare_to(compare: &PbCompare, kv: &PbKeyValue) -> bool {
    let union = compare.target_union.as_ref();
    // A value of another kind than the target counts as none.
    let ordering = match (compare.target, union) {
        (0, Some(PbTargetUnion::Version(version))) => kv.version.cmp(version),
        (0, _) => kv.version.cmp(&0),
        (1, Some(PbTargetUnion::CreateRevision(revision))) => kv.create_revision.cmp(revision),
        (1, _) => kv.create_revision.cmp(&0),
        (2, Some(PbTargetUnion::ModRevision(revision))) => kv.mod_revision.cmp(revision),
        (2, _) => kv.mod_revision.cmp(&0),
        (VALUE, Some(PbTargetUnion::Value(value))) => kv.value.cmp(value),
        (VALUE, _) => kv.value.as_slice().cmp(&[]),
        (4, Some(PbTargetUnion::Lease(lease))) => kv.lease.cmp(lease),
        (4, _) => kv.lease.cmp(&0),
        _ => Ordering::Equal,
    };
    match compare.result {
        0 => ordering.is_eq(),
        1 => ordering.is_gt(),
        2 => ordering.is_lt(),
        3 => ordering.is_ne(),
        _ => true,
    }
}

impl Write<'_> {
    fn execute(&mut self, chosen: Chosen) -> Result<PbTxnResponse, Error> {
        let mut responses = Vec::with_capacity(chosen.operations.len());
        for operation in chosen.operations {
            let response = match operation {
                Operation::Range(range) => PbTxnOpResponse::ResponseRange(self.store.read(&range, self.revision())?),
                Operation::Put(put) => PbTxnOpResponse::ResponsePut(self.put(put)),
                Operation::Delete(delete) => PbTxnOpResponse::ResponseDeleteRange(self.delete_range(&delete)),
                Operation::Nested(chosen) => PbTxnOpResponse::ResponseTxn(self.execute(chosen)?),
            };
            responses.push(PbResponseOp { response: Some(response) });
        }
        Ok(PbTxnResponse { header: revision_only(0), succeeded: chosen.succeeded, responses })
    }
}
