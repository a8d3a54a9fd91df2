//! A cluster of one, and its maintenance. What needs a second member or a disk is refused.

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbClusterService, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse, PbMaintenanceService,
    PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest, PbMemberListResponse,
    PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest, PbMemberRemoveResponse,
    PbMemberUpdateRequest, PbMemberUpdateResponse, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest,
    PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
};
use tonic::{Request, Response, Status};

use super::{Responses, Service};
use crate::embedded::error::Error;
use crate::embedded::{NAME, VERSION};

#[tonic::async_trait]
impl PbClusterService for Service {
    async fn member_list(&self, _: Request<PbMemberListRequest>) -> Result<Response<PbMemberListResponse>, Status> {
        let store = self.0.read();
        let member = PbMember {
            id: store.member(),
            name: NAME.to_owned(),
            client_ur_ls: vec![self.0.url.clone()],
            // It has no peers, but an address for them is what every member has.
            peer_ur_ls: vec![self.0.url.clone()],
            is_learner: false,
        };
        // What is about members knows no revision.
        Ok(Response::new(PbMemberListResponse { header: Some(store.header_at(0)), members: vec![member] }))
    }

    async fn member_add(&self, _: Request<PbMemberAddRequest>) -> Result<Response<PbMemberAddResponse>, Status> {
        Err(Error::Unsupported.into())
    }

    async fn member_remove(
        &self,
        _: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        Err(Error::Unsupported.into())
    }

    async fn member_update(
        &self,
        _: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        Err(Error::Unsupported.into())
    }

    async fn member_promote(
        &self,
        _: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        Err(Error::Unsupported.into())
    }
}

#[tonic::async_trait]
impl PbMaintenanceService for Service {
    type SnapshotStream = Responses<PbSnapshotResponse>;

    /// There are no alarms to read, raise or end.
    async fn alarm(&self, _: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        Ok(Response::new(PbAlarmResponse { header: Some(self.0.read().header()), alarms: Vec::new() }))
    }

    async fn status(&self, _: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        let store = self.0.read();
        let header = store.header();
        let size = i64::try_from(store.bytes()).unwrap_or(i64::MAX);
        let index = header.revision.unsigned_abs();
        Ok(Response::new(PbStatusResponse {
            version: VERSION.to_owned(),
            db_size: size,
            db_size_in_use: size,
            leader: header.member_id,
            raft_index: index,
            raft_applied_index: index,
            raft_term: header.raft_term,
            header: Some(header),
            ..PbStatusResponse::default()
        }))
    }

    /// Nothing is ever fragmented here.
    async fn defragment(&self, _: Request<PbDefragmentRequest>) -> Result<Response<PbDefragmentResponse>, Status> {
        Ok(Response::new(PbDefragmentResponse { header: Some(self.0.read().header()) }))
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        let store = self.0.read();
        let hash = store.hash(0)?;
        Ok(Response::new(PbHashResponse { header: Some(store.header()), hash }))
    }

    async fn hash_kv(&self, request: Request<PbHashKvRequest>) -> Result<Response<PbHashKvResponse>, Status> {
        let store = self.0.read();
        let asked = request.get_ref().revision;
        Ok(Response::new(PbHashKvResponse {
            hash: store.hash(asked)?,
            compact_revision: store.compacted(),
            hash_revision: if asked > 0 { asked } else { store.revision() },
            header: Some(store.header()),
        }))
    }

    async fn snapshot(&self, _: Request<PbSnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Error::Unsupported.into())
    }

    async fn move_leader(&self, _: Request<PbMoveLeaderRequest>) -> Result<Response<PbMoveLeaderResponse>, Status> {
        Err(Error::BadTransferee.into())
    }

    async fn downgrade(&self, _: Request<PbDowngradeRequest>) -> Result<Response<PbDowngradeResponse>, Status> {
        Err(Error::Unsupported.into())
    }
}
