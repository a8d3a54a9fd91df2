//! Transactions: which branch runs, that it runs as a whole in one revision, and what it answers.

use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp,
    proto::{PbResponseHeader, PbTxnOpResponse, PbTxnResponse},
};

use super::{
    Case, Failures, Target, ages, cases,
    ops::{answers, branches, delete, delete_range, get, put, runs, said},
    revision, run,
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        the_branch_that_runs,
        one_revision,
        reads_see_earlier_writes,
        reads_of_the_past,
        what_was_before,
        leases,
        nothing_changed,
        nested,
        nested_compares_see_the_state_before,
        inner_headers,
    ];
    run(target, "txn", cases).await
}

async fn the_branch_that_runs(case: Case) {
    let create = |value: &str| {
        let absent = Compare::create_revision(case.key("a"), CompareOp::Equal, 0);
        Txn::new().when([absent]).and_then([put(&case, "a", value)]).or_else([get(&case, "a")])
    };
    answers(&case, create("1"), "then(put)").await;
    answers(&case, create("2"), "else([a=1])").await;
    let never = Compare::version(case.key("a"), CompareOp::Less, 0);
    answers(&case, Txn::new().when([never]).and_then([put(&case, "a", "3")]), "else()").await;
    answers(&case, Txn::new().or_else([put(&case, "a", "4")]), "then()").await;
    assert_eq!(case.get("a").await.unwrap().value, b"1");
}

async fn one_revision(case: Case) {
    let before = case.put("gone", "1").await;
    let all = [put(&case, "b", "1"), put(&case, "a", "1"), delete(&case, "gone"), put(&case, "c", "1")];
    let answer = case.txn(Txn::new().and_then(all)).await.unwrap();
    assert_eq!(revision(&answer.header), before + 1);
    let kvs = case.all(GetOptions::new()).await.unwrap().kvs;
    assert_eq!(case.names(&kvs), "a b c");
    for kv in kvs {
        assert_eq!(ages(&kv), (1, before + 1, before + 1));
    }
    assert_eq!(case.put("d", "1").await, before + 2);
}

async fn reads_see_earlier_writes(case: Case) {
    case.put("a", "1").await;
    let operations = [
        get(&case, "a"),
        put(&case, "b", "2"),
        TxnOp::get(case.key(""), Some(GetOptions::new().with_prefix())),
        delete(&case, "a"),
        TxnOp::get(case.key(""), Some(GetOptions::new().with_prefix())),
        delete_range(&case, "a", "b"),
        put(&case, "c", "3"),
        TxnOp::get(case.key(""), Some(GetOptions::new().with_prefix())),
    ];
    let expected = "then([a=1], put, [a=1 b=2], deleted 1, [b=2], deleted 0, put, [b=2 c=3])";
    answers(&case, Txn::new().and_then(operations), expected).await;
}

async fn reads_of_the_past(case: Case) {
    let first = case.put("a", "1").await;
    case.put("a", "2").await;
    let then = || TxnOp::get(case.key("a"), Some(GetOptions::new().with_revision(first)));
    answers(&case, Txn::new().and_then([then(), get(&case, "a")]), "then([a=1], [a=2])").await;
    answers(&case, Txn::new().and_then([put(&case, "a", "3"), then(), get(&case, "a")]), "then(put, [a=1], [a=3])")
        .await;
}

async fn what_was_before(case: Case) {
    case.put("a", "1").await;
    case.put("b", "1").await;
    let were = case.all(GetOptions::new()).await.unwrap().kvs;
    let answer = case
        .txn(Txn::new().and_then([
            TxnOp::put(case.key("a"), "2", Some(PutOptions::new().with_prev_key())),
            TxnOp::delete(case.key("b"), Some(DeleteOptions::new().with_prev_key())),
            TxnOp::put(case.key("c"), "2", Some(PutOptions::new().with_prev_key())),
        ]))
        .await
        .unwrap();
    let previous = answer.responses.into_iter().flat_map(|response| match response.response.unwrap() {
        PbTxnOpResponse::ResponsePut(put) => put.prev_kv.into_iter().collect(),
        PbTxnOpResponse::ResponseDeleteRange(delete) => delete.prev_kvs,
        other => panic!("{other:?}"),
    });
    assert_eq!(previous.collect::<Vec<_>>(), were);
}

