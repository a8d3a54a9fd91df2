//! What all pickers keep, and what each promises, counted exactly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::registry::Instance;
use crate::table::{Endpoint, EndpointId, EndpointState};

fn endpoint(id: u32, weight: u32) -> Endpoint {
    let address = format!("10.0.{}.{}:80", id / 256, id % 256);
    Endpoint {
        id: EndpointId(id),
        label: address.as_str().into(),
        instance: Arc::new(Instance {
            service: "pay".into(),
            id: id.to_string(),
            address: address.parse().unwrap(),
            weight,
            version: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            protocol: None,
            tls: None,
            metadata: BTreeMap::new(),
        }),
        lease: 0,
        revision: 0,
        doubted: false,
        state: Arc::new(EndpointState::default()),
    }
}

fn endpoints(list: &[(u32, u32)]) -> Endpoints {
    Endpoints::new(list.iter().map(|(id, weight)| endpoint(*id, *weight)).collect())
}

/// A picker with its endpoints, so that picks can be told by id.
struct Bench {
    picker: Box<dyn Picker>,
    endpoints: Endpoints,
}

impl Bench {
    fn new(balancer: Balancer, seed: u64, list: &[(u32, u32)]) -> Self {
        let mut bench = Bench { picker: balancer.picker(seed), endpoints: Endpoints::default() };
        bench.update(endpoints(list));
        bench
    }

    fn update(&mut self, endpoints: Endpoints) {
        self.picker.update(&endpoints);
        self.endpoints = endpoints;
    }

    fn pick(&mut self) -> u32 {
        self.pick_but(&[]).unwrap()
    }

    /// Picks an endpoint that is none of those.
    fn pick_but(&mut self, tried: &[u32]) -> Result<u32, NoPick> {
        let tried: Vec<u32> =
            self.endpoints.iter().zip(0..).filter(|(e, _)| tried.contains(&e.id.0)).map(|(_, at)| at).collect();
        let position = self.picker.pick(&Call { tried: &tried, ..Call::default() })?;
        assert!(!tried.contains(&position));
        Ok(self.endpoints[position as usize].id.0)
    }

    fn picks(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.pick()).collect()
    }
}

fn counts(picks: &[u32]) -> BTreeMap<u32, u32> {
    let mut counts = BTreeMap::new();
    for id in picks {
        *counts.entry(*id).or_default() += 1;
    }
    counts
}

fn all() -> impl Iterator<Item = Balancer> {
    Balancer::ALL.iter().map(|(_, balancer)| *balancer)
}

#[test]
fn each_balancer_has_a_name_of_its_own() {
    let names: Vec<_> = Balancer::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["round_robin", "weighted", "random", "least_request"]);
    let balancers: std::collections::HashSet<_> = all().collect();
    assert_eq!(balancers.len(), names.len());
}

#[test]
fn without_endpoints_there_is_no_pick() {
    for balancer in all() {
        let mut bench = Bench::new(balancer, 1, &[]);
        assert_eq!(bench.pick_but(&[]), Err(NoPick));
        bench.update(endpoints(&[(1, 1)]));
        assert_eq!((bench.pick(), bench.pick_but(&[1])), (1, Err(NoPick)));
        bench.update(Endpoints::default());
        assert_eq!(bench.pick_but(&[]), Err(NoPick));
    }
}

