//! Transactions that are refused: as a whole, for what one of their operations is or for two that do not go together.

use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};

use super::{
    Case, Failures, Refused, Target, cases,
    ops::{answers, branches, delete, delete_range, fails, get, put, runs},
    refused, run,
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        a_key_is_put_once,
        a_key_is_put_once_across_nested,
        how_many_operations,
        refused_as_a_whole,
        what_does_not_run_is_half_checked,
        how_large,
    ];
    run(target, "txn_refused", cases).await
}

async fn a_key_is_put_once(case: Case) {
    let duplicate = async |operations: Vec<TxnOp>| {
        fails(&case, Txn::new().and_then(operations.clone()), refused::duplicate_key()).await;
        // Also where it does not run.
        fails(&case, Txn::new().or_else(operations), refused::duplicate_key()).await;
    };
    let before = case.put("b", "1").await;
    let (a, b) = (|| put(&case, "a", "2"), || put(&case, "b", "2"));
    duplicate(vec![a(), a()]).await;
    duplicate(vec![a(), b(), a()]).await;
    // A put and a delete of it, in any order.
    duplicate(vec![b(), delete(&case, "b")]).await;
    duplicate(vec![delete(&case, "b"), b()]).await;
    duplicate(vec![delete(&case, "none"), put(&case, "none", "1")]).await;
    duplicate(vec![b(), delete_range(&case, "a", "c")]).await;
    duplicate(vec![b(), delete_range(&case, "b", "c")]).await;
    duplicate(vec![delete_range(&case, "a", "c"), b()]).await;
    duplicate(vec![b(), TxnOp::delete(case.key(""), Some(DeleteOptions::new().with_prefix()))]).await;
    assert_eq!(case.revision().await, before);

    let fine = async |operations: Vec<TxnOp>| runs(&case, Txn::new().and_then(operations)).await;
    fine(vec![b(), delete_range(&case, "a", "b")]).await;
    fine(vec![b(), delete_range(&case, "b\0", "c")]).await;
    fine(vec![delete(&case, "b"), delete(&case, "b"), delete_range(&case, "a", "c")]).await;
    fine(vec![a(), get(&case, "a"), get(&case, "a")]).await;
    // Ranges without keys overlap nothing.
    fine(vec![a(), delete_range(&case, "a", "a")]).await;
    fine(vec![b(), delete_range(&case, "c", "a")]).await;
    runs(&case, Txn::new().and_then([a()]).or_else([a()])).await;
    // The end that means "all from here on" is taken for a range without keys.
    fine(vec![b(), TxnOp::delete(case.key("b"), Some(DeleteOptions::new().with_from_key()))]).await;
}

async fn a_key_is_put_once_across_nested(case: Case) {
    let (a, gone) = (|| put(&case, "a", "1"), || delete(&case, "a"));
    let duplicate = async |operations: Vec<TxnOp>| {
        fails(&case, Txn::new().and_then(operations), refused::duplicate_key()).await;
    };
    duplicate(vec![branches([a(), a()], [])]).await;
    duplicate(vec![branches([], [a(), a()])]).await;
    duplicate(vec![a(), branches([a()], [])]).await;
    duplicate(vec![branches([a()], []), a()]).await;
    duplicate(vec![branches([a()], []), branches([a()], [])]).await;
    // Of two nested ones, also where only one of both branches can run.
    duplicate(vec![branches([a()], []), branches([], [a()])]).await;
    duplicate(vec![branches([branches([a()], [])], []), a()]).await;
    duplicate(vec![gone(), branches([a()], [])]).await;
    duplicate(vec![a(), branches([gone()], [])]).await;
    duplicate(vec![branches([gone()], []), a()]).await;
    duplicate(vec![branches([gone()], []), branches([a()], [])]).await;

    let fine = async |operations: Vec<TxnOp>| runs(&case, Txn::new().and_then(operations)).await;
    // Only one of the two branches of the same transaction runs.
    fine(vec![branches([a()], [a()])]).await;
    fine(vec![branches([a()], [gone()])]).await;
    fine(vec![branches([branches([a()], [])], [branches([], [a()])])]).await;
    fine(vec![branches([gone()], []), branches([gone()], []), gone()]).await;
    // Of two nested ones, a delete is not held against an earlier put.
    fine(vec![branches([a()], []), branches([gone()], [])]).await;
}

