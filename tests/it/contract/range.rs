//! Reads: which keys, how many, in which order, of which revision, and what is told about each.

use etcd_client::{GetOptions, PutOptions, SortOrder, SortTarget};

use super::{Case, Failures, Target, ages, cases, refused, revision, run};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        a_new_store,
        a_key_or_none,
        ranges,
        prefixes_of_high_bytes,
        limits,
        sorts,
        bounds_on_revisions,
        counts_and_keys_only,
        revisions_of_the_past,
        what_a_read_is_refused_for,
        versions_and_revisions,
        any_bytes,
        pages,
        a_large_answer,
        headers,
    ];
    run(target, "range", cases).await
}

async fn a_new_store(case: Case) {
    // The first case on a fresh server: nothing is there, and the first write is the second revision.
    let all = case.range(vec![0], GetOptions::new().with_range(vec![0])).await.unwrap();
    assert_eq!((all.kvs.len(), all.count, all.more, revision(&all.header)), (0, 0, false, 1));
    assert_eq!(case.put("a", "1").await, 2);
}

async fn a_key_or_none(case: Case) {
    let put = case.put("a", "1").await;
    for options in [GetOptions::new(), GetOptions::new().with_serializable()] {
        let found = case.range(case.key("a"), options.clone()).await.unwrap();
        assert_eq!((found.count, found.more, found.kvs.len()), (1, false, 1));
        let kv = &found.kvs[0];
        assert_eq!((&kv.key, &kv.value[..], kv.lease), (&case.key("a"), &b"1"[..], 0));
        assert_eq!(ages(kv), (1, put, put));

        let missing = case.range(case.key("b"), options).await.unwrap();
        assert_eq!((missing.count, missing.more, missing.kvs.len()), (0, false, 0));
    }
}

async fn ranges(case: Case) {
    for name in ["a", "b", "b/1", "b/2", "c", "d"] {
        case.put(name, "").await;
    }
    let check = async |from: &str, to: Vec<u8>, expected: &str| {
        let found = case.range(case.key(from), GetOptions::new().with_range(to.clone())).await.unwrap();
        let said = format!("from {from} to {}", to.escape_ascii());
        assert_eq!(case.names(&found.kvs), expected, "{said}");
        assert_eq!((found.count, found.more), (found.kvs.len() as i64, false), "{said}");
    };
    check("a", vec![], "a").await;
    check("b", case.key("d"), "b b/1 b/2 c").await;
    check("b", case.key("b\0"), "b").await;
    check("b/", case.key("b0"), "b/1 b/2").await;
    check("aa", case.key("bb"), "b b/1 b/2").await;
    check("c", case.end(), "c d").await;
    check("e", case.end(), "").await;
    // Nothing is at or after a key and before the same key, or one before it.
    check("a", case.key("a"), "").await;
    check("d", case.key("a"), "").await;
    // One zero byte as the end: all from here on, of whatever prefix.
    check("c", vec![0], "c d").await;
    // Two of them are an end like any other.
    check("a", vec![0, 0], "").await;

    let every = case.range(vec![0], GetOptions::new().with_range(vec![0])).await.unwrap();
    assert_eq!(case.names(&every.kvs), "a b b/1 b/2 c d");
    assert!(every.kvs.windows(2).all(|pair| pair[0].key < pair[1].key), "sorted by key");
    assert_eq!((every.count, every.more), (every.kvs.len() as i64, false));
}

async fn prefixes_of_high_bytes(case: Case) {
    let mut client = case.client();
    for name in [&b"x\xff"[..], b"x\xff\xff", b"x\xff\xff1", b"y"] {
        client.put(case.key(name), "", None).await.unwrap();
    }
    // The end of this prefix is the next letter, not one more of the last byte.
    let found = case.range(case.key(b"x\xff"), GetOptions::new().with_range(case.key("y"))).await.unwrap();
    assert_eq!(case.names(&found.kvs), r"x\xff x\xff\xff x\xff\xff1");
}

async fn limits(case: Case) {
    for name in ["a", "b", "c"] {
        case.put(name, "").await;
    }
    let check = async |limit, expected: &str, more| {
        let found = case.all(GetOptions::new().with_limit(limit)).await.unwrap();
        assert_eq!((case.names(&found.kvs).as_str(), found.more, found.count), (expected, more, 3), "limit {limit}");
    };
    check(0, "a b c", false).await;
    check(-1, "a b c", false).await;
    check(1, "a", true).await;
    check(2, "a b", true).await;
    check(3, "a b c", false).await;
    check(4, "a b c", false).await;
    // A sort comes before the limit.
    let sorted = GetOptions::new().with_limit(2).with_sort(SortTarget::Key, SortOrder::Descend);
    let found = case.all(sorted).await.unwrap();
    assert_eq!((case.names(&found.kvs).as_str(), found.more, found.count), ("c b", true, 3));
}

