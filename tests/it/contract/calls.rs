//! The calls that cases make: short to write, with raw messages as answers and refusals that can be compared.

use std::net::SocketAddr;

use etcd_client::{
    Client, DeleteOptions, Error, GetOptions, PutOptions, Txn, TxnOp,
    proto::{PbDeleteResponse, PbEvent, PbKeyValue, PbPutResponse, PbRangeResponse, PbResponseHeader, PbTxnResponse},
};
use futures_util::stream;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Streaming, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use super::{Lack, Target, revision};

/// What a case stands on: a connection of its own, and a prefix that no other case uses.
#[derive(Clone)]
pub struct Case {
    client: Client,
    channel: Channel,
    prefix: String,
    target: Target,
}

/// An error as clients tell them apart: by code and, as etcd's own do, by message.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused(pub Code, pub String);

/// The errors of etcd that clients know by their text.
pub mod refused {
    use super::{Code, Refused};

    macro_rules! refusals {
        ($($name:ident: $code:ident $text:literal)*) => {
            $(pub fn $name() -> Refused { Refused(Code::$code, $text.to_owned()) })*
        };
    }
    refusals! {
        empty_key: InvalidArgument "etcdserver: key is not provided"
        key_not_found: InvalidArgument "etcdserver: key not found"
        value_provided: InvalidArgument "etcdserver: value is provided"
        lease_provided: InvalidArgument "etcdserver: lease is provided"
        duplicate_key: InvalidArgument "etcdserver: duplicate key given in txn request"
        too_many_operations: InvalidArgument "etcdserver: too many operations in txn request"
        too_large: InvalidArgument "etcdserver: request is too large"
        lease_not_found: NotFound "etcdserver: requested lease not found"
        lease_exists: FailedPrecondition "etcdserver: lease already exists"
        ttl_too_large: OutOfRange "etcdserver: too large lease TTL"
        auth_not_enabled: FailedPrecondition "etcdserver: authentication is not enabled"
        compacted: OutOfRange "etcdserver: mvcc: required revision has been compacted"
        future: OutOfRange "etcdserver: mvcc: required revision is a future revision"
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => Self(status.code(), status.message().to_owned()),
            other => panic!("not an answer of the server: {other:?}"),
        }
    }
}

impl Case {
    /// Connects to the target.
    pub async fn connect(target: &Target, area: &str, name: &str) -> Self {
        let url = format!("http://{}", target.address);
        let client = Client::connect([&url], None).await.unwrap();
        let channel = Channel::from_shared(url).unwrap().connect_lazy();
        Self { client, channel, prefix: format!("{area}/{name}/"), target: target.clone() }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.target.address
    }

    /// Whether the target has not what others have.
    pub fn lacks(&self, lack: Lack) -> bool {
        self.target.lacks.contains(&lack)
    }

