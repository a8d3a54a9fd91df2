//! Keys and values.

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbTxnRequest, PbTxnResponse,
};
use tonic::{Request, Response, Status};

use super::{Responses, Service, check_size};
use crate::embedded::error::Error;
use crate::embedded::store::{check_delete, check_put, check_range, check_txn};

#[tonic::async_trait]
impl PbKvService for Service {
    type RangeStreamStream = Responses<PbRangeStreamResponse>;

    async fn range(&self, request: Request<PbRangeRequest>) -> Result<Response<PbRangeResponse>, Status> {
        check_range(request.get_ref())?;
        Ok(Response::new(self.0.read().range(request.get_ref())?))
    }

    /// Newer than the newest etcd that there is.
    async fn range_stream(&self, _: Request<PbRangeRequest>) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Error::Unsupported.into())
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        let request = request.into_inner();
        check_put(&request)?;
        check_size(&request)?;
        Ok(Response::new(self.0.write(|store| store.put(request))?))
    }

    async fn delete_range(&self, request: Request<PbDeleteRequest>) -> Result<Response<PbDeleteResponse>, Status> {
        let request = request.into_inner();
        check_delete(&request)?;
        Ok(Response::new(self.0.write(|store| store.delete(&request))))
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let request = request.into_inner();
        check_txn(&request)?;
        check_size(&request)?;
        Ok(Response::new(self.0.write(|store| store.txn(request))?))
    }

    async fn compact(&self, request: Request<PbCompactionRequest>) -> Result<Response<PbCompactionResponse>, Status> {
        let header = self.0.write(|store| store.compact(request.get_ref().revision))?;
        Ok(Response::new(PbCompactionResponse { header: Some(header) }))
    }
}
