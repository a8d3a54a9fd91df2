//! Watches as a protocol: how they begin, where they start, which keys they cover, and how they end.

use std::time::Duration;

use etcd_client::{WatchFilterType, WatchOptions, proto::PbWatchResponse};
use prost::Message;
use tokio::time::timeout;

use super::{
    Case, Failures, Lack, Target, cases, revision, run,
    streams::{Watching, next},
};

/// The cases of this area.
pub async fn holds(target: &Target) -> Failures {
    let cases = cases![
        the_answer_to_a_creation,
        several_on_a_stream,
        chosen_ids,
        starts,
        ranges,
        every_key,
        ranges_without_keys,
        filters,
        progress,
        progress_is_never_ahead,
        cancels,
        cancels_of_what_is_not_there,
        streams_of_several_clients,
        who_asks_no_more_still_hears,
        large_revisions_in_parts,
        large_revisions_in_one,
    ];
    run(target, "watch", cases).await
}

/// Puts a key, and returns what a watch tells then, up to that: nothing else may come before.
async fn told_up_to(case: &Case, watch: &mut Watching, id: i64, count: usize, last: &str) -> String {
    case.put(last, "").await;
    case.told(&watch.events(id, count).await)
}

async fn the_answer_to_a_creation(case: Case) {
    let now = case.put("a", "1").await;
    let (_watch, answer) = Watching::ask(&case, case.key("a"), WatchOptions::new().with_prev_key()).await;
    let header = answer.header.unwrap();
    assert_eq!(header.revision, now);
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0, "{header:?}");
    let plain = PbWatchResponse { created: true, header: Some(header), ..PbWatchResponse::default() };
    // The first id that the server chooses is 0.
    assert_eq!(answer, plain);
}

async fn several_on_a_stream(case: Case) {
    let (mut watch, a) = Watching::open(&case, case.key("a"), WatchOptions::new()).await;
    let b = watch.add(case.key("b"), WatchOptions::new()).await;
    let both = watch.add(case.key(""), WatchOptions::new().with_prefix()).await;
    for (name, value) in [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2"), ("b", "2")] {
        case.put(name, value).await;
    }
    assert_eq!(case.told(&watch.events(both, 5).await), "a=1 b=1 c=1 a=2 b=2");
    assert_eq!(case.told(&watch.events(a, 2).await), "a=1 a=2");
    assert_eq!(case.told(&watch.events(b, 2).await), "b=1 b=2");
}

async fn chosen_ids(case: Case) {
    let watched = |id| WatchOptions::new().with_prefix().with_watch_id(id);
    let (mut watch, first) = Watching::open(&case, case.key("a"), watched(1)).await;
    assert_eq!(first, 1);
    assert_eq!(watch.add(case.key("b"), watched(i64::MAX)).await, i64::MAX);
    // What the server chooses goes around what is taken.
    for _ in 0..3 {
        let id = watch.add(case.key("c"), WatchOptions::new()).await;
        assert!(id != 1 && id != i64::MAX, "{id}");
    }
    // An id that is taken is refused; the watch that has it goes on, and so does the stream.
    watch.stream.watch(case.key("d"), Some(watched(1))).await.unwrap();
    let refused = watch.answer().await;
    assert_eq!((refused.created, refused.canceled, refused.watch_id, refused.compact_revision), (true, true, -1, 0));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    case.put("d", "1").await;
    assert_eq!(told_up_to(&case, &mut watch, 1, 1, "a").await, "a=");
    // On another stream it is free.
    assert_eq!(Watching::open(&case, case.key("d"), watched(1)).await.1, 1);
}

