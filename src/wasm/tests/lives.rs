//! Instances that fail and are made anew, and chains of filters.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::time::Instant;

use super::{bind, filter, load, until};
use crate::route::OnError;
use crate::wasm::bound::Live;
use crate::wasm::chain::{Chain, Stop};
use crate::wasm::exchange::{Direction, Exchange, Facts, Shared};
use crate::wasm::fault::Fault;
use crate::wasm::filter::{CallOut, Filter};
use crate::wasm::host::Reply;
use crate::wasm::module::{Aside, Consequence, Failures};

#[test]
fn pauses_double_until_a_module_is_set_aside() {
    let module = load(&filter("")).unwrap();
    let now = Instant::now();
    let mut pauses = Vec::new();
    let end = loop {
        match module.failed(&"test", now) {
            Consequence::Restart(pause) => pauses.push(pause.as_millis()),
            end => break end,
        }
    };
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600]);
    assert!(end == Consequence::Aside && module.is_aside());
    assert_eq!(module.failures(), Failures { count: 10, last: Some((now, "test".to_owned())) });
    // A good minute, and all is forgotten.
    let module = load(&filter("")).unwrap();
    for minute in 0..20 {
        let at = now + Duration::from_secs(60) * minute;
        assert_eq!(module.failed(&"test", at), Consequence::Restart(Duration::from_millis(100)));
    }
}

#[test]
fn an_instance_that_failed_is_made_anew_after_a_pause_and_one_that_was_wrong_is_not() {
    let mut live = Live::new(bind(&filter(""), 1));
    let first = live.vm().unwrap().id();
    live.failed(&Fault::Answer { callback: "x", why: "y".to_owned() });
    assert_eq!(live.vm().unwrap().id(), first);
    let failed = Instant::now();
    live.failed(&Fault::Time("x"));
    until("the next instance", || live.vm().is_some());
    assert!(failed.elapsed() >= Duration::from_millis(100));
    assert_ne!(live.vm().unwrap().id(), first);
}

/// Runs what needs a runtime with tasks of one thread.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(test);
}

fn nobody() -> CallOut {
    Rc::new(|_| Box::pin(async { None }))
}

fn chain(filters: &[(&str, OnError)]) -> Chain {
    chain_with(filters, &nobody())
}

fn chain_with(filters: &[(&str, OnError)], call_out: &CallOut) -> Chain {
    let links: Vec<_> = filters
        .iter()
        .map(|(text, on_error)| (Filter::new(bind(&filter(text), 1), call_out.clone()), *on_error))
        .collect();
    let chain = Chain::new(Exchange::new(Facts::example()), Duration::from_millis(300), 1_000);
    let request = Request::builder().header("x-a", "1").body(()).unwrap();
    chain.exchange().request = Some(request.into_parts().0);
    chain.exchange().response = Some(Response::new(()).into_parts().0);
    chain.join(&links).unwrap();
    chain
}

fn on(callback: &str, body: &str) -> String {
    format!("(func (export \"proxy_on_{callback}\") (param i32 i32 i32) (result i32) {body})")
}

/// Adds a mark to the requests' or the responses' header `x-seen`.
fn marks(mark: &str) -> String {
    let add = |map| format!("(call $add (i32.const {map}) @\"x-seen\" @\"{mark}\") (i32.const 0)");
    on("request_headers", &add(0)) + &on("response_headers", &add(2))
}

fn seen(headers: &HeaderMap) -> Vec<&HeaderValue> {
    headers.get_all("x-seen").iter().collect()
}

#[test]
fn requests_pass_in_order_and_responses_in_reverse() {
    run(async {
        let (a, b, c) = (marks("a"), marks("b"), marks("c"));
        let chain = chain(&[(&a, OnError::Deny), (&b, OnError::Deny), (&c, OnError::Skip)]);
        chain.head(Direction::Request, 0, true).await.unwrap();
        chain.head(Direction::Response, 0, true).await.unwrap();
        let exchange = chain.exchange();
        assert_eq!(seen(&exchange.request.as_ref().unwrap().headers), ["a", "b", "c"]);
        assert_eq!(seen(&exchange.response.as_ref().unwrap().headers), ["c", "b", "a"]);
    });
}

