//! Each way in which following a prefix goes on, breaks, or cannot be trusted.

use super::*;
use crate::etcd::KeyValue;
use crate::registry::format::{Decoder, FormatName};

fn header(revision: i64) -> Header {
    Header { cluster: 1, member: 1, revision, term: 1 }
}

fn kv(key: &str, mod_revision: i64) -> KeyValue {
    KeyValue { key: key.into(), value: "a:1".into(), lease: 0, mod_revision, create_revision: 1 }
}

fn put() -> Put {
    Put::read(&Decoder::new("", FormatName::Raw, None), kv("k", 3))
}

fn listing(revision: i64) -> Input {
    Input::Listed(Listing { header: header(revision), keys: vec![put()] })
}

fn reset(revision: i64, unsettled: bool) -> Option<Update> {
    Some(Update { unsettled, change: Some(Change::Reset { revision, all: vec![put()] }) })
}

fn delta(revision: i64) -> Option<Update> {
    Some(Update { unsettled: false, change: Some(Change::Delta { revision, set: vec![], gone: vec![] }) })
}

fn progress(revision: i64) -> Input {
    Input::Response(Response { header: header(revision), requested: false, events: vec![] })
}

fn answer(revision: i64) -> Input {
    Input::Response(Response { header: header(revision), requested: true, events: vec![] })
}

fn events(revision: i64, events: Vec<Event>) -> Input {
    Input::Response(Response { header: header(revision), requested: false, events })
}

const FAILED: Input = Input::Failed { compacted: false };
const COMPACTED: Input = Input::Failed { compacted: true };
const UNSETTLED: Option<Update> = Some(Update { unsettled: true, change: None });

/// Takes steps, and compares what the writer is told.
#[track_caller]
fn take(follow: Follow, steps: Vec<(Input, Option<Update>)>) -> Follow {
    steps.into_iter().fold(follow, |follow, (input, told)| {
        let (next, update) = follow.step(input.clone());
        assert_eq!(update, told, "told after {input:?}");
        next
    })
}

/// Listed at revision 10, with a watch open.
fn watching() -> Follow {
    let follow = take(Follow::new(), vec![(listing(10), reset(10, false)), (Input::Opened(header(10)), None)]);
    assert!(follow.is_watching());
    follow
}

#[test]
fn it_lists_and_then_watches_from_there_on() {
    let follow = Follow::new();
    assert_eq!(follow.ask(), Ask::List(None));
    let follow = take(follow, vec![(FAILED, None)]);
    assert_eq!(follow.ask(), Ask::List(None));
    let follow = take(follow, vec![(listing(10), reset(10, false))]);
    assert_eq!(follow.ask(), Ask::Watch { from: 10 });
    assert!(!follow.is_watching());
    let follow = take(follow, vec![(Input::Opened(header(12)), None)]);
    assert!(follow.is_watching());
}

#[test]
fn events_become_a_delta() {
    let gone = Event::Delete { key: "b".into(), mod_revision: 12 };
    let told =
        Change::Delta { revision: 12, set: vec![kv("a", 11)], gone: vec![Gone { key: "b".into(), revision: 12 }] };
    let told = Some(Update { unsettled: false, change: Some(told) });
    let follow = take(watching(), vec![(events(12, vec![Event::Put(kv("a", 11)), gone]), told), (FAILED, None)]);
    assert_eq!(follow.ask(), Ask::Watch { from: 12 });
}

#[test]
fn after_a_cut_it_resumes_from_what_arrived_on_the_stream() {
    let follow = take(watching(), vec![(progress(20), delta(20)), (FAILED, None)]);
    assert_eq!(follow.ask(), Ask::Watch { from: 20 });
}

#[test]
fn an_answer_to_a_request_for_progress_does_not_move_it() {
    let follow = take(watching(), vec![(answer(99), None), (FAILED, None)]);
    assert_eq!(follow.ask(), Ask::Watch { from: 10 });
}

#[test]
fn what_is_said_when_a_watch_is_opened_does_not_move_it() {
    let follow = take(watching(), vec![(FAILED, None), (Input::Opened(header(50)), UNSETTLED), (FAILED, None)]);
    assert_eq!(follow.ask(), Ask::Watch { from: 10 });
}