async fn starts(case: Case) {
    let first = case.put("a", "1").await;
    case.put("a", "2").await;
    let now = case.delete("a").await;
    let from = |revision| WatchOptions::new().with_prefix().with_start_revision(revision);
    let (mut watch, past) = Watching::open(&case, case.key(""), from(first)).await;
    let next = watch.add(case.key(""), from(now)).await;
    let live = watch.add(case.key(""), from(now + 1)).await;
    let new = watch.add(case.key(""), from(0)).await;
    let future = watch.add(case.key(""), from(now + 3)).await;
    for value in ["3", "4", "5"] {
        case.put("a", value).await;
    }
    // The revision that is given is the first that counts; none means what comes.
    for (id, told) in [
        (past, "a=1 a=2 -a a=3 a=4 a=5"),
        (next, "-a a=3 a=4 a=5"),
        (live, "a=3 a=4 a=5"),
        (new, "a=3 a=4 a=5"),
        (future, "a=5"),
    ] {
        let events = watch.events(id, told.split(' ').count()).await;
        assert_eq!(case.told(&events), told);
    }
}

async fn ranges(case: Case) {
    const NAMES: [&str; 6] = ["a", "b", "b/1", "b/2", "b0", "c"];
    let check = async |from: &str, options: WatchOptions, told: &str| {
        let (mut watch, id) = Watching::open(&case, case.key(from), options.clone()).await;
        for name in NAMES {
            case.put(name, "").await;
        }
        for name in NAMES {
            case.delete(name).await;
        }
        let expected: Vec<_> = told.split(' ').map(|name| format!("{name}=")).collect();
        let gone: Vec<_> = told.split(' ').map(|name| format!("-{name}")).collect();
        let events = watch.events(id, 2 * gone.len()).await;
        assert_eq!(case.told(&events), [expected, gone].concat().join(" "), "from {from} {options:?}");
    };
    let new = WatchOptions::new;
    check("b", new(), "b").await;
    check("b", new().with_prefix(), "b b/1 b/2 b0").await;
    check("b/", new().with_prefix(), "b/1 b/2").await;
    check("b", new().with_range(case.key("b0")), "b b/1 b/2").await;
    check("b", new().with_range(case.key("b\0")), "b").await;
    check("aa", new().with_range(case.key("bb")), "b b/1 b/2 b0").await;
    check("b0", new().with_from_key(), "b0 c").await;
}

async fn every_key(case: Case) {
    let (mut watch, all) = Watching::open(&case, "", WatchOptions::new().with_all_keys()).await;
    let mut client = case.client();
    for key in [&b"\0"[..], b"\xff\xff"] {
        client.put(key, "1", None).await.unwrap();
        client.delete(key, None).await.unwrap();
    }
    assert_eq!(case.told(&watch.events(all, 4).await), r"\x00=1 -\x00 \xff\xff=1 -\xff\xff");
    // Without a key at all it is the first one there can be.
    let least = watch.add("", WatchOptions::new()).await;
    client.put("\0\0", "1", None).await.unwrap();
    client.put("\0", "1", None).await.unwrap();
    client.delete("\0", Some(etcd_client::DeleteOptions::new().with_range("\0\0\0"))).await.unwrap();
    assert_eq!(case.told(&watch.events(least, 2).await), r"\x00=1 -\x00");
}

async fn ranges_without_keys(case: Case) {
    let (mut watch, id) = Watching::open(&case, case.key("b"), WatchOptions::new()).await;
    for end in ["b", "a"] {
        watch.stream.watch(case.key("b"), Some(WatchOptions::new().with_range(case.key(end)))).await.unwrap();
        let refused = watch.answer().await;
        assert_eq!((refused.created, refused.canceled, refused.watch_id), (true, true, -1));
        assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
    }
    assert_eq!(told_up_to(&case, &mut watch, id, 1, "b").await, "b=", "the others go on");
}

async fn filters(case: Case) {
    use WatchFilterType::{NoDelete, NoPut};
    let first = case.revision().await + 1;
    let filtered = |filters: &[WatchFilterType]| WatchOptions::new().with_prefix().with_filters(filters);
    let (mut watch, puts) = Watching::open(&case, case.key(""), filtered(&[NoDelete])).await;
    let deletes = watch.add(case.key(""), filtered(&[NoPut])).await;
    let nothing = watch.add(case.key(""), filtered(&[NoPut, NoDelete])).await;
    case.put("a", "1").await;
    case.delete("a").await;
    case.put("b", "1").await;
    case.delete("b").await;
    // What has happened is filtered as what happens is.
    let past = watch.add(case.key(""), filtered(&[NoPut]).with_start_revision(first)).await;
    assert_eq!(case.told(&watch.events(past, 2).await), "-a -b");
    assert_eq!(case.told(&watch.events(puts, 2).await), "a=1 b=1");
    assert_eq!(case.told(&watch.events(deletes, 2).await), "-a -b");
    // A watch that lets nothing pass can still be ended: the answer to that is all it ever says.
    watch.stream.cancel(nothing).await.unwrap();
    let canceled = watch.answer().await;
    assert_eq!((canceled.watch_id, canceled.canceled), (nothing, true));
}

