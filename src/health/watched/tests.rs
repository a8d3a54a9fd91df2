//! What becomes of a service's endpoints over time; the clock is moved by hand.

use std::time::Duration;

use super::*;
use crate::registry::Instance;
use crate::telemetry::StatusCounters;

const OK: u32 = 0;
const UNAVAILABLE: u32 = 14;

struct Case {
    watched: Watched,
    now: Instant,
    endpoints: Vec<Endpoint>,
}

impl Case {
    fn new(count: u32, health: &str) -> Self {
        let health = Arc::new(crate::config::parse(health, Config::read).unwrap());
        let settings = ServiceSettings { health, upstream: Arc::default() };
        let now = Instant::now();
        let watched = Watched::new(Arc::new(Slot::new("pay")), settings, now);
        let mut case = Case { watched, now, endpoints: Vec::new() };
        case.add(count);
        case
    }

    fn add(&mut self, count: u32) {
        for _ in 0..count {
            let id = self.endpoints.len() as u32 + 1;
            let address = format!("10.0.0.{id}:80");
            let instance = Instance {
                service: "pay".into(),
                id: id.to_string(),
                address: address.parse().unwrap(),
                weight: 1,
                version: String::new(),
                zone: String::new(),
                tags: Vec::new(),
                protocol: None,
                tls: None,
                metadata: BTreeMap::new(),
            };
            self.endpoints.push(Endpoint {
                id: EndpointId(id),
                label: address.into(),
                instance: Arc::new(instance),
                lease: 0,
                revision: 1,
                doubted: false,
                state: Arc::default(),
            });
        }
        let endpoints = Endpoints::new(self.endpoints.clone());
        self.watched.take_over(Arc::new(endpoints), self.now);
        self.judge();
    }

    fn judge(&mut self) -> usize {
        self.watched.judge(self.now).len()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.judge();
    }

    fn fail(&mut self, at: usize, times: u32) {
        for _ in 0..times {
            self.endpoints[at].state.call_failed(false);
        }
    }

    /// The state of each endpoint, by its first letter.
    fn states(&self) -> String {
        let letter = |judged: &Judged| judged.verdict.state.to_string().remove(0);
        self.watched.judged.iter().map(letter).collect()
    }

    fn shares(&self) -> Vec<u32> {
        self.endpoints.iter().map(|endpoint| endpoint.state.share()).collect()
    }
}

#[test]
fn ejections_last_longer_each_time_and_are_forgiven_in_time() {
    let mut case = Case::new(3, "outlier: {consecutive: 5, base_ejection: 30s, interval: 10s}");
    case.fail(0, 4);
    assert_eq!(case.judge(), 0);
    case.fail(0, 1);
    assert_eq!(case.judge(), 1);
    assert_eq!((case.states(), case.shares()), ("ehh".into(), vec![0, 1_000, 1_000]));
    let reason = &case.watched.judged[0].verdict.reason;
    assert_eq!(reason, "5 calls in a row failed");
    // It takes one good call to begin anew.
    case.endpoints[1].state.call_failed(true);
    case.endpoints[1].state.call_went_well();
    case.fail(1, 4);
    assert_eq!(case.judge(), 0);

    case.pass(29);
    assert_eq!(case.states(), "ehh");
    case.pass(1);
    assert_eq!((case.states(), case.shares()), ("hhh".into(), vec![1_000; 3]));
    // At once again: twice as long.
    case.fail(0, 5);
    case.judge();
    case.pass(59);
    assert_eq!(case.states(), "ehh");
    case.pass(1);
    assert_eq!(case.states(), "hhh");
    // After as many good intervals it is as if it had never been.
    (0..3).for_each(|_| case.pass(10));
    case.fail(0, 5);
    case.judge();
    case.pass(30);
    assert_eq!(case.states(), "hhh");
}

#[test]
fn it_looks_again_when_a_state_ends_and_not_before() {
    let mut case = Case::new(3, "{}");
    assert_eq!(case.watched.due, None, "nothing is to come");
    case.fail(0, 5);
    case.judge();
    assert_eq!(case.watched.due, Some(case.now + Duration::from_secs(10)), "the interval");
    case.watched.order("10.0.0.2:80", Some((Order::Drain, case.now + Duration::from_secs(3))));
    case.judge();
    assert_eq!((case.states(), case.watched.due), ("edh".into(), Some(case.now + Duration::from_secs(3))));
    case.pass(3);
    assert_eq!(case.states(), "ehh");
    assert!(!case.watched.order("10.0.0.9:80", None));
}

#[test]
fn no_more_are_ejected_than_may_be() {
    let mut case = Case::new(10, "outlier: {max_share: 20}");
    (0..10).for_each(|at| case.fail(at, 5));
    case.judge();
    assert_eq!(case.states(), "eehhhhhhhh");
    let mut one = Case::new(1, "{}");
    one.fail(0, 100);
    assert_eq!((one.judge(), one.states()), (0, "h".into()));
}

#[test]
fn the_last_one_that_is_otherwise_healthy_is_not_ejected() {
    let mut case = Case::new(3, "{probe: {kind: tcp}, panic_threshold: 0}");
    case.watched.answered(EndpointId(1), Err("refused".to_owned()));
    case.watched.order("10.0.0.2:80", Some((Order::Drain, case.now + Duration::from_mins(1))));
    case.judge();
    case.fail(2, 100);
    case.judge();
    assert_eq!(case.states(), "udh");
}

