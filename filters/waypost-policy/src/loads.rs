//! The exchanges under way at all endpoints, without asking for each of them at each call.

use crate::Call;

/// What is known of the exchanges under way. Asking for one endpoint takes some 10 ns, so of many endpoints only some
/// are asked for at a call, in turn.
///
/// ```
/// use waypost_policy::{Call, Endpoint, Loads, Pick, Policy};
///
/// /// Leaves the choice to the native balancer until there is much to do; then the first with room gets the call.
/// #[derive(Default)]
/// struct Fill {
///     loads: Loads,
/// }
///
/// impl Policy for Fill {
///     fn configure(_: &[u8]) -> Result<Self, String> {
///         Ok(Self::default())
///     }
///
///     fn endpoints(&mut self, endpoints: &[Endpoint]) {
///         self.loads = Loads::new(endpoints.len());
///     }
/// }
///
/// impl Pick for Fill {
///     fn pick(&mut self, endpoints: &[Endpoint], call: &Call) -> Option<usize> {
///         self.loads.look(call, 8);
///         if self.loads.total() < 100 {
///             return None;
///         }
///         (0..endpoints.len()).find(|&at| endpoints[at].capacity() > 0 && !call.is_tried(at) && call.in_flight(at) < 50)
///     }
/// }
/// # waypost_policy::policy!(Fill: Pick);
/// # fn main() {}
/// ```
#[derive(Clone, Debug, Default)]
pub struct Loads {
    known: Vec<u32>,
    total: u64,
    /// The one to be asked for next; `None` before all have been asked for.
    next: Option<usize>,
}

impl Loads {
    /// For so many endpoints, of which nothing is known yet.
    #[must_use]
    pub fn new(endpoints: usize) -> Self {
        Self { known: vec![0; endpoints], total: 0, next: None }
    }

    /// Asks for the next endpoints in turn, at most so many. Right after [`Loads::new`], it asks for all.
    pub fn look(&mut self, call: &Call, most: usize) {
        let count = self.known.len();
        let (mut at, most) = self.next.map_or((0, count), |next| (next, most.min(count)));
        for _ in 0..most {
            self.now(call, at);
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        self.next = Some(at);
    }

    /// Asks for one endpoint. 0 for an index that is out of range.
    pub fn now(&mut self, call: &Call, index: usize) -> u32 {
        let Some(known) = self.known.get_mut(index) else { return 0 };
        let load = call.in_flight(index);
        self.total = self.total - u64::from(*known) + u64::from(load);
        *known = load;
        load
    }

    /// The exchanges under way at all endpoints, as far as known.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn endpoints_are_asked_for_in_turn() {
        let call = Call::default();
        let set = |loads: &[u32]| testing::host(|host| host.in_flight = loads.to_vec());
        let mut loads = Loads::new(3);
        set(&[1, 2, 3]);
        loads.look(&call, 1);
        assert_eq!(loads.total(), 6, "at first all");
        set(&[10, 20, 30]);
        for (most, total) in [(1, 15), (1, 33), (2, 60), (9, 60)] {
            loads.look(&call, most);
            assert_eq!(loads.total(), total);
        }
        assert_eq!(loads.now(&call, 7), 0);
        Loads::default().look(&call, 5);
    }
}
