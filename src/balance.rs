//! Which endpoint takes a call. A picker belongs to one worker and one service: it never awaits, locks or allocates
//! while it picks.

use crate::table::{Endpoint, Endpoints};

/// What a picker may know of a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<'a> {
    /// Positions, in the endpoints of the last `update`, that this call has already tried.
    pub tried: &'a [u32],
}

/// There is no endpoint to pick: none is there, or all have been tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPick;

/// Picks the endpoint for each call of one service in one worker.
pub trait Picker: Send {
    /// Takes over new endpoints. State is carried over by [`EndpointId`](crate::table::EndpointId).
    fn update(&mut self, endpoints: &Endpoints);

    /// The position, in the endpoints of the last `update`, of the one that takes this call.
    fn pick(&mut self, call: &Call<'_>) -> Result<u32, NoPick>;
}

/// Whether an endpoint may be picked while a better one exists.
fn usable(endpoint: &Endpoint) -> bool {
    endpoint.weight() > 0 && !endpoint.state.is_unreachable()
}