#[test]
fn a_filter_that_fails_denies_or_is_skipped() {
    run(async {
        let trap = on("request_headers", "unreachable");
        let (a, c) = (marks("a"), marks("c"));
        let skipping = chain(&[(&a, OnError::Deny), (&trap, OnError::Skip), (&c, OnError::Deny)]);
        skipping.head(Direction::Request, 0, true).await.unwrap();
        assert_eq!(seen(&skipping.exchange().request.as_ref().unwrap().headers), ["a", "c"]);
        let denying = chain(&[(&a, OnError::Deny), (&trap, OnError::Deny), (&c, OnError::Deny)]);
        let stop = denying.head(Direction::Request, 0, true).await.unwrap_err();
        assert_eq!(stop, Stop::Failed("tested".into()));
        // The response is shown to those that saw the request.
        denying.head(Direction::Response, 0, true).await.unwrap();
        assert_eq!(seen(&denying.exchange().response.as_ref().unwrap().headers), ["a"]);
    });
}

#[test]
fn an_answer_that_cannot_be_sent_is_a_failure_and_no_pause() {
    let answer = |status| {
        format!("(drop (call $local_response (i32.const {status}) @\"\" @\"no\" @\"\" (i32.const -1))) (i32.const 1)")
    };
    let none = answer(1_000);
    run(async {
        let way = Direction::Request;
        let denying = chain(&[(&on("request_headers", &none), OnError::Deny)]);
        assert_eq!(denying.head(way, 0, true).await, Err(Stop::Invalid("tested".into())));
        let bound = denying.links.borrow()[0].filter.bound();
        let failures = bound.module().failures();
        assert_eq!(failures.count, 1);
        assert!(failures.last.unwrap().1.contains("its status is 1000, and not from 200 to 599"));
        let skipping = chain(&[(&on("request_headers", &none), OnError::Skip), (&marks("a"), OnError::Deny)]);
        skipping.head(way, 0, true).await.unwrap();
        assert_eq!(seen(&skipping.exchange().request.as_ref().unwrap().headers), ["a"]);
        // One that is mended counts.
        let mended = none.replace("(i32.const 1)", "") + &answer(403);
        let mending = chain(&[(&on("request_headers", &mended), OnError::Deny)]);
        assert_eq!(mending.head(way, 0, true).await, Err(Stop::Answered("tested".into())));
        assert_eq!(mending.exchange().local.take().map(|local| local.status), Some(403));
    });
}

#[test]
fn a_pause_without_end_has_one() {
    run(async {
        let chain = chain(&[(&on("request_headers", "(i32.const 1)"), OnError::Skip)]);
        let begin = Instant::now();
        let stop = chain.head(Direction::Request, 0, true).await.unwrap_err();
        assert_eq!(stop, Stop::Held("tested".into()));
        assert!(begin.elapsed() >= Duration::from_millis(300));
    });
}

#[test]
fn a_body_that_trickles_does_not_lengthen_a_pause() {
    run(async {
        let chain = chain(&[(&on("request_body", "(i32.const 1)"), OnError::Deny)]);
        chain.head(Direction::Request, 0, false).await.unwrap();
        let begin = Instant::now();
        loop {
            assert_eq!(chain.body(Direction::Request, Bytes::from_static(b"x"), false).await.unwrap(), None);
            let released = chain.released(Direction::Request, false);
            match tokio::time::timeout(Duration::from_millis(50), released).await {
                Err(_) => assert!(begin.elapsed() < Duration::from_secs(5), "it is held for ever"),
                Ok(stop) => break assert_eq!(stop.unwrap_err(), Stop::Held("tested".into())),
            }
        }
    });
}

