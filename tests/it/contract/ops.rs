//! Transactions that are short to write, and both sides of one as text that can be compared.

use etcd_client::{
    DeleteOptions, Txn, TxnOp,
    proto::{PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnResponse},
};

use super::{Case, Refused};

/// Puts a key.
pub fn put(case: &Case, name: &str, value: &str) -> TxnOp {
    TxnOp::put(case.key(name), value, None)
}

/// Reads a key.
pub fn get(case: &Case, name: &str) -> TxnOp {
    TxnOp::get(case.key(name), None)
}

/// Deletes a key.
pub fn delete(case: &Case, name: &str) -> TxnOp {
    TxnOp::delete(case.key(name), None)
}

/// Deletes the keys from one on and before another.
pub fn delete_range(case: &Case, from: &str, to: &str) -> TxnOp {
    TxnOp::delete(case.key(from), Some(DeleteOptions::new().with_range(case.key(to))))
}

/// A transaction in a transaction.
pub fn branches(then: impl Into<Vec<TxnOp>>, or_else: impl Into<Vec<TxnOp>>) -> TxnOp {
    TxnOp::txn(Txn::new().and_then(then).or_else(or_else))
}

/// What a transaction asks for, compares aside: `then(put a, delete b..c), else(get a)`.
fn asked(case: &Case, request: &PbTxnRequest) -> String {
    let branch = |operations: &[etcd_client::proto::PbTxnRequestOp]| {
        let each = operations.iter().map(|operation| match operation.request.as_ref().expect("an operation") {
            PbTxnOpRequest::RequestRange(get) => format!("get {}", case.span(&get.key, &get.range_end)),
            PbTxnOpRequest::RequestPut(put) => format!("put {}", case.span(&put.key, b"")),
            PbTxnOpRequest::RequestDeleteRange(delete) => {
                format!("delete {}", case.span(&delete.key, &delete.range_end))
            }
            PbTxnOpRequest::RequestTxn(txn) => format!("({})", asked(case, txn)),
        });
        each.collect::<Vec<_>>().join(", ")
    };
    format!("then({}), else({})", branch(&request.success), branch(&request.failure))
}

/// What a transaction answered: `then(put, deleted 1, [a=1], else())`.
pub fn said(case: &Case, answer: &PbTxnResponse) -> String {
    let each = answer.responses.iter().map(|response| match response.response.as_ref().expect("an answer") {
        PbTxnOpResponse::ResponseRange(range) => format!("[{}]", case.pairs(&range.kvs)),
        PbTxnOpResponse::ResponsePut(_) => "put".to_owned(),
        PbTxnOpResponse::ResponseDeleteRange(delete) => format!("deleted {}", delete.deleted),
        PbTxnOpResponse::ResponseTxn(txn) => said(case, txn),
    });
    let branch = if answer.succeeded { "then" } else { "else" };
    format!("{branch}({})", each.collect::<Vec<_>>().join(", "))
}

/// Runs a transaction that is not refused.
pub async fn runs(case: &Case, txn: Txn) -> PbTxnResponse {
    case.txn(txn.clone()).await.unwrap_or_else(|refused| panic!("{refused:?}: {}", asked(case, &txn.into())))
}

/// Runs a transaction, and compares what it answered.
pub async fn answers(case: &Case, txn: Txn, expected: &str) {
    let answer = runs(case, txn.clone()).await;
    assert_eq!(said(case, &answer), expected, "{}", asked(case, &txn.into()));
}

/// Runs a transaction that is refused.
pub async fn fails(case: &Case, txn: Txn, expected: Refused) {
    let answer = case.txn(txn.clone()).await;
    assert_eq!(answer.map(|answer| said(case, &answer)), Err(expected), "{}", asked(case, &txn.into()));
}