async fn how_many_operations(case: Case) {
    let reads = |count: usize| (0..count).map(|_| get(&case, "a")).collect::<Vec<_>>();
    let compares = |count: usize| (0..count).map(|_| Compare::version(case.key("a"), CompareOp::Equal, 0));
    let nested =
        |outer: usize, inner: usize| Txn::new().and_then([reads(outer - 1), vec![branches(reads(inner), [])]].concat());
    for txn in [
        Txn::new().and_then(reads(128)),
        Txn::new().when(compares(128).collect::<Vec<_>>()).and_then(reads(128)).or_else(reads(128)),
        // What an outer one has is taken from what each inner one may have.
        nested(1, 127),
        nested(64, 64),
        nested(128, 0),
        Txn::new().and_then([branches(reads(125), []), branches(reads(125), []), branches(reads(125), [])]),
    ] {
        runs(&case, txn).await;
    }
    for txn in [
        Txn::new().and_then(reads(129)),
        Txn::new().or_else(reads(129)),
        Txn::new().when(compares(129).collect::<Vec<_>>()),
        nested(1, 128),
        nested(64, 65),
        nested(128, 1),
    ] {
        fails(&case, txn, refused::too_many_operations()).await;
    }
}

async fn refused_as_a_whole(case: Case) {
    let now = case.put("a", "1").await;
    let check = async |operation: TxnOp, expected: Refused| {
        for operations in [
            vec![put(&case, "x", "1"), operation.clone()],
            vec![operation.clone(), put(&case, "x", "1")],
            vec![put(&case, "x", "1"), branches([operation.clone()], [])],
        ] {
            fails(&case, Txn::new().and_then(operations), expected.clone()).await;
            assert_eq!((case.get("x").await, case.revision().await), (None, now), "after {expected:?}");
        }
    };
    let put_with = |name: &str, value: &str, options| TxnOp::put(case.key(name), value, Some(options));
    let new = PutOptions::new;
    check(put_with("b", "1", new().with_lease(424_242)), refused::lease_not_found()).await;
    check(put_with("b", "", new().with_ignore_value()), refused::key_not_found()).await;
    check(put_with("b", "1", new().with_ignore_lease()), refused::key_not_found()).await;
    check(put_with("a", "1", new().with_ignore_value()), refused::value_provided()).await;
    check(put_with("a", "1", new().with_ignore_lease().with_lease(1)), refused::lease_provided()).await;
    // The revision that the transaction itself would make is a future one as well.
    let at = |revision| TxnOp::get(case.key("a"), Some(GetOptions::new().with_revision(revision)));
    check(at(now + 1), refused::future()).await;
    check(TxnOp::put("", "1", None), refused::empty_key()).await;
    check(TxnOp::get("", None), refused::empty_key()).await;
    check(TxnOp::delete("", None), refused::empty_key()).await;
}

async fn what_does_not_run_is_half_checked(case: Case) {
    case.put("a", "1").await;
    let or_else = |operation: TxnOp| Txn::new().and_then([get(&case, "a")]).or_else([operation]);
    // What depends on the state of the store is not looked at.
    let leased = TxnOp::put(case.key("b"), "1", Some(PutOptions::new().with_lease(424_242)));
    answers(&case, or_else(leased), "then([a=1])").await;
    let future = TxnOp::get(case.key("a"), Some(GetOptions::new().with_revision(i64::MAX)));
    answers(&case, or_else(future), "then([a=1])").await;
    let keep = TxnOp::put(case.key("none"), "", Some(PutOptions::new().with_ignore_value()));
    answers(&case, or_else(keep), "then([a=1])").await;
    // What is wrong in itself is refused.
    fails(&case, or_else(TxnOp::put("", "1", None)), refused::empty_key()).await;
    let both = TxnOp::put(case.key("a"), "1", Some(PutOptions::new().with_ignore_value()));
    fails(&case, or_else(both), refused::value_provided()).await;
}

async fn how_large(case: Case) {
    let before = case.revision().await;
    let put = |name: &str| TxnOp::put(case.key(name), vec![b'x'; 600 * 1024], None);
    fails(&case, Txn::new().and_then([put("a"), put("b"), put("c")]), refused::too_large()).await;
    assert_eq!(case.revision().await, before);
    runs(&case, Txn::new().and_then([put("a"), put("b")])).await;
}
