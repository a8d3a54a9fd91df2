//! Leases.

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse, PbLeaseLeasesRequest,
    PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService, PbLeaseStatus,
    PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures_util::stream::try_unfold;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::{Responses, Service};

#[tonic::async_trait]
impl PbLeaseService for Service {
    type LeaseKeepAliveStream = Responses<PbLeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let PbLeaseGrantRequest { id, ttl } = request.into_inner();
        let mut store = self.0.read();
        let (id, ttl) = store.leases.grant(id, ttl, Instant::now())?;
        Ok(Response::new(PbLeaseGrantResponse { header: Some(store.header()), id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let header = self.0.write(|store| store.revoke(request.get_ref().id))?;
        Ok(Response::new(PbLeaseRevokeResponse { header: Some(header) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let requests = (self.clone(), request.into_inner());
        let responses = try_unfold(requests, |(service, mut requests)| async {
            let Some(PbLeaseKeepAliveRequest { id }) = requests.message().await? else { return Ok(None) };
            let response = {
                let mut store = service.0.read();
                // Of a lease that is not there, the answer says that it has no time left.
                let ttl = store.leases.renew(id, Instant::now()).unwrap_or(0);
                PbLeaseKeepAliveResponse { header: Some(store.header()), id, ttl }
            };
            Ok(Some((response, (service, requests))))
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let PbLeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let store = self.0.read();
        let header = Some(store.header());
        let Ok(lease) = store.leases.get(id) else {
            return Ok(Response::new(PbLeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() }));
        };
        Ok(Response::new(PbLeaseTimeToLiveResponse {
            header,
            id,
            ttl: lease.left(Instant::now()),
            granted_ttl: lease.ttl,
            keys: if keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
        }))
    }

    async fn lease_leases(&self, _: Request<PbLeaseLeasesRequest>) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        let store = self.0.read();
        let leases = store.leases.ids().into_iter().map(|id| PbLeaseStatus { id }).collect();
        Ok(Response::new(PbLeaseLeasesResponse { header: Some(store.header()), leases }))
    }
}