async fn leases(case: Case) {
    let lease = case.grant(60).await;
    let leased = |name| TxnOp::put(case.key(name), "1", Some(PutOptions::new().with_lease(lease)));
    case.txn(Txn::new().and_then([leased("a"), leased("b")])).await.unwrap();
    case.txn(Txn::new().and_then([put(&case, "a", "2")])).await.unwrap();
    case.client().lease_revoke(lease).await.unwrap();
    assert_eq!(case.names(&case.all(GetOptions::new()).await.unwrap().kvs), "a");
}

async fn nothing_changed(case: Case) {
    let before = case.put("a", "1").await;
    let check = async |txn: Txn| {
        let answer = runs(&case, txn).await;
        assert_eq!(revision(&answer.header), before, "{}", said(&case, &answer));
    };
    check(Txn::new()).await;
    check(Txn::new().and_then([get(&case, "a"), get(&case, "none")])).await;
    check(Txn::new().and_then([get(&case, "a"), delete(&case, "none")])).await;
    check(Txn::new().or_else([put(&case, "a", "2")])).await;
    check(Txn::new().and_then([branches([get(&case, "a")], [put(&case, "a", "2")])])).await;
    assert_eq!(case.revision().await, before);
}

async fn nested(case: Case) {
    case.put("a", "1").await;
    let is = |value: &str| Compare::value(case.key("a"), CompareOp::Equal, value);
    let inner = Txn::new().when([is("2")]).and_then([put(&case, "x", "1")]).or_else([put(&case, "y", "1")]);
    let middle = Txn::new().when([is("1")]).and_then([get(&case, "a"), TxnOp::txn(inner), get(&case, "y")]);
    let outer = Txn::new().and_then([put(&case, "b", "1"), TxnOp::txn(middle), get(&case, "y"), delete(&case, "a")]);
    let before = case.revision().await;
    answers(&case, outer, "then(put, then([a=1], else(put), [y=1]), [y=1], deleted 1)").await;
    let kvs = case.all(GetOptions::new()).await.unwrap().kvs;
    assert_eq!(case.names(&kvs), "b y");
    assert!(kvs.iter().all(|kv| kv.mod_revision == before + 1), "one revision");
}

async fn nested_compares_see_the_state_before(case: Case) {
    case.put("b", "1").await;
    let absent = |name: &str| Compare::version(case.key(name), CompareOp::Equal, 0);
    let asked = |name| TxnOp::txn(Txn::new().when([absent(name)]).and_then([get(&case, name)]).or_else([]));
    let operations = [put(&case, "a", "1"), delete(&case, "b"), asked("a"), asked("b")];
    answers(&case, Txn::new().and_then(operations), "then(put, deleted 1, then([a=1]), else())").await;
}

async fn inner_headers(case: Case) {
    fn headers(answer: &PbTxnResponse) -> Vec<PbResponseHeader> {
        let each = answer.responses.iter().flat_map(|response| match response.response.as_ref().unwrap() {
            PbTxnOpResponse::ResponseRange(range) => vec![range.header.unwrap()],
            PbTxnOpResponse::ResponsePut(put) => vec![put.header.unwrap()],
            PbTxnOpResponse::ResponseDeleteRange(delete) => vec![delete.header.unwrap()],
            PbTxnOpResponse::ResponseTxn(txn) => [vec![txn.header.unwrap()], headers(txn)].concat(),
        });
        each.collect()
    }
    // Only a revision: that of the store as the operation left it; and none for a nested transaction itself.
    let check = async |operations: Vec<TxnOp>, revisions: &[i64]| {
        let answer = runs(&case, Txn::new().and_then(operations)).await;
        let outer = answer.header.unwrap();
        assert!(outer.cluster_id != 0 && outer.member_id != 0 && outer.raft_term != 0, "{outer:?}");
        let expected = revisions.iter().map(|&revision| PbResponseHeader { revision, ..PbResponseHeader::default() });
        assert_eq!(headers(&answer), expected.collect::<Vec<_>>(), "{}", said(&case, &answer));
    };
    let now = case.put("a", "1").await;
    let nested = branches([get(&case, "a"), delete(&case, "none")], []);
    check(vec![get(&case, "a"), delete(&case, "none"), nested], &[now, now, 0, now, now]).await;
    let nested = branches([get(&case, "a"), put(&case, "d", "1"), delete(&case, "a")], []);
    let operations = vec![get(&case, "a"), delete(&case, "none"), put(&case, "b", "1"), get(&case, "a"), nested];
    let next = now + 1;
    check(operations, &[now, now, next, next, 0, next, next, next]).await;
}