#[test]
fn weight_zero_takes_no_calls_unless_all_are_zero() {
    for balancer in all() {
        let mut bench = Bench::new(balancer, 1, &[(1, 0), (2, 3), (3, 3)]);
        assert_eq!(counts(&bench.picks(500)).into_keys().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(bench.pick_but(&[2, 3]), Err(NoPick), "{balancer:?}: not even for a call that tried the others");

        bench.update(endpoints(&[(1, 0), (2, 0), (3, 0), (4, 0)]));
        let counts = counts(&bench.picks(4000));
        match balancer {
            Balancer::RoundRobin | Balancer::Weighted => assert!(counts.values().all(|n| *n == 1000)),
            _ => assert!(counts.len() == 4 && counts.values().all(|n| (900..1100).contains(n)), "{counts:?}"),
        }
    }
}

#[test]
fn unhealthy_endpoints_come_before_unreachable_ones_and_after_all_others() {
    for (_, balancer) in Balancer::ALL {
        let list = endpoints(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        list[1].state.set_share(0);
        list[2].state.mark_unreachable();
        let mut bench = Bench { picker: balancer.picker(7), endpoints: Endpoints::default() };
        bench.update(list);
        for _ in 0..20 {
            assert!([1, 4].contains(&bench.pick()), "{balancer:?}");
            assert_eq!(bench.pick_but(&[1, 4]), Ok(2), "{balancer:?}");
            assert_eq!(bench.pick_but(&[1, 4, 2]), Ok(3), "{balancer:?}");
            assert_eq!(bench.pick_but(&[1, 2, 3, 4]), Err(NoPick), "{balancer:?}");
        }
    }
}

#[test]
fn a_growing_share_is_a_part_of_the_whole() {
    for (_, balancer) in Balancer::ALL {
        let list = endpoints(&[(1, 2), (2, 2), (3, 2)]);
        list[2].state.set_share(100);
        let mut bench = Bench { picker: balancer.picker(7), endpoints: Endpoints::default() };
        bench.update(list);
        let picks = (0..2_100).filter(|_| bench.pick() == 3).count();
        // 100 of 2,100 calls; by chance, or by what is under way, not exactly.
        let about = if [Balancer::RoundRobin, Balancer::Weighted].contains(balancer) { 99..=101 } else { 60..=140 };
        assert!(about.contains(&picks), "{balancer:?}: {picks}");
        // When all grow alike, they are equal.
        bench.endpoints.iter().for_each(|e| assert!(e.state.set_share(300)));
        let endpoints = Endpoints::new(bench.endpoints.iter().cloned().collect());
        bench.update(endpoints);
        let picks = (0..300).filter(|_| bench.pick() == 3).count();
        assert!((70..=130).contains(&picks), "{balancer:?}: {picks}");
    }
}

#[test]
fn unreachable_endpoints_come_last() {
    for balancer in all() {
        let list = endpoints(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 0)]);
        list[1].state.mark_unreachable();
        list[2].state.mark_unreachable();
        list[4].state.mark_unreachable();
        let mut bench = Bench::new(balancer, 1, &[]);
        bench.update(list);
        assert_eq!(counts(&bench.picks(500)).into_keys().collect::<Vec<_>>(), [1, 4], "{balancer:?}");
        assert_eq!(bench.pick_but(&[1]), Ok(4));
        let spare: Vec<u32> = (0..4).map(|_| bench.pick_but(&[1, 4]).unwrap()).collect();
        assert_eq!(counts(&spare), [(2, 2), (3, 2)].into(), "{balancer:?}: both in turn");
        assert_eq!(bench.pick_but(&[1, 4, 2]), Ok(3));
        assert_eq!(bench.pick_but(&[1, 4, 2, 3]), Err(NoPick));

        let list = endpoints(&[(1, 1), (2, 1)]);
        list.iter().for_each(|e| assert!(e.state.mark_unreachable()));
        bench.update(list);
        assert_eq!(counts(&bench.picks(100)).len(), 2, "{balancer:?}: better than none");
        assert_eq!(bench.pick_but(&[2]), Ok(1));
    }
}

#[test]
fn a_call_tries_every_endpoint_once() {
    for balancer in all() {
        let mut bench = Bench::new(balancer, 3, &[(1, 1), (2, 7), (3, 2), (4, 1), (5, 100)]);
        for _ in 0..100 {
            let mut tried = Vec::new();
            while let Ok(id) = bench.pick_but(&tried) {
                tried.push(id);
            }
            assert_eq!(tried.len(), 5);
        }
    }
}