/// Asks for progress, and returns the revision that is told.
async fn told_progress(watch: &mut Watching) -> i64 {
    watch.stream.request_progress().await.unwrap();
    let answer = watch.answer().await;
    // It is about all watches of the stream, and so about none of them.
    let plain = PbWatchResponse { watch_id: -1, header: answer.header, ..PbWatchResponse::default() };
    assert_eq!(answer, plain);
    revision(&answer.header)
}

async fn progress(case: Case) {
    let (mut watch, id) = Watching::all(&case).await;
    let other = watch.add(case.key("b"), WatchOptions::new().with_progress_notify()).await;
    for round in 0..20 {
        let put = case.put("a", &round.to_string()).await;
        watch.events(id, 1).await;
        assert_eq!(told_progress(&mut watch).await, put, "nothing has happened since");
    }
    // Also of revisions that none of the stream's watches is about.
    let (mut elsewhere, _) = Watching::open(&case, case.key("c"), WatchOptions::new()).await;
    let put = case.put("a", "1").await;
    assert_eq!(told_progress(&mut elsewhere).await, put);
    assert_eq!(told_up_to(&case, &mut watch, other, 1, "b").await, "b=", "the watch goes on");
}

async fn progress_is_never_ahead(case: Case) {
    if case.lacks(Lack::HonestProgress) {
        return;
    }
    const COUNT: i64 = 300;
    let first = case.put("a", "0").await;
    let writer = tokio::spawn({
        let case = case.clone();
        async move {
            for number in 1..COUNT {
                case.put("a", &number.to_string()).await;
            }
        }
    });
    // It begins in the past, and somebody writes: what is asked while it lies behind may stay without an answer.
    let from = WatchOptions::new().with_start_revision(first);
    let (mut watch, id) = Watching::open(&case, case.key("a"), from).await;
    let (mut seen, mut told) = (first - 1, 0);
    while told < first + COUNT - 1 {
        watch.stream.request_progress().await.unwrap();
        let Ok(message) = timeout(Duration::from_millis(20), watch.message()).await else { continue };
        if message.watch_id == id {
            for event in message.events {
                let revision = event.kv.unwrap().mod_revision;
                assert!(revision == seen + 1 && revision > told, "{revision} after {seen}, with progress at {told}");
                seen = revision;
            }
        } else {
            assert_eq!(message.watch_id, -1);
            told = revision(&message.header);
            assert!(told <= seen, "progress at {told}, events up to {seen}");
        }
    }
    writer.await.unwrap();
}

async fn cancels(case: Case) {
    let (mut watch, kept) = Watching::all(&case).await;
    let options = WatchOptions::new().with_prefix().with_watch_id(5);
    let ended = watch.add(case.key(""), options.clone()).await;
    let now = case.put("a", "1").await;
    for id in [kept, ended] {
        assert_eq!(case.told(&watch.events(id, 1).await), "a=1");
    }
    watch.stream.cancel(ended).await.unwrap();
    let answer = watch.answer().await;
    assert_eq!((answer.watch_id, answer.created, answer.canceled), (ended, false, true));
    assert_eq!((answer.compact_revision, answer.cancel_reason.as_str(), revision(&answer.header)), (0, "", now));
    // An event for it would come before the second of these, and would be nobody's.
    case.put("a", "2").await;
    assert_eq!(told_up_to(&case, &mut watch, kept, 2, "a").await, "a=2 a=");
    // The id is free again.
    assert_eq!(watch.add(case.key(""), options).await, ended);
    case.put("a", "3").await;
    assert_eq!(case.told(&watch.events(ended, 1).await), "a=3");
}

