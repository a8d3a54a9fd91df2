//! Puts and deletes: what they change, what they answer, and what they are refused for.

use etcd_client::{DeleteOptions, GetOptions, PutOptions};

use super::{Case, Failures, Target, ages, cases, refused, revision, run};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        the_previous_of_a_put,
        a_put_keeps_the_value,
        a_put_keeps_the_lease,
        a_lease_comes_moves_and_goes,
        what_a_put_is_refused_for,
        how_large_a_put_may_be,
        deletes,
        the_previous_of_a_delete,
        a_delete_of_all_from_here_on,
        what_deletes_nothing,
    ];
    run(target, "write", cases).await
}

async fn the_previous_of_a_put(case: Case) {
    let previous = PutOptions::new().with_prev_key();
    let lease = case.grant(60).await;
    let created = case.try_put("a", "1", previous.clone().with_lease(lease)).await.unwrap();
    assert_eq!(created.prev_kv, None, "there was none");
    let was = case.get("a").await.unwrap();
    let changed = case.try_put("a", "2", previous.clone()).await.unwrap();
    assert_eq!(changed.prev_kv.as_ref(), Some(&was));
    assert_eq!((was.lease, &was.value[..]), (lease, &b"1"[..]));
    case.delete("a").await;
    assert_eq!(case.try_put("a", "3", previous).await.unwrap().prev_kv, None, "a deleted key is none");
    assert_eq!(case.try_put("a", "4", PutOptions::new()).await.unwrap().prev_kv, None, "it was not asked for");
}

async fn a_put_keeps_the_value(case: Case) {
    let keep = PutOptions::new().with_ignore_value();
    let created = case.put("a", "1").await;
    let lease = case.grant(60).await;
    let changed = revision(&case.try_put("a", "", keep.clone().with_lease(lease)).await.unwrap().header);
    let kv = case.get("a").await.unwrap();
    assert_eq!((&kv.value[..], kv.lease, ages(&kv)), (&b"1"[..], lease, (2, created, changed)));

    let given = case.try_put("a", "2", keep.clone()).await;
    assert_eq!(given.unwrap_err(), refused::value_provided());
    let missing = case.try_put("b", "", keep).await;
    assert_eq!(missing.unwrap_err(), refused::key_not_found());
    assert_eq!(case.revision().await, changed, "refused puts change nothing");
}

async fn a_put_keeps_the_lease(case: Case) {
    let keep = PutOptions::new().with_ignore_lease();
    let lease = case.grant(60).await;
    case.put_leased("a", "1", lease).await;
    let changed = revision(&case.try_put("a", "2", keep.clone()).await.unwrap().header);
    let kv = case.get("a").await.unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"2"[..], lease, 2));

    let given = case.try_put("a", "3", keep.clone().with_lease(lease)).await;
    assert_eq!(given.unwrap_err(), refused::lease_provided());
    let missing = case.try_put("b", "1", keep.clone()).await;
    assert_eq!(missing.unwrap_err(), refused::key_not_found());
    assert_eq!(case.revision().await, changed);
    // Both at once: a new revision, and nothing else.
    case.try_put("a", "", keep.with_ignore_value()).await.unwrap();
    let kv = case.get("a").await.unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"2"[..], lease, 3));
}

async fn a_lease_comes_moves_and_goes(case: Case) {
    let (one, two) = (case.grant(60).await, case.grant(60).await);
    for name in ["stays", "moves", "goes"] {
        case.put_leased(name, "1", one).await;
        assert_eq!(case.get(name).await.unwrap().lease, one);
    }
    case.put_leased("moves", "2", two).await;
    case.put("goes", "2").await;
    case.put_leased("anew", "1", one).await;
    case.delete("anew").await;
    case.put("anew", "2").await;
    assert_eq!(case.get("moves").await.unwrap().lease, two);
    assert_eq!(case.get("goes").await.unwrap().lease, 0);

    case.client().lease_revoke(one).await.unwrap();
    assert_eq!(case.names(&case.all(GetOptions::new()).await.unwrap().kvs), "anew goes moves");
    case.client().lease_revoke(two).await.unwrap();
    assert_eq!(case.names(&case.all(GetOptions::new()).await.unwrap().kvs), "anew goes");
}

async fn what_a_put_is_refused_for(case: Case) {
    let before = case.put("a", "1").await;
    let unknown = case.try_put("a", "2", PutOptions::new().with_lease(424_242)).await;
    assert_eq!(unknown.unwrap_err(), refused::lease_not_found());
    let empty = case.client().put("", "2", None).await;
    assert_eq!(super::Refused::from(empty.unwrap_err()), refused::empty_key());
    let kv = case.get("a").await.unwrap();
    assert_eq!((&kv.value[..], kv.version, case.revision().await), (&b"1"[..], 1, before));
}

