//! Users and roles, of which there are none. The client crate leaves this service's stubs incomplete, so it is answered
//! by hand.

use bytes::{BufMut, Bytes, BytesMut};
use etcd_client::proto::PbResponseHeader;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use crate::embedded::error::Error;
use crate::embedded::shared::Shared;

#[derive(Clone, PartialEq, Message)]
struct AuthStatus {
    #[prost(message, optional, tag = "1")]
    header: Option<PbResponseHeader>,
    #[prost(bool, tag = "2")]
    enabled: bool,
    #[prost(uint64, tag = "3")]
    revision: u64,
}

/// Answers a call by its name: nobody can log in, and there is nothing to administrate.
pub(in crate::embedded) fn answer(call: &str, shared: &Shared) -> Response<Body> {
    if call != "AuthStatus" {
        return Status::from(Error::AuthNotEnabled).into_http();
    }
    unary(&AuthStatus { header: Some(shared.read().header()), enabled: false, revision: 1 })
}

/// The whole of a gRPC response.
fn unary(message: &impl Message) -> Response<Body> {
    let mut frame = BytesMut::new();
    let plain = 0;
    frame.put_u8(plain);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::<Bytes>::from(frame.freeze()).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
