//! The share of calls that each endpoint should get, by the rules that pickers keep: of those with a weight the ones that
//! can be reached and are healthy, each by its weight where the balancer looks at weights, and by how far its share has
//! grown.

use crate::balance::Balancer;
use crate::table::{Endpoint, EndpointState, Endpoints};

/// The share of each endpoint, in their order; they add up to 1, or are nothing if there is no endpoint.
pub(in crate::admin) fn wanted(endpoints: &Endpoints, balancer: Balancer) -> Vec<f64> {
    let all_zero = endpoints.iter().all(|e| e.weight() == 0);
    let class = |e: &Endpoint| match e {
        e if e.weight() == 0 && !all_zero => 3,
        e if e.state.is_unreachable() => 2,
        e => u8::from(e.state.share() == 0),
    };
    let best = endpoints.iter().map(class).min().unwrap_or(3);
    let parts: Vec<f64> = endpoints
        .iter()
        .map(|e| {
            if best == 3 || class(e) != best {
                return 0.0;
            }
            let grown = match e.state.share() {
                0 => EndpointState::WHOLE,
                share => share,
            };
            let weight = if balancer == Balancer::RoundRobin { 1 } else { e.weight().max(1) };
            f64::from(weight) * f64::from(grown)
        })
        .collect();
    let whole: f64 = parts.iter().sum();
    parts.into_iter().map(|part| if whole > 0.0 { part / whole } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::endpoints;
    use crate::balance::Call;

    /// What a picker really does, over enough calls for every cycle of these weights.
    #[track_caller]
    fn check(weights: &[u32], set: impl Fn(&Endpoints)) {
        let endpoints = endpoints("a", weights);
        set(&endpoints);
        for balancer in [Balancer::RoundRobin, Balancer::Weighted] {
            let mut picker = balancer.picker(1);
            picker.update(&endpoints);
            let calls = 12_000;
            let mut got = vec![0.0; weights.len()];
            for _ in 0..calls {
                got[picker.pick(&Call::default()).unwrap() as usize] += 1.0 / f64::from(calls);
            }
            for (wanted, got) in wanted(&endpoints, balancer).into_iter().zip(&got) {
                assert!((wanted - got).abs() < 0.01, "{balancer} {weights:?}: {wanted} {got:?}");
            }
        }
    }

    #[test]
    fn shares_are_what_pickers_do() {
        check(&[1, 2, 5], |_| {});
        check(&[0, 0], |_| {});
        check(&[0, 3, 1], |_| {});
        check(&[1, 2, 5], |endpoints| _ = endpoints[2].state.mark_unreachable());
        check(&[1, 2, 5], |endpoints| _ = endpoints[1].state.set_share(0));
        check(&[1, 2, 5], |endpoints| endpoints.iter().for_each(|e| _ = e.state.set_share(0)));
        check(&[1, 1, 1], |endpoints| _ = endpoints[0].state.set_share(500));
        assert_eq!(wanted(&Endpoints::default(), Balancer::Random), [0.0; 0]);
    }
}