async fn cancels_of_what_is_not_there(case: Case) {
    let (mut watch, id) = Watching::open(&case, case.key("a"), WatchOptions::new()).await;
    let ended = watch.add(case.key("a"), WatchOptions::new()).await;
    watch.stream.cancel(ended).await.unwrap();
    assert!(watch.answer().await.canceled);
    // Neither an answer nor an error; what is said next is about what was asked next.
    for unknown in [4_711, ended, -1] {
        watch.stream.cancel(unknown).await.unwrap();
    }
    let next = watch.add(case.key("b"), WatchOptions::new()).await;
    assert_eq!(told_up_to(&case, &mut watch, id, 1, "a").await, "a=");
    assert_eq!(told_up_to(&case, &mut watch, next, 1, "b").await, "b=");
}

async fn streams_of_several_clients(case: Case) {
    let mut watches = Vec::new();
    for _ in 0..10 {
        watches.push(Watching::all(&case).await);
    }
    case.put("a", "1").await;
    // One that ends takes nothing from the others.
    watches.truncate(7);
    case.put("a", "2").await;
    for (watch, id) in &mut watches {
        assert_eq!(case.told(&watch.events(*id, 2).await), "a=1 a=2");
    }
}

async fn who_asks_no_more_still_hears(case: Case) {
    let (watch, _) = Watching::all(&case).await;
    let (requests, mut answers) = watch.stream.split();
    // It ends the client's side of the stream, and the server's goes on.
    drop(requests);
    for value in ["1", "2"] {
        case.put("a", value).await;
        let message = next("an event", answers.message()).await.0;
        assert_eq!(case.told(&message.events), format!("a={value}"));
    }
}

/// What a message on the wire may hold, about: 2 MiB.
const PART: usize = 2 << 20;

/// Makes a revision of 3 MiB, and returns it: three deletes that each carry 1 MiB.
async fn large_revision(case: &Case) -> i64 {
    for name in ["a", "b", "c"] {
        case.try_put(name, vec![b'x'; 1 << 20], etcd_client::PutOptions::new()).await.unwrap();
    }
    let prefix = etcd_client::DeleteOptions::new().with_prefix();
    revision(&case.delete_range(case.key(""), prefix).await.unwrap().header)
}

fn check_large(case: &Case, at: i64, messages: &[PbWatchResponse]) {
    let events: Vec<_> = messages.iter().flat_map(|message| message.events.clone()).collect();
    assert_eq!(case.told(&events), "-a -b -c");
    for event in events {
        assert_eq!(event.kv.unwrap().mod_revision, at);
        assert_eq!(event.prev_kv.unwrap().value.len(), 1 << 20);
    }
}

async fn large_revisions_in_parts(case: Case) {
    let options = WatchOptions::new().with_prefix().with_prev_key().with_fragment();
    let options = options.with_filters([WatchFilterType::NoPut]);
    let (mut watch, _) = Watching::open(&case, case.key(""), options).await;
    let at = large_revision(&case).await;
    let mut parts = vec![watch.message().await];
    while parts.last().unwrap().fragment {
        parts.push(watch.message().await);
    }
    assert!(parts.len() > 1, "too large for one message");
    assert!(parts.iter().all(|part| part.encoded_len() <= PART), "no part is too large");
    check_large(&case, at, &parts);
    // What is small comes as a whole.
    case.put("a", "1").await;
    case.delete("a").await;
    let whole = watch.message().await;
    assert_eq!((case.told(&whole.events).as_str(), whole.fragment), ("-a", false));
}

async fn large_revisions_in_one(case: Case) {
    let options = WatchOptions::new().with_prefix().with_prev_key().with_filters([WatchFilterType::NoPut]);
    let (mut watch, _) = Watching::open(&case, case.key(""), options).await;
    let at = large_revision(&case).await;
    let message = watch.message().await;
    assert!(!message.fragment && message.encoded_len() > PART, "it was not asked for in parts");
    check_large(&case, at, &[message]);
}
