//! What is wrong with a request by itself, whatever the data: asked before anything is done.

use std::collections::HashSet;

use etcd_client::proto::{PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp};

use super::{Error, Keys};

/// Operations in a branch, and comparisons; etcd's default. What is nested has what its parents leave.
const MAX_OPERATIONS: usize = 128;

pub(in crate::embedded) fn check_range(request: &PbRangeRequest) -> Result<(), Error> {
    has_key(&request.key)?;
    if !(0..=2).contains(&request.sort_order) || !(0..=4).contains(&request.sort_target) {
        return Err(Error::InvalidSort);
    }
    Ok(())
}

pub(in crate::embedded) fn check_put(request: &PbPutRequest) -> Result<(), Error> {
    has_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

pub(in crate::embedded) fn check_delete(request: &PbDeleteRequest) -> Result<(), Error> {
    has_key(&request.key)
}

pub(in crate::embedded) fn check_txn(request: &PbTxnRequest) -> Result<(), Error> {
    check_operations(request, MAX_OPERATIONS)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

fn has_key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

fn check_operations(request: &PbTxnRequest, allowed: usize) -> Result<(), Error> {
    let most = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = allowed.checked_sub(most).ok_or(Error::TooManyOperations)?;
    for compare in &request.compare {
        has_key(&compare.key)?;
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(PbTxnOpRequest::RequestRange(request)) => check_range(request),
            Some(PbTxnOpRequest::RequestPut(request)) => check_put(request),
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => check_delete(request),
            Some(PbTxnOpRequest::RequestTxn(request)) => check_operations(request, left),
            None => Err(Error::KeyNotFound),
        }?;
    }
    Ok(())
}

/// What a branch writes. No key may be put twice, or put and deleted; the two branches of a nested transaction exclude
/// each other and may write the same.
#[derive(Default)]
struct Writes<'a> {
    puts: HashSet<&'a [u8]>,
    deletes: Vec<Keys>,
}

impl<'a> Writes<'a> {
    fn of(operations: &'a [PbTxnRequestOp]) -> Result<Self, Error> {
        let mut writes = Writes::default();
        for operation in operations {
            if let Some(PbTxnOpRequest::RequestDeleteRange(delete)) = &operation.request {
                writes.deletes.push(match delete.range_end.as_slice() {
                    [] => Keys::One(delete.key.clone()),
                    // Also an end of one zero byte, which etcd takes literally here: nothing is before it.
                    end => Keys::Range(delete.key.clone(), end.to_vec()),
                });
            }
        }
        for operation in operations {
            if let Some(PbTxnOpRequest::RequestTxn(nested)) = &operation.request {
                writes.take(Writes::of(&nested.success)?, Writes::of(&nested.failure)?)?;
            }
        }
        for operation in operations {
            if let Some(PbTxnOpRequest::RequestPut(put)) = &operation.request {
                writes.may_put(&put.key)?;
                writes.puts.insert(&put.key);
            }
        }
        Ok(writes)
    }

    fn take(&mut self, success: Writes<'a>, failure: Writes<'a>) -> Result<(), Error> {
        for key in success.puts.union(&failure.puts) {
            self.may_put(key)?;
        }
        self.puts.extend(success.puts);
        self.puts.extend(failure.puts);
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }

    fn may_put(&self, key: &[u8]) -> Result<(), Error> {
        if self.puts.contains(key) || self.deletes.iter().any(|keys| keys.contains(key)) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }
}