async fn sorts(case: Case) {
    // Each target has an order of its own: keys a b c, versions 1 2 3, created b c a, changed c a b, values b a c.
    case.put("b", "").await;
    case.put("c", "").await;
    case.put("c", "").await;
    case.put("c", "3").await;
    case.put("a", "2").await;
    case.put("b", "1").await;
    let check = async |target: SortTarget, order: SortOrder, expected: &str| {
        let found = case.all(GetOptions::new().with_sort(target, order)).await.unwrap();
        assert_eq!(case.names(&found.kvs), expected, "{target:?} {order:?}");
    };
    for (target, ascending, descending) in [
        (SortTarget::Key, "a b c", "c b a"),
        (SortTarget::Version, "a b c", "c b a"),
        (SortTarget::Create, "b c a", "a c b"),
        (SortTarget::Mod, "c a b", "b a c"),
        (SortTarget::Value, "b a c", "c a b"),
    ] {
        check(target, SortOrder::Ascend, ascending).await;
        check(target, SortOrder::Descend, descending).await;
        // A target without an order means ascending.
        check(target, SortOrder::None, ascending).await;
    }
    // Values are what is sorted by, also where they are not sent.
    let unsent = GetOptions::new().with_sort(SortTarget::Value, SortOrder::Ascend).with_keys_only();
    assert_eq!(case.names(&case.all(unsent).await.unwrap().kvs), "b a c");
}

async fn bounds_on_revisions(case: Case) {
    let a = case.put("a", "").await;
    let b = case.put("b", "").await;
    let c = case.put("c", "").await;
    let again = case.put("a", "").await;
    assert_eq!((b, c, again), (a + 1, a + 2, a + 3));
    let new = GetOptions::new;
    // The count tells of the whole range, whatever is filtered away.
    let check = async |options: GetOptions, expected: &str| {
        let found = case.all(options.clone()).await.unwrap();
        assert_eq!((case.names(&found.kvs).as_str(), found.count), (expected, 3), "{options:?}");
    };
    check(new().with_min_mod_revision(c), "a c").await;
    check(new().with_max_mod_revision(c), "b c").await;
    check(new().with_min_create_revision(b), "b c").await;
    check(new().with_max_create_revision(b), "a b").await;
    check(new().with_min_mod_revision(b).with_max_mod_revision(b), "b").await;
    check(new().with_min_mod_revision(c).with_max_create_revision(a), "a").await;
    check(new().with_min_mod_revision(again + 1), "").await;
    // What is filtered away does not count towards the limit.
    let limited = case.all(new().with_min_create_revision(b).with_limit(1)).await.unwrap();
    assert_eq!((case.names(&limited.kvs).as_str(), limited.more), ("b", true));
    let exact = case.all(new().with_min_create_revision(b).with_limit(2)).await.unwrap();
    assert_eq!((case.names(&exact.kvs).as_str(), exact.more), ("b c", false));
}

async fn counts_and_keys_only(case: Case) {
    for name in ["a", "b", "c"] {
        case.put(name, "value").await;
    }
    let counted = case.all(GetOptions::new().with_count_only()).await.unwrap();
    assert_eq!((counted.count, counted.more, counted.kvs.len()), (3, false, 0));
    let limited = case.all(GetOptions::new().with_count_only().with_limit(2)).await.unwrap();
    assert_eq!((limited.count, limited.more, limited.kvs.len()), (3, false, 0), "what is counted is not cut off");

    let whole = case.all(GetOptions::new()).await.unwrap();
    let keys = case.all(GetOptions::new().with_keys_only()).await.unwrap();
    assert_eq!(keys.count, 3);
    for (kv, key) in whole.kvs.into_iter().zip(keys.kvs) {
        // All but the value is there.
        assert_eq!(key, etcd_client::proto::PbKeyValue { value: vec![], ..kv });
    }
}

async fn revisions_of_the_past(case: Case) {
    let first = case.put("a", "1").await;
    let second = case.put("a", "2").await;
    let other = case.put("b", "1").await;
    let gone = case.delete("a").await;
    let back = case.put("a", "3").await;
    let check = async |at: i64, expected: &str| {
        let found = case.all(GetOptions::new().with_revision(at)).await.unwrap();
        assert_eq!((case.pairs(&found.kvs).as_str(), found.count), (expected, found.kvs.len() as i64), "at {at}");
        // The header tells of now, not of then.
        assert_eq!(revision(&found.header), back, "at {at}");
    };
    check(first - 1, "").await;
    check(first, "a=1").await;
    check(second, "a=2").await;
    check(other, "a=2 b=1").await;
    check(gone, "b=1").await;
    check(back, "a=3 b=1").await;
    // Zero and below mean now.
    check(0, "a=3 b=1").await;
    check(-1, "a=3 b=1").await;
}

