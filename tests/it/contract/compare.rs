//! Compares of transactions: each target with each result, on keys that are there and keys that are not, and on ranges.

use etcd_client::{
    Compare, CompareOp, PutOptions, Txn,
    proto::{PbCompare, PbCompareTarget, PbTargetUnion, PbTxnRequest, PbTxnResponse},
};

use super::{Case, Failures, Target, cases, refused, run};

const RESULTS: [CompareOp; 4] = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less];

/// What of [`RESULTS`] holds for a key whose target is less than, equal to and greater than what it is compared with.
const LESS: [bool; 4] = [false, true, false, true];
const EQUAL: [bool; 4] = [true, false, false, false];
const GREATER: [bool; 4] = [false, true, true, false];

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        numbers_of_a_key,
        the_value_of_a_key,
        numbers_of_a_missing_key,
        no_value_of_a_missing_key,
        all_of_several,
        every_key_of_a_range,
        a_range_without_keys,
        nothing_given,
        what_a_compare_is_refused_for,
    ];
    run(target, "compare", cases).await
}

/// Whether the compares hold.
async fn hold(case: &Case, compares: impl Into<Vec<Compare>>) -> bool {
    case.txn(Txn::new().when(compares)).await.unwrap().succeeded
}

/// Compares with each result.
async fn check(case: &Case, said: &str, compare: impl Fn(CompareOp) -> Compare, expected: [bool; 4]) {
    for (result, expected) in RESULTS.into_iter().zip(expected) {
        assert_eq!(hold(case, [compare(result)]).await, expected, "{said}, {result:?}");
    }
}

async fn numbers_of_a_key(case: Case) {
    let lease = case.grant(60).await;
    let created = case.put("a", "1").await;
    case.put("b", "1").await;
    let changed = case.put_leased("a", "2", lease).await;
    assert_ne!(created, changed);
    type By = fn(Vec<u8>, CompareOp, i64) -> Compare;
    let targets: [(&str, By, i64); 4] = [
        ("version", Compare::version, 2),
        ("create revision", Compare::create_revision, created),
        ("mod revision", Compare::mod_revision, changed),
        ("lease", Compare::lease, lease),
    ];
    for (target, by, actual) in targets {
        for (given, expected) in [(actual - 1, GREATER), (actual, EQUAL), (actual + 1, LESS), (0, GREATER)] {
            check(
                &case,
                &format!("{target} {actual} with {given}"),
                |result| by(case.key("a"), result, given),
                expected,
            )
            .await;
        }
    }
}

async fn the_value_of_a_key(case: Case) {
    case.put("a", "bb").await;
    for (given, expected) in
        [("ba", GREATER), ("bb", EQUAL), ("bc", LESS), ("b", GREATER), ("bbb", LESS), ("", GREATER)]
    {
        check(&case, &format!("bb with {given:?}"), |result| Compare::value(case.key("a"), result, given), expected)
            .await;
    }
    case.try_put("a", b"\x80", PutOptions::new()).await.unwrap();
    check(&case, "bytes as numbers", |result| Compare::value(case.key("a"), result, b"\x7f"), GREATER).await;
    case.put("a", "").await;
    check(&case, "no bytes", |result| Compare::value(case.key("a"), result, ""), EQUAL).await;
}

async fn numbers_of_a_missing_key(case: Case) {
    // All of them are 0, also when there was a key before.
    case.put("gone", "1").await;
    case.delete("gone").await;
    for name in ["never", "gone"] {
        for (target, by) in [
            ("version", Compare::version as fn(Vec<u8>, CompareOp, i64) -> Compare),
            ("create revision", Compare::create_revision),
            ("mod revision", Compare::mod_revision),
            ("lease", Compare::lease),
        ] {
            for (given, expected) in [(-1, GREATER), (0, EQUAL), (1, LESS)] {
                let said = format!("{target} of {name} with {given}");
                check(&case, &said, |result| by(case.key(name), result, given), expected).await;
            }
        }
    }
}

async fn no_value_of_a_missing_key(case: Case) {
    // Not even that it is another.
    for given in ["", "1"] {
        check(&case, given, |result| Compare::value(case.key("none"), result, given), [false; 4]).await;
    }
}