/// Random changes and calls, held against the rules alone.
#[test]
fn no_sequence_of_changes_breaks_the_rules() {
    for (balancer, seed) in all().flat_map(|balancer| (0..20).map(move |seed| (balancer, seed))) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::new(balancer, seed, &[]);
        for step in 0..500 {
            let list: Vec<_> = (0..12).map(|id| (id, random.u32(..4))).collect();
            let list: Vec<_> = list.into_iter().filter(|_| random.bool()).collect();
            let list = endpoints(&list);
            list.iter().filter(|_| random.u8(..4) == 0).for_each(|e| assert!(e.state.mark_unreachable()));
            list.iter().for_each(|e| e.state.in_flight.store(random.u32(..9), Ordering::Relaxed));
            bench.update(list);
            for _ in 0..random.usize(..20) {
                let tried: Vec<u32> = (0..12).filter(|_| random.u8(..3) == 0).collect();
                let all_zero = bench.endpoints.iter().all(|e| e.weight() == 0);
                let left = |unreachable: bool| {
                    let left = |e: &&Endpoint| {
                        (all_zero || e.weight() > 0)
                            && e.state.is_unreachable() == unreachable
                            && !tried.contains(&e.id.0)
                    };
                    bench.endpoints.iter().filter(left).map(|e| e.id.0).collect::<Vec<_>>()
                };
                let allowed = if left(false).is_empty() { left(true) } else { left(false) };
                match bench.pick_but(&tried) {
                    Ok(id) => assert!(allowed.contains(&id), "{balancer:?}, seed {seed}, step {step}"),
                    Err(NoPick) => assert!(allowed.is_empty(), "{balancer:?}, seed {seed}, step {step}"),
                }
            }
        }
    }
}

#[test]
fn workers_start_at_different_places() {
    for balancer in all() {
        let list: Vec<_> = (0..8).map(|id| (id, 1)).collect();
        let first: Vec<_> = (0..100).map(|seed| Bench::new(balancer, seed, &list).pick()).collect();
        assert_eq!(counts(&first).len(), 8, "{balancer:?}: {first:?}");
    }
}

#[test]
fn round_robin_gives_each_its_turn() {
    for seed in 0..10 {
        let mut bench = Bench::new(Balancer::RoundRobin, seed, &[(1, 1), (2, 9), (3, 5)]);
        assert_eq!(counts(&bench.picks(9000)), [(1, 3000), (2, 3000), (3, 3000)].into());
        let picks = bench.picks(7);
        assert!(picks.windows(2).all(|w| w[1] == w[0] % 3 + 1));
    }
}

#[test]
fn round_robin_goes_on_where_it_was() {
    let mut bench = Bench::new(Balancer::RoundRobin, 0, &[(1, 1), (3, 1), (5, 1), (7, 1)]);
    while bench.pick() != 3 {}
    bench.update(endpoints(&[(1, 1), (3, 2), (5, 1), (7, 1)]));
    assert_eq!(bench.picks(2), [5, 7], "a weight changed");
    bench.update(endpoints(&[(1, 1), (3, 1), (5, 1)]));
    assert_eq!(bench.picks(2), [1, 3], "the last one left");
    bench.update(endpoints(&[(1, 1), (4, 1), (5, 1), (9, 1)]));
    assert_eq!(bench.picks(3), [4, 5, 9], "others came");
    let list = endpoints(&[(1, 1), (4, 1), (5, 1), (9, 1)]);
    let state = list[1].state.clone();
    state.mark_unreachable();
    bench.update(list);
    assert_eq!(bench.picks(2), [1, 5], "one cannot be reached");
    state.mark_reachable();
    bench.update(endpoints(&[(1, 1), (4, 1), (5, 1), (9, 1)]));
    assert_eq!(bench.picks(5), [9, 1, 4, 5, 9], "and can again");
}