/// A filter that pauses, makes a call, and goes on when it is answered.
fn asks(callback: &str, answer: &str) -> String {
    let pairs: String = crate::wasm::abi::encode_pairs(&[(&b":method"[..], &b"GET"[..]), (b":path", b"/")])
        .iter()
        .map(|b| format!("\\{b:02x}"))
        .collect();
    let call = format!(
        "(global.set $waiting (local.get 0))
         (drop (call $http_call @\"greeter\" @\"{pairs}\" (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 1000) (i32.const 8)))
         (i32.const {})",
        i32::from(!answer.is_empty())
    );
    format!(
        "(global $waiting (mut i32) (i32.const 0)) {}
         (func (export \"proxy_on_http_call_response\") (param i32 i32 i32 i32 i32)
           (drop (call $set_context (global.get $waiting)))
           (drop (call $resume (i32.const 0))))",
        on(callback, &call)
    )
}

#[test]
fn a_paused_exchange_goes_on_when_the_call_is_answered() {
    run(async {
        let call_out: CallOut = Rc::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some(Reply::default())
            })
        });
        let chain = chain_with(&[(&asks("request_headers", "pause"), OnError::Deny)], &call_out);
        let begin = Instant::now();
        chain.head(Direction::Request, 0, true).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20));
    });
}

#[test]
fn nobody_ends_another_filter_s_pause() {
    run(async {
        // The first makes a call without waiting for it, and says go on when it is answered: that is not for the second,
        // which waits for ever.
        let call_out: CallOut = Rc::new(|_| Box::pin(async { Some(Reply::default()) }));
        let (hasty, guard) = (asks("request_headers", ""), on("request_headers", "(i32.const 1)"));
        let chain = chain_with(&[(&hasty, OnError::Deny), (&guard, OnError::Deny)], &call_out);
        assert_eq!(chain.head(Direction::Request, 0, true).await.unwrap_err(), Stop::Held("tested".into()));
    });
}

#[test]
fn two_filters_hold_and_release_each_its_own_part() {
    run(async {
        let answers: Rc<RefCell<Vec<tokio::sync::oneshot::Sender<()>>>> = Rc::default();
        let kept = answers.clone();
        let call_out: CallOut = Rc::new(move |_| {
            let (done, answered) = tokio::sync::oneshot::channel();
            kept.borrow_mut().push(done);
            Box::pin(async move {
                answered.await.ok()?;
                Some(Reply::default())
            })
        });
        // Both wait for an answer at the first part that they see, and let all that follows go.
        let once = asks("request_body", "pause").replace(
            "(global.set $waiting (local.get 0))",
            "(if (global.get $waiting) (then (return (i32.const 0)))) (global.set $waiting (local.get 0))",
        );
        let second = once.clone();
        let chain = chain_with(&[(&once, OnError::Deny), (&second, OnError::Deny)], &call_out);
        chain.head(Direction::Request, 0, false).await.unwrap();
        let way = Direction::Request;
        assert_eq!(chain.body(way, Bytes::from_static(b"1"), false).await.unwrap(), None);
        answers.borrow_mut().remove(0).send(()).unwrap();
        assert_eq!(chain.released(way, false).await.unwrap(), None, "the second holds it now");
        assert_eq!(chain.body(way, Bytes::from_static(b"2"), false).await.unwrap().as_deref(), Some(&b"12"[..]));
        assert!(!chain.holds(way));
    });
}

#[test]
fn what_is_held_of_a_body_is_bounded() {
    run(async {
        let chain = chain(&[(&on("response_body", "(i32.const 1)"), OnError::Skip)]);
        chain.head(Direction::Request, 0, true).await.unwrap();
        let way = Direction::Response;
        assert_eq!(chain.body(way, Bytes::from(vec![0; 900]), false).await.unwrap(), None);
        let stop = chain.body(way, Bytes::from(vec![0; 900]), false).await.unwrap_err();
        assert_eq!(stop, Stop::TooLarge("tested".into()));
    });
}