async fn how_large_a_put_may_be(case: Case) {
    const LIMIT: usize = 1_536 * 1024;
    let before = case.revision().await;
    let over = case.try_put("a", vec![b'x'; LIMIT + 1], PutOptions::new()).await;
    assert_eq!(over.unwrap_err(), refused::too_large());
    assert_eq!(case.revision().await, before);
    case.try_put("a", vec![b'x'; LIMIT - 1024], PutOptions::new()).await.unwrap();
    assert_eq!(case.get("a").await.unwrap().value.len(), LIMIT - 1024);
    // What is larger still does not get through gRPC, whose own words are not etcd's.
    case.try_put("a", vec![b'x'; 2 * LIMIT], PutOptions::new()).await.unwrap_err();
    assert_eq!(case.get("a").await.unwrap().version, 1);
}

async fn deletes(case: Case) {
    let fill = async || {
        for name in ["a", "b", "c", "d"] {
            case.put(name, "1").await;
        }
    };
    let check = async |from: &str, options: DeleteOptions, deleted: i64, left: &str| {
        fill().await;
        let before = case.revision().await;
        let answer = case.delete_range(case.key(from), options.clone()).await.unwrap();
        assert_eq!((answer.deleted, revision(&answer.header)), (deleted, before + 1), "{from} {options:?}");
        assert_eq!(answer.prev_kvs, [], "they were not asked for");
        assert_eq!(case.names(&case.all(GetOptions::new()).await.unwrap().kvs), left, "{from} {options:?}");
    };
    check("a", DeleteOptions::new(), 1, "b c d").await;
    check("b", DeleteOptions::new().with_range(case.key("d")), 2, "a d").await;
    check("aa", DeleteOptions::new().with_range(case.key("cc")), 2, "a d").await;
    check("c", DeleteOptions::new().with_prefix(), 1, "a b d").await;
    check("", DeleteOptions::new().with_prefix(), 4, "").await;
}

async fn the_previous_of_a_delete(case: Case) {
    let lease = case.grant(60).await;
    case.put("b", "1").await;
    case.put_leased("a", "1", lease).await;
    case.put("a", "2").await;
    let were = case.all(GetOptions::new()).await.unwrap().kvs;
    let answer = case.delete_range(case.key(""), DeleteOptions::new().with_prefix().with_prev_key()).await.unwrap();
    assert_eq!((answer.deleted, answer.prev_kvs), (2, were), "as they were, by key");
}

async fn a_delete_of_all_from_here_on(case: Case) {
    // Behind the keys of every other case.
    let mut client = case.client();
    for key in [&b"\xf0"[..], b"\xf1", b"\xff\xff"] {
        client.put(key, "1", None).await.unwrap();
    }
    let answer = case.delete_range(b"\xf1", DeleteOptions::new().with_range(vec![0]).with_prev_key()).await.unwrap();
    assert_eq!(answer.deleted, 2);
    assert_eq!(answer.prev_kvs.iter().map(|kv| &kv.key[..]).collect::<Vec<_>>(), [&b"\xf1"[..], b"\xff\xff"]);
    assert_eq!(case.delete_range(b"\xf0", DeleteOptions::new()).await.unwrap().deleted, 1);
}

async fn what_deletes_nothing(case: Case) {
    let before = case.put("a", "1").await;
    let check = async |key: Vec<u8>, options: DeleteOptions| {
        let answer = case.delete_range(key.clone(), options.with_prev_key()).await.unwrap();
        let found = (answer.deleted, answer.prev_kvs.len(), revision(&answer.header));
        assert_eq!(found, (0, 0, before), "{}", key.escape_ascii());
    };
    check(case.key("none"), DeleteOptions::new()).await;
    check(case.key("b"), DeleteOptions::new().with_range(case.key("z"))).await;
    check(case.key("a"), DeleteOptions::new().with_range(case.key("a"))).await;
    check(case.key("b"), DeleteOptions::new().with_range(case.key("a"))).await;
    assert_eq!(case.delete_range("", DeleteOptions::new()).await.unwrap_err(), refused::empty_key());
    let all = case.delete_range("", DeleteOptions::new().with_range(vec![0])).await;
    assert_eq!(all.unwrap_err(), refused::empty_key());
    assert_eq!(case.revision().await, before);
}