/// Checks every stretch of one cycle within three, and that each endpoint's picks are spread.
#[track_caller]
fn check_cycles(seed: u64, weights: &[u32]) {
    let list: Vec<_> = (0..).zip(weights.iter().copied()).collect();
    let cycle = weights.iter().sum::<u32>() as usize;
    let mut bench = Bench::new(Balancer::Weighted, seed, &list);
    let picks = bench.picks(3 * cycle);
    let expected: BTreeMap<u32, u32> = list.iter().copied().collect();
    let mut counted = counts(&picks[..cycle]);
    assert_eq!(counted, expected);
    for (left, came) in picks.iter().zip(&picks[cycle..]) {
        *counted.get_mut(left).unwrap() -= 1;
        *counted.get_mut(came).unwrap() += 1;
        assert_eq!(counted, expected, "weights {weights:?}, seed {seed}");
    }
    for (id, weight) in list {
        let at: Vec<usize> = (0..picks.len()).filter(|at| picks[*at] == id).collect();
        let longest: u32 = weights.iter().map(|other| other.div_ceil(weight)).sum();
        assert!(at.windows(2).all(|w| w[1] - w[0] <= longest as usize), "weights {weights:?}, seed {seed}, {id}");
    }
}

#[test]
fn weights_are_exact_over_every_cycle() {
    for seed in 0..20 {
        for weights in [&[1, 2, 5][..], &[1], &[1, 1, 1], &[7, 7], &[100, 1], &[3, 5, 7, 11, 13], &[999, 1000, 1]] {
            check_cycles(seed, weights);
        }
    }
    check_cycles(0, &[65_535, 1]);
    check_cycles(1, &[65_535, 40_000, 7]);
    check_cycles(2, &(1..=64).collect::<Vec<_>>());
}

#[test]
fn the_greatest_weights_work() {
    for seed in 0..20 {
        let mut bench = Bench::new(Balancer::Weighted, seed, &[(1, u32::MAX), (2, u32::MAX), (3, u32::MAX / 2)]);
        assert_eq!(counts(&bench.picks(5000)).into_values().max(), Some(2000));
        bench.update(endpoints(&[(1, 1), (2, u32::MAX), (3, u32::MAX)]));
        let counts = counts(&bench.picks(1000));
        assert!(counts[&2] >= 499 && counts[&3] >= 499, "{counts:?}");
    }
}

#[test]
fn the_heavy_are_interleaved_with_the_light() {
    let mut bench = Bench::new(Balancer::Weighted, 0, &[(1, 1), (2, 2), (5, 5)]);
    let picks = bench.picks(16);
    let cycle = [5, 2, 5, 1, 5, 5, 2, 5];
    let other = [5, 2, 5, 5, 1, 5, 2, 5];
    let is_turned = |cycle: [u32; 8]| (0..8).any(|by| (0..16).all(|at| picks[at] == cycle[(at + by) % 8]));
    assert!(is_turned(cycle) || is_turned(other), "{picks:?}");
}

/// Runs while `change` alters other endpoints than 1 and 2, and checks that between a pick of 1 and the third after it,
/// 2 is picked exactly five times.
fn check_undisturbed(seed: u64, mut change: impl FnMut(&mut fastrand::Rng, &mut Vec<Endpoint>)) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::new(Balancer::Weighted, seed, &[(1, 3), (2, 5), (4, 4)]);
    let mut others: Vec<Endpoint> = vec![endpoint(4, 4)];
    let mut picks = Vec::new();
    while picks.len() < 5000 {
        picks.push(bench.pick());
        if random.u8(..3) == 0 {
            change(&mut random, &mut others);
            bench.update(Endpoints::new([endpoint(1, 3), endpoint(2, 5)].into_iter().chain(others.clone()).collect()));
        }
    }
    let firsts: Vec<usize> = (0..picks.len()).filter(|at| picks[*at] == 1).collect();
    assert!(firsts.len() > 50);
    for window in firsts.windows(4) {
        let between = &picks[window[0]..window[3]];
        assert_eq!(counts(between)[&2], 5, "seed {seed}");
    }
}

#[test]
fn a_changing_weight_does_not_disturb_the_others() {
    for seed in 0..50 {
        check_undisturbed(seed, |random, others| *others = vec![endpoint(4, random.u32(..50))]);
        // The id below both, so that the order of coinciding turns would show.
        check_undisturbed(seed, |random, others| *others = vec![endpoint(0, random.u32(..50))]);
    }
}