#[test]
fn what_is_held_comes_out_before_the_trailers() {
    run(async {
        let trailers = "(func (export \"proxy_on_response_trailers\") (param i32 i32) (result i32)
            (call $add (i32.const 3) @\"x-seen\" @\"t\")
            (drop (call $buffer_set (i32.const 1) (i32.const 99) (i32.const 0) @\"!\")) (i32.const 0))";
        let holding = on("response_body", "(i32.const 1)") + trailers;
        let upper = on(
            "response_body",
            "(drop (call $buffer_set (i32.const 1) (i32.const 0) (i32.const 0) @\">\")) (i32.const 0)",
        );
        let chain = chain(&[(&upper, OnError::Deny), (&holding, OnError::Deny)]);
        chain.head(Direction::Request, 0, true).await.unwrap();
        let way = Direction::Response;
        assert_eq!(chain.body(way, Bytes::from_static(b"held"), false).await.unwrap(), None);
        chain.exchange().response_trailers = Some(HeaderMap::new());
        assert_eq!(chain.trailers(way).await.unwrap(), ">held!");
        assert_eq!(seen(chain.exchange().response_trailers.as_ref().unwrap()), ["t"]);
    });
}

#[test]
fn filters_tick_until_they_are_dropped() {
    run(async {
        let ticking = "(func (export \"proxy_on_vm_start\") (param i32 i32) (result i32)
              (drop (call $tick_every (i32.const 10))) (i32.const 1))
            (func (export \"proxy_on_tick\") (param i32)
              (i32.store (i32.const 12) (i32.add (i32.const 1) (i32.load (i32.const 12)))))";
        let filter = Filter::new(bind(&filter(ticking), 1), nobody());
        tokio::time::sleep(Duration::from_millis(200)).await;
        let count = filter.with(|vm| Ok(vm.memory_mut()[12])).unwrap();
        assert!((5..=20).contains(&count), "{count} ticks in 200 ms");
        let weak = Rc::downgrade(&filter);
        drop(filter);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn an_exchange_hears_that_its_instance_failed() {
    run(async {
        // The second exchange makes the instance fail on which the first waits.
        let text =
            on("request_headers", "(if (i32.gt_u (local.get 0) (i32.const 2)) (then unreachable)) (i32.const 1)");
        let shared = Filter::new(bind(&filter(&text), 1), nobody());
        let new = |on_error| {
            let chain = Chain::new(Exchange::new(Facts::example()), Duration::from_secs(20), 1_000);
            chain.exchange().request = Some(Request::new(()).into_parts().0);
            chain.join(&[(shared.clone(), on_error)]).unwrap();
            chain
        };
        let (first, second) = (new(OnError::Deny), new(OnError::Skip));
        let (waited, failed) =
            tokio::join!(first.head(Direction::Request, 0, true), second.head(Direction::Request, 0, true));
        assert_eq!((waited, failed), (Err(Stop::Failed("tested".into())), Ok(())));
        let bound: Arc<_> = shared.bound();
        assert_eq!(bound.module().failures().count, 1);
    });
}

#[test]
fn calls_are_counted_by_all_instances_and_stay_counted() {
    let bound = bind(&filter(&marks("a")), 2);
    let meters = &bound.module().env.meters;
    let hash = bound.module().hash();
    assert_eq!((meters.calls().all, meters.instances(hash)), (0, 2), "what it takes to start is no call");
    let (mut first, mut second) = (Live::new(bound.clone()), Live::new(bound.clone()));
    let shared = Shared::new(Exchange::new(Facts::example()));
    for _ in 0..100 {
        first.vm().unwrap().head(2, Direction::Request, true).unwrap();
    }
    let context = second.vm().unwrap().open(&shared).unwrap();
    second.vm().unwrap().head(context, Direction::Request, true).unwrap();
    let calls = meters.calls();
    // The first of each instance is timed, and then one in 61.
    assert_eq!((calls.all, calls.timed), (101, 3));
    assert!(calls.mean().is_some_and(|mean| mean < Duration::from_millis(10)), "{calls:?}");
    drop((first, second));
    assert_eq!((meters.calls(), meters.instances(hash)), (calls, 0));
    assert_eq!(calls.since(&calls).mean(), None);
}

#[test]
fn a_module_that_is_set_aside_is_let_go_by_all_and_one_that_failed_comes_back_without_being_asked() {
    let bound = bind(&filter(""), 2);
    let (module, hash) = (bound.module().clone(), bound.module().hash());
    let (mut first, mut second) = (Live::new(bound.clone()), Live::new(bound));
    first.failed(&Fault::Time("x"));
    assert_eq!(module.env.meters.instances(hash), 1);
    until("the next instance", || module.env.meters.instances(hash) == 2);
    assert!(first.vm().is_some() && second.vm().is_some());
    module.set_aside(Aside::Ordered);
    assert!(first.vm().is_none() && second.vm().is_none());
    assert_eq!((module.env.meters.instances(hash), module.aside()), (0, Some(Aside::Ordered)));
}