#[test]
fn events_that_catch_up_move_it_only_as_far_as_they_go() {
    // The header of a response is the store's revision; more events may follow from before it.
    let put = Event::Put(kv("a", 12));
    let told = Change::Delta { revision: 12, set: vec![kv("a", 12)], gone: vec![] };
    let told = Some(Update { unsettled: false, change: Some(told) });
    let follow = take(watching(), vec![(events(5000, vec![put]), told), (FAILED, None)]);
    assert_eq!(follow.ask(), Ask::Watch { from: 12 });
}

#[test]
fn compacted_history_needs_a_list_and_not_a_later_watch() {
    let follow = take(watching(), vec![(FAILED, None), (COMPACTED, None)]);
    assert_eq!(follow.ask(), Ask::List(Some(Relist::Compacted)));
    let follow = take(follow, vec![(FAILED, None)]);
    assert_eq!(follow.ask(), Ask::List(Some(Relist::Compacted)));
    let follow = take(follow, vec![(listing(90), reset(90, true)), (Input::Opened(header(90)), UNSETTLED)]);
    assert_eq!(follow.ask(), Ask::Watch { from: 90 });
}

#[test]
fn a_revision_that_went_backwards_needs_a_list() {
    // Found when the watch is opened again, and on the stream itself.
    let reopened = take(watching(), vec![(FAILED, None), (Input::Opened(header(4)), None)]);
    let on_stream = take(watching(), vec![(progress(20), delta(20)), (progress(19), None)]);
    for follow in [reopened, on_stream] {
        assert!(!follow.is_watching());
        assert_eq!(follow.ask(), Ask::List(Some(Relist::OtherData)));
        let follow = take(follow, vec![(listing(4), reset(4, true))]);
        assert_eq!(follow.ask(), Ask::Watch { from: 4 });
    }
}

#[test]
fn an_answer_that_overtook_events_is_no_revision_that_went_backwards() {
    let told = delta(20);
    let follow = take(watching(), vec![(answer(30), None), (progress(20), told)]);
    assert!(follow.is_watching());
}

#[test]
fn another_cluster_needs_a_list() {
    let other = Header { cluster: 2, ..header(11) };
    for input in [
        Input::Opened(other),
        Input::Response(Response { header: other, requested: true, events: vec![] }),
        Input::Response(Response { header: other, requested: false, events: vec![] }),
    ] {
        let follow = take(watching(), vec![(input, None)]);
        assert_eq!(follow.ask(), Ask::List(Some(Relist::OtherData)));
        let listing = Listing { header: other, keys: vec![put()] };
        take(follow, vec![(Input::Listed(listing), reset(11, true))]);
    }
}

#[test]
fn a_list_beside_a_sound_watch_does_not_disturb_it() {
    let follow = take(watching(), vec![(listing(40), reset(40, false))]);
    assert!(follow.is_watching());
    // What the stream still has to tell is older than the list: that is no step back.
    let follow = take(follow, vec![(progress(15), delta(40)), (progress(16), delta(40)), (FAILED, None)]);
    assert_eq!(follow.ask(), Ask::Watch { from: 40 });
}

#[test]
fn a_list_from_other_data_ends_the_watch() {
    let follow = take(watching(), vec![(listing(5), reset(5, true))]);
    assert!(!follow.is_watching());
    assert_eq!(follow.ask(), Ask::Watch { from: 5 });
}

#[test]
fn a_new_leader_is_told_once() {
    let term2 = |revision| Header { term: 2, ..header(revision) };
    let response = |requested| Input::Response(Response { header: term2(11), requested, events: vec![] });
    let told = Change::Delta { revision: 11, set: vec![], gone: vec![] };
    take(
        watching(),
        vec![
            (response(false), Some(Update { unsettled: true, change: Some(told.clone()) })),
            (response(false), Some(Update { unsettled: false, change: Some(told) })),
        ],
    );
    take(watching(), vec![(response(true), UNSETTLED), (response(true), None)]);
}

#[test]
fn the_first_connect_is_no_disturbance_and_each_later_one_is() {
    // `watching` has checked the first.
    let follow = take(watching(), vec![(FAILED, None), (FAILED, None), (Input::Opened(header(10)), UNSETTLED)]);
    take(follow, vec![(progress(11), delta(11))]);
}
