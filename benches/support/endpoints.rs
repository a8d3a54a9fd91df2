//! Endpoints that nobody calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use waypost::registry::Instance;
use waypost::table::{Endpoint, EndpointId, EndpointState, Endpoints};

pub(crate) fn endpoints(count: u32) -> Endpoints {
    let endpoint = |id: u32| {
        let address = format!("10.{}.{}.{}:8080", id >> 16, id >> 8 & 255, id & 255);
        Endpoint {
            id: EndpointId(id),
            label: address.as_str().into(),
            instance: Arc::new(Instance {
                service: "pay".into(),
                id: id.to_string(),
                address: address.parse().expect("an address"),
                weight: id % 7 + 1,
                version: String::new(),
                zone: if id.is_multiple_of(3) { "a" } else { "b" }.to_owned(),
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
    };
    Endpoints::new((0..count).map(endpoint).collect())
}
