//! Transactions: conditions on keys, and what is done if all of them hold.

use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn as EtcdTxn, TxnOp};

use super::client::{Client, prefix_end};
use super::error::Error;
use super::{Header, KeyValue, Operation};

/// How many conditions, and how many operations, etcd takes in one transaction unless told otherwise.
pub const MAX_TXN_OPS: usize = 128;

/// Something that must be so for a transaction to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key was last changed at this revision; 0: there is no such key.
    Modified(Vec<u8>, i64),
    /// The key came to be at this revision; 0: there is no such key.
    Created(Vec<u8>, i64),
    /// The key hangs on this lease.
    Leased(Vec<u8>, i64),
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Writes a key, under a lease if that is not 0.
    Put(Vec<u8>, Vec<u8>, i64),
    /// Deletes a key.
    Delete(Vec<u8>),
    /// Reads a key.
    Get(Vec<u8>),
    /// Reads the oldest of all keys that begin with this prefix: of a lock's keys, the holder's.
    Oldest(Vec<u8>),
}

/// A transaction. Whoever makes it sees to it that doing it twice comes to the same, for when the first answer got lost
/// another member is asked to do it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub when: Vec<Condition>,
    /// What is done if all of it holds.
    pub then: Vec<Action>,
    /// What is done otherwise.
    pub or_else: Vec<Action>,
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Who did it, and the revision of the store afterwards.
    pub header: Header,
    /// Whether all conditions held.
    pub held: bool,
    /// What was read, in the order of the operations; those that do not read are left out.
    pub found: Vec<Option<KeyValue>>,
}

impl Client {
    /// Does one of the two things that a transaction says, whole and at one revision.
    ///
    /// # Errors
    ///
    /// As any call. etcd refuses more than [`MAX_TXN_OPS`] conditions or operations, and the same key written twice.
    pub async fn txn(&self, txn: Txn) -> Result<Done, Error> {
        let Txn { when, then, or_else } = txn;
        let operations = |actions: Vec<Action>| actions.into_iter().map(operation).collect::<Vec<_>>();
        let txn = EtcdTxn::new()
            .when(when.into_iter().map(condition).collect::<Vec<_>>())
            .and_then(operations(then))
            .or_else(operations(or_else));
        let response = self
            .call(Operation::Txn, |client| {
                let (mut kv, txn) = (self.kv(&client), txn.clone());
                async move { kv.txn(txn).await }
            })
            .await?
            .0;
        let found = response.responses.into_iter().filter_map(|response| match response.response {
            Some(PbTxnOpResponse::ResponseRange(range)) => Some(range.kvs.into_iter().next().map(Into::into)),
            _ => None,
        });
        let header = response.header.unwrap_or_default().into();
        Ok(Done { header, held: response.succeeded, found: found.collect() })
    }
}

fn condition(condition: Condition) -> Compare {
    match condition {
        Condition::Modified(key, revision) => Compare::mod_revision(key, CompareOp::Equal, revision),
        Condition::Created(key, revision) => Compare::create_revision(key, CompareOp::Equal, revision),
        Condition::Leased(key, lease) => Compare::lease(key, CompareOp::Equal, lease),
    }
}

fn operation(action: Action) -> TxnOp {
    match action {
        Action::Put(key, value, lease) => TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease))),
        Action::Delete(key) => TxnOp::delete(key, Some(DeleteOptions::new())),
        Action::Get(key) => TxnOp::get(key, None),
        Action::Oldest(prefix) => {
            let oldest = GetOptions::new()
                .with_range(prefix_end(&prefix))
                .with_sort(etcd_client::SortTarget::Create, etcd_client::SortOrder::Ascend)
                .with_limit(1);
            TxnOp::get(prefix, Some(oldest))
        }
    }
}