async fn what_a_read_is_refused_for(case: Case) {
    let now = case.put("a", "1").await;
    let future = case.range(case.key("a"), GetOptions::new().with_revision(now + 1)).await;
    assert_eq!(future.unwrap_err(), refused::future());
    let counted = case.all(GetOptions::new().with_revision(now + 9).with_count_only()).await;
    assert_eq!(counted.unwrap_err(), refused::future());
    for options in [GetOptions::new(), GetOptions::new().with_range("b"), GetOptions::new().with_range(vec![0])] {
        assert_eq!(case.range("", options.clone()).await.unwrap_err(), refused::empty_key(), "{options:?}");
    }
}

async fn versions_and_revisions(case: Case) {
    let first = case.put("a", "1").await;
    assert_eq!(ages(&case.get("a").await.unwrap()), (1, first, first));
    let second = case.put("a", "1").await;
    assert_eq!(second, first + 1, "the same value once more is a change");
    assert_eq!(ages(&case.get("a").await.unwrap()), (2, first, second));
    let gone = case.delete("a").await;
    assert_eq!(gone, second + 1);
    assert_eq!(case.get("a").await, None);
    let back = case.put("a", "1").await;
    assert_eq!(ages(&case.get("a").await.unwrap()), (1, back, back));
    // As it was then.
    let then = case.range(case.key("a"), GetOptions::new().with_revision(second)).await.unwrap();
    assert_eq!(ages(&then.kvs[0]), (2, first, second));
}

async fn any_bytes(case: Case) {
    let every: Vec<u8> = (0..=255).collect();
    let mut client = case.client();
    client.put(case.key(&every), every.clone(), None).await.unwrap();
    let found = case.range(case.key(&every), GetOptions::new()).await.unwrap();
    assert_eq!((&found.kvs[0].key, &found.kvs[0].value), (&case.key(&every), &every));
    // Bytes sort as numbers, and a key before all that it begins.
    for name in [&b"k"[..], b"k\0", b"k\x7f", b"k\x80", b"k\xff"] {
        client.put(case.key(name), "", None).await.unwrap();
    }
    let found = case.range(case.key("k"), GetOptions::new().with_range(case.key("l"))).await.unwrap();
    assert_eq!(case.names(&found.kvs), r"k k\x00 k\x7f k\x80 k\xff");
    // No value is a value.
    case.try_put("none", "", PutOptions::new()).await.unwrap();
    let found = case.get("none").await.unwrap();
    assert_eq!((found.version, found.value.len()), (1, 0));
}

async fn pages(case: Case) {
    for number in 0..25 {
        case.put(&format!("{number:02}"), "1").await;
    }
    // Somebody writes between the pages, before and behind the reader; pages of the first one's revision don't see it.
    let (mut from, mut at, mut found) = (case.key(""), 0, Vec::new());
    for page in 0.. {
        let options = GetOptions::new().with_range(case.end()).with_limit(10).with_revision(at);
        let answer = case.range(from, options).await.unwrap();
        assert_eq!(answer.count, 25 - found.len() as i64, "what is left, with this page");
        at = if page == 0 { revision(&answer.header) } else { at };
        from = [&answer.kvs.last().unwrap().key[..], b"\0"].concat();
        found.extend(answer.kvs);
        if !answer.more {
            assert_eq!(page, 2);
            break;
        }
        case.put("05", "2").await;
        case.put("20", "2").await;
        case.put("205", "2").await;
        case.delete("24").await;
    }
    let expected: Vec<_> = (0..25).map(|number| format!("{number:02}")).collect();
    assert_eq!(case.names(&found), expected.join(" "));
    assert!(found.iter().all(|kv| kv.value == b"1" && kv.mod_revision <= at));
}

async fn a_large_answer(case: Case) {
    // More than gRPC lets through unless it is told otherwise.
    for name in ["a", "b", "c", "d", "e"] {
        case.try_put(name, vec![b'x'; 1 << 20], PutOptions::new()).await.unwrap();
    }
    let mut kv = case.client().kv_client().max_decoding_message_size(8 << 20);
    let found = kv.get(case.key(""), Some(GetOptions::new().with_prefix())).await.unwrap();
    assert_eq!(found.kvs().iter().map(|kv| kv.value().len()).sum::<usize>(), 5 << 20);
}

async fn headers(case: Case) {
    let put = case.try_put("a", "1", PutOptions::new()).await.unwrap().header.unwrap();
    let range = case.range(case.key("a"), GetOptions::new()).await.unwrap().header.unwrap();
    assert_eq!(put, range, "nothing happened between them");
    assert!(put.cluster_id != 0 && put.member_id != 0 && put.raft_term > 0, "{put:?}");
    assert_eq!(put.revision, case.get("a").await.unwrap().mod_revision);
    // A range that finds nothing tells the revision as well.
    assert_eq!(case.range(case.key("none"), GetOptions::new()).await.unwrap().header.unwrap(), put);
    let next = case.try_put("b", "1", PutOptions::new()).await.unwrap().header.unwrap();
    assert_eq!(next, etcd_client::proto::PbResponseHeader { revision: put.revision + 1, ..put });
}