    /// The client, for what has no short form here.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A key of this case.
    pub fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [self.prefix.as_bytes(), name.as_ref()].concat()
    }

    /// The end of this case's keys.
    pub fn end(&self) -> Vec<u8> {
        self.key("\u{10ffff}")
    }

    /// A key as this case calls it; others' keys in full.
    pub fn name(&self, key: &[u8]) -> String {
        key.strip_prefix(self.prefix.as_bytes()).unwrap_or(key).escape_ascii().to_string()
    }

    /// One key, or the range of keys: `a`, `a..c`.
    pub fn span(&self, key: &[u8], end: &[u8]) -> String {
        if end.is_empty() { self.name(key) } else { format!("{}..{}", self.name(key), self.name(end)) }
    }

    /// The names of those keys that are this case's, in their order: `a b c`.
    pub fn names(&self, kvs: &[PbKeyValue]) -> String {
        let own = kvs.iter().filter(|kv| kv.key.starts_with(self.prefix.as_bytes()));
        own.map(|kv| self.name(&kv.key)).collect::<Vec<_>>().join(" ")
    }

    /// Keys with their values: `a=1 b=2`.
    pub fn pairs(&self, kvs: &[PbKeyValue]) -> String {
        let pairs = kvs.iter().map(|kv| format!("{}={}", self.name(&kv.key), kv.value.escape_ascii()));
        pairs.collect::<Vec<_>>().join(" ")
    }

    /// What events tell, in their order: `a=1 -a` for a put and a delete.
    pub fn told(&self, events: &[PbEvent]) -> String {
        let told = events.iter().map(|event| {
            let kv = event.kv.as_ref().expect("an event has a key");
            match event.r#type {
                0 => self.pairs(std::slice::from_ref(kv)),
                1 => format!("-{}", self.name(&kv.key)),
                other => panic!("an event of type {other}"),
            }
        });
        told.collect::<Vec<_>>().join(" ")
    }

    /// Puts a key, and returns the revision.
    pub async fn put(&self, name: &str, value: &str) -> i64 {
        revision(&self.try_put(name, value, PutOptions::new()).await.unwrap().header)
    }

    pub async fn put_leased(&self, name: &str, value: &str, lease: i64) -> i64 {
        revision(&self.try_put(name, value, PutOptions::new().with_lease(lease)).await.unwrap().header)
    }

    pub async fn try_put(
        &self,
        name: &str,
        value: impl Into<Vec<u8>>,
        options: PutOptions,
    ) -> Result<PbPutResponse, Refused> {
        Ok(self.client().put(self.key(name), value, Some(options)).await?.0)
    }

    /// The key as it is now.
    pub async fn get(&self, name: &str) -> Option<PbKeyValue> {
        self.range(self.key(name), GetOptions::new()).await.unwrap().kvs.pop()
    }

    /// All keys of this case.
    pub async fn all(&self, options: GetOptions) -> Result<PbRangeResponse, Refused> {
        self.range(self.key(""), options.with_prefix()).await
    }

    pub async fn range(&self, key: impl Into<Vec<u8>>, options: GetOptions) -> Result<PbRangeResponse, Refused> {
        Ok(self.client().get(key, Some(options)).await?.0)
    }

    /// Deletes one key, and returns the revision.
    pub async fn delete(&self, name: &str) -> i64 {
        revision(&self.delete_range(self.key(name), DeleteOptions::new()).await.unwrap().header)
    }

    pub async fn delete_range(
        &self,
        key: impl Into<Vec<u8>>,
        options: DeleteOptions,
    ) -> Result<PbDeleteResponse, Refused> {
        Ok(self.client().delete(key, Some(options)).await?.0)
    }

    pub async fn txn(&self, txn: Txn) -> Result<PbTxnResponse, Refused> {
        Ok(self.client().txn(txn).await?.0)
    }

    /// Puts several keys in one revision, and returns it.
    pub async fn put_together(&self, puts: &[(&str, &str)]) -> i64 {
        let puts: Vec<_> = puts.iter().map(|(name, value)| TxnOp::put(self.key(name), *value, None)).collect();
        revision(&self.txn(Txn::new().and_then(puts)).await.unwrap().header)
    }

    /// What every answer begins with now.
    pub async fn header(&self) -> PbResponseHeader {
        self.range(self.key(""), GetOptions::new()).await.unwrap().header.expect("a header")
    }

    /// The revision of the store now.
    pub async fn revision(&self) -> i64 {
        self.header().await.revision
    }

    /// Grants a lease with an id of the server's choice, and returns it.
    pub async fn grant(&self, ttl: i64) -> i64 {
        self.client().lease_grant(ttl, None).await.unwrap().id()
    }

    /// Makes a call that etcd-client does not know, by its path.
    pub async fn call<I, O>(&self, path: &'static str, request: I) -> Result<O, Refused>
    where
        I: Message + 'static,
        O: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.expect("a connection");
        let codec = ProstCodec::<I, O>::default();
        let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
        answer.map(Response::into_inner).map_err(|status| Error::from(status).into())
    }

    /// Opens a stream that etcd-client does not offer as it is, by its path, with what `requests` takes.
    pub async fn stream<I, O>(&self, path: &'static str, requests: mpsc::Receiver<I>) -> Result<Streaming<O>, Refused>
    where
        I: Message + 'static,
        O: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.expect("a connection");
        let requests = stream::unfold(requests, async |mut requests| Some((requests.recv().await?, requests)));
        let codec = ProstCodec::<I, O>::default();
        let answer = grpc.streaming(Request::new(requests), PathAndQuery::from_static(path), codec).await;
        answer.map(Response::into_inner).map_err(|status| Error::from(status).into())
    }
}