#[test]
fn those_that_come_and_go_do_not_disturb_the_others() {
    for seed in 0..50 {
        check_undisturbed(seed, |random, others| {
            others.retain(|_| random.u8(..4) > 0);
            let id = random.u32(3..20);
            if others.iter().all(|e| e.id.0 != id) {
                others.push(endpoint(id, random.u32(1..4)));
            }
            let any = random.usize(..others.len());
            if random.bool() {
                others[any].state.mark_unreachable();
            } else {
                others[any].state.mark_reachable();
            }
        });
    }
}

#[test]
fn changing_weights_add_up_to_their_share() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::new(Balancer::Weighted, seed, &[(1, 100), (2, 1)]);
        let (mut weight, mut due, mut got) = (1, 0, 0);
        for _ in 0..5000 {
            if random.u8(..10) == 0 {
                weight = random.u32(1..4);
                bench.update(endpoints(&[(1, 100), (2, weight)]));
            }
            // A pick of 1 is a hundredth of a cycle, so it brings 2 closer to its turn by a hundredth of its weight
            // (a change between the two is counted a little early or late).
            match bench.pick() {
                1 => due += weight,
                _ => got += 100,
            }
            assert!(got < due + 120 && due < got + 120, "seed {seed}: {due} due, {got} got");
        }
    }
}

#[test]
fn a_raised_weight_acts_at_once_and_without_a_burst() {
    for seed in 0..20 {
        let mut bench = Bench::new(Balancer::Weighted, seed, &[(1, 100), (2, 1)]);
        bench.picks(seed as usize * 7);
        bench.update(endpoints(&[(1, 100), (2, 100)]));
        let picks = bench.picks(20);
        assert!((9..=11).contains(&counts(&picks)[&2]), "{picks:?}");
        bench.update(endpoints(&[(1, 100), (2, 1)]));
        assert!(counts(&bench.picks(90)).get(&2).copied().unwrap_or(0) <= 1);
    }
}

#[test]
fn random_draws_by_weight() {
    let mut bench = Bench::new(Balancer::Random, 1, &[(1, 1), (2, 2), (5, 5)]);
    let counts = counts(&bench.picks(8000));
    for (id, count) in counts {
        assert!(count.abs_diff(id * 1000) < 150, "{id}: {count}");
    }
}

#[test]
fn of_two_the_less_loaded_is_taken() {
    for (a, b, picked) in [
        ((1, 3), (1, 2), 2),
        ((1, 0), (1, 1), 1),
        ((10, 10), (1, 2), 1),
        ((10, 20), (1, 0), 2),
        ((2, 4), (1, 2), 1),
        ((u32::MAX, u32::MAX), (u32::MAX, 1), 2),
    ] {
        let list = endpoints(&[(1, a.0), (2, b.0)]);
        list[0].state.in_flight.store(a.1, Ordering::Relaxed);
        list[1].state.in_flight.store(b.1, Ordering::Relaxed);
        let mut bench = Bench::new(Balancer::LeastRequest, 1, &[]);
        bench.update(list);
        assert!(bench.picks(50).iter().all(|id| *id == picked), "{a:?} or {b:?}");
    }
}

#[test]
fn load_that_stays_spreads_by_weight() {
    for seed in 0..10 {
        let mut bench = Bench::new(Balancer::LeastRequest, seed, &[(1, 1), (2, 2), (5, 5), (8, 8)]);
        for _ in 0..16_000 {
            let id = bench.pick();
            bench.endpoints.get(EndpointId(id)).unwrap().state.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        for e in bench.endpoints.iter() {
            let load = e.state.in_flight.load(Ordering::Relaxed);
            assert!(load.abs_diff(e.weight() * 1000) < 30, "{} of weight {}", load, e.weight());
        }
        // Nothing under way: by weight, too.
        bench.endpoints.iter().for_each(|e| e.state.in_flight.store(0, Ordering::Relaxed));
        let counts = counts(&bench.picks(16_000));
        assert!(counts.into_iter().all(|(id, n)| n.abs_diff(id * 1000) < 600));
    }
}