async fn all_of_several(case: Case) {
    case.put("a", "1").await;
    case.put("b", "2").await;
    let is = |name: &str, value: &str| Compare::value(case.key(name), CompareOp::Equal, value);
    assert!(hold(&case, []).await, "nothing to compare holds");
    assert!(hold(&case, [is("a", "1"), is("b", "2")]).await);
    assert!(!hold(&case, [is("a", "1"), is("b", "1")]).await);
    assert!(!hold(&case, [is("a", "2"), is("b", "2")]).await);
    // Of one key as well.
    let above = |given| Compare::version(case.key("a"), CompareOp::Greater, given);
    assert!(hold(&case, [above(0), is("a", "1")]).await);
    assert!(!hold(&case, [above(1), is("a", "1")]).await);
}

async fn every_key_of_a_range(case: Case) {
    for (name, value) in [("a/1", "x"), ("a/2", "x"), ("b", "y"), ("c", "x")] {
        case.put(name, value).await;
    }
    let within = |from: &str, to: &str, value: &str| {
        Compare::value(case.key(from), CompareOp::Equal, value).with_range(case.key(to))
    };
    assert!(hold(&case, [within("a/", "a0", "x")]).await);
    assert!(hold(&case, [Compare::value(case.key("a/"), CompareOp::Equal, "x").with_prefix()]).await);
    assert!(!hold(&case, [within("a/", "c", "x")]).await, "b is y");
    assert!(hold(&case, [within("b", "c", "y")]).await, "the end is not in it");
    // Of all keys from here on.
    let on = |from: &str, result| Compare::value(case.key(from), result, "y").with_range([0]);
    assert!(!hold(&case, [on("b", CompareOp::Equal)]).await);
    assert!(hold(&case, [on("c", CompareOp::NotEqual)]).await);
    // Each key must hold, not one of them.
    let newest = Compare::version(case.key("a"), CompareOp::Equal, 1).with_prefix();
    assert!(hold(&case, [newest.clone()]).await);
    case.put("a/2", "x").await;
    assert!(!hold(&case, [newest]).await);
}

async fn a_range_without_keys(case: Case) {
    case.put("b", "1").await;
    // It compares as a missing key does: an empty range between keys, and one that ends before it begins.
    for (from, to) in [("c", "d"), ("b", "b"), ("c", "a")] {
        let said = format!("{from} to {to}");
        let version = |result| Compare::version(case.key(from), result, 0).with_range(case.key(to));
        check(&case, &said, version, EQUAL).await;
        let value = |result| Compare::value(case.key(from), result, "1").with_range(case.key(to));
        check(&case, &said, value, [false; 4]).await;
    }
}

async fn nothing_given(case: Case) {
    // A compare on the wire that says not with what: with 0, or with the empty value.
    case.put("empty", "").await;
    let holds = async |name: &str, target: PbCompareTarget, union: Option<PbTargetUnion>| {
        let (key, target) = (case.key(name), target as i32);
        let compare = PbCompare { result: 0, target, key, range_end: vec![], target_union: union };
        let request = PbTxnRequest { compare: vec![compare], ..PbTxnRequest::default() };
        case.call::<_, PbTxnResponse>("/etcdserverpb.KV/Txn", request).await.unwrap().succeeded
    };
    assert!(holds("none", PbCompareTarget::Version, None).await);
    assert!(!holds("empty", PbCompareTarget::Version, None).await);
    assert!(holds("empty", PbCompareTarget::Lease, None).await);
    assert!(holds("empty", PbCompareTarget::Value, None).await);
    // What is given for another target is not given.
    assert!(holds("none", PbCompareTarget::Version, Some(PbTargetUnion::Lease(7))).await);
}

async fn what_a_compare_is_refused_for(case: Case) {
    let check = async |compare: Compare| {
        let refusal = case.txn(Txn::new().when([compare.clone()])).await.unwrap_err();
        assert_eq!(refusal, refused::empty_key(), "{compare:?}");
    };
    check(Compare::version("", CompareOp::Equal, 0)).await;
    check(Compare::version("", CompareOp::Equal, 0).with_range("a")).await;
    check(Compare::version("", CompareOp::Equal, 0).with_range([0])).await;
}