#[test]
fn an_order_outlives_that_its_endpoint_leaves_and_comes_back() {
    let mut case = Case::new(2, "{}");
    case.watched.order("10.0.0.1:80", Some((Order::Drain, case.now + Duration::from_secs(60))));
    case.judge();
    case.watched.take_over(Arc::default(), case.now);
    case.judge();
    case.add(0);
    assert_eq!(case.states(), "dh");
    case.watched.take_over(Arc::default(), case.now);
    case.judge();
    assert_eq!(case.watched.due, Some(case.now + Duration::from_secs(60)), "also while its endpoint is away");
    assert_eq!(case.watched.end_orders(case.now), []);
    case.add(0);
    case.pass(60);
    assert_eq!(case.states(), "hh");
    assert_eq!(case.watched.end_orders(case.now), [("10.0.0.1:80".into(), Order::Drain)]);
    assert_eq!(case.watched.end_orders(case.now), []);
}

#[test]
fn a_reason_is_the_last_one() {
    let mut case = Case::new(1, "probe: {kind: tcp}");
    for (answer, changed) in [("refused", true), ("refused", false), ("no answer", true)] {
        assert_eq!(case.watched.answered(EndpointId(1), Err(answer.to_owned())), changed);
        case.judge();
        assert_eq!(case.watched.judged[0].verdict.reason, format!("its probes fail: {answer}"));
    }
}

#[test]
fn success_rates_are_those_of_the_interval() {
    let calls = |counters: &StatusCounters, status, times: u32| (0..times).for_each(|_| counters.record_grpc(status));
    let mut case = Case::new(5, "outlier: {consecutive: 0, success_rate_deviation: 1500, max_share: 50}");
    // What was before the interval began counts for nothing.
    for endpoint in &case.endpoints {
        calls(&endpoint.state.statuses, UNAVAILABLE, 1_000);
    }
    case.pass(10);
    for (at, endpoint) in case.endpoints.iter().enumerate() {
        calls(&endpoint.state.statuses, OK, if at == 2 { 60 } else { 99 });
        calls(&endpoint.state.statuses, UNAVAILABLE, if at == 2 { 40 } else { 1 });
    }
    case.pass(9);
    assert_eq!(case.states(), "hhhhh");
    case.pass(1);
    assert_eq!(case.states(), "hhehh");
    let reason = &case.watched.judged[2].verdict.reason;
    assert!(reason.starts_with("60.0 % of its calls succeed, below "), "{reason}");
}

#[test]
fn with_too_few_healthy_ones_all_are_used_but_those_that_are_drained() {
    let mut case = Case::new(4, "probe: {kind: tcp}");
    let answer = |case: &mut Case, at: u32, answer: Result<(), &str>| {
        case.watched.answered(EndpointId(at), answer.map_err(str::to_owned));
        case.judge();
    };
    answer(&mut case, 1, Err("refused"));
    answer(&mut case, 2, Err("refused"));
    assert_eq!((case.states(), case.shares(), case.watched.panic), ("uuhh".into(), vec![0, 0, 1_000, 1_000], false));
    let hour = Duration::from_mins(60);
    case.watched.order("10.0.0.1:80", Some((Order::Drain, case.now + hour)));
    answer(&mut case, 3, Err("refused"));
    assert_eq!((case.states(), case.shares(), case.watched.panic), ("duuh".into(), vec![0, 1_000, 1_000, 1_000], true));
    answer(&mut case, 3, Ok(()));
    assert!(case.watched.panic, "one good answer is not enough");
    answer(&mut case, 3, Ok(()));
    assert_eq!((case.states(), case.shares(), case.watched.panic), ("duhh".into(), vec![0, 0, 1_000, 1_000], false));
}

#[test]
fn new_and_returned_endpoints_start_slowly_and_the_first_ones_at_once() {
    let mut case = Case::new(2, "slow_start: 10s");
    assert_eq!(case.shares(), [1_000, 1_000]);
    case.pass(9);
    case.add(1);
    assert_eq!(case.shares(), [1_000, 1_000, 1_000], "nobody has been there for longer");
    case.pass(1);
    case.add(1);
    assert_eq!(case.shares(), [1_000, 1_000, 1_000, 100]);
    case.pass(5);
    assert_eq!(case.shares(), [1_000, 1_000, 1_000, 600]);
    case.pass(5);
    assert_eq!(case.shares(), [1_000; 4]);
    case.fail(0, 5);
    case.judge();
    case.pass(30);
    assert_eq!(case.shares(), [100, 1_000, 1_000, 1_000]);
}

#[test]
fn other_settings_forget_probes_and_keep_orders() {
    let mut case = Case::new(2, "probe: {kind: tcp}");
    case.watched.answered(EndpointId(1), Err("refused".to_owned()));
    case.watched.order("10.0.0.2:80", Some((Order::Drain, case.now + Duration::from_mins(1))));
    case.judge();
    assert_eq!(case.states(), "ud");
    let health = crate::config::parse("probe: {kind: grpc}", Config::read).unwrap();
    let settings = ServiceSettings { health: Arc::new(health), upstream: Arc::default() };
    assert_eq!(case.watched.resettle(settings), [EndpointId(1), EndpointId(2)]);
    case.judge();
    assert_eq!(case.states(), "hd");
}

#[test]
fn an_ordered_weight_holds_for_its_time_and_judges_nobody() {
    let mut case = Case::new(2, "{}");
    let weights = |case: &Case| case.watched.seen.iter().map(Endpoint::weight).collect::<Vec<_>>();
    let before = case.watched.slot.generation();
    case.watched.order("10.0.0.1:80", Some((Order::Weight(7), case.now + Duration::from_secs(60))));
    case.judge();
    assert_eq!((case.states(), weights(&case)), ("hh".into(), vec![7, 1]));
    assert!(case.watched.slot.generation() > before, "pickers must see it");
    case.fail(0, 5);
    case.judge();
    assert_eq!((case.states(), weights(&case)), ("eh".into(), vec![7, 1]));
    case.pass(60);
    assert_eq!(weights(&case), [1, 1]);
}
