//! Real gRPC by tonic: every [`crate::Upstream`] serves `grpc.health.v1.Health`, and [`Health`] asks for it through
//! Envoy. The service is tonic's own, so no protocol compiler is needed.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tonic::codegen::Service;
use tonic::codegen::tokio_stream::Empty;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::runtime::wait;
use crate::time::PATIENCE;
use crate::upstream::{Answer, Behaviour, Received};

/// A client of the health service.
#[derive(Clone, Debug)]
pub struct Health {
    address: SocketAddr,
}

/// A health check's answer.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Whether the service says that it serves.
    pub serving: bool,
    /// The metadata: response headers on success, headers or trailers of a failure.
    pub metadata: MetadataMap,
}

impl Checked {
    /// A metadata value as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.metadata.get(name)?.to_str().ok().map(str::to_owned)
    }
}

impl Health {
    /// A client that speaks h2c with this address, such as Envoy's listener.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// One unary check with this metadata, on a connection of its own. Envoy needs an HTTP/2 cluster behind it.
    pub fn check(&self, headers: &[(&str, &str)]) -> Result<Checked, Box<Status>> {
        let mut request = Request::new(HealthCheckRequest { service: String::new() });
        for (name, value) in headers {
            let name: AsciiMetadataKey = name.parse().expect("metadata names are header names");
            let value: AsciiMetadataValue = value.parse().expect("metadata values are visible ASCII");
            request.metadata_mut().append(name, value);
        }
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.address)).expect("an address makes a URI");
        wait(async move {
            let channel = endpoint.timeout(PATIENCE).connect().await;
            let channel = channel.map_err(|error| Box::new(Status::from_error(Box::new(error))))?;
            let (metadata, answer, _) =
                HealthClient::new(channel).check(request).await.map_err(Box::new)?.into_parts();
            Ok(Checked { serving: answer.status() == ServingStatus::Serving, metadata })
        })
    }
}

/// Whether a request is a call that [`answer`] can take.
pub(crate) fn is_call(received: &Received) -> bool {
    received.header("content-type").is_some_and(|value| value.starts_with("application/grpc"))
}

/// Answers a call with tonic; calls of other services get UNIMPLEMENTED from it, as from any server.
pub(crate) async fn answer(
    request: hyper::Request<Full<Bytes>>,
    behaviour: &Behaviour,
) -> crate::upstream::Reply {
    let code = match behaviour.answer {
        Answer::Grpc(code) => Code::from_i32(i32::from(code)),
        _ => Code::Ok,
    };
    let Ok(reply) = HealthServer::new(Fixed(code)).call(request).await;
    reply.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// A health service with one answer to everything.
struct Fixed(Code);

impl Fixed {
    fn outcome(&self) -> Result<(), Status> {
        match self.0 {
            Code::Ok => Ok(()),
            code => Err(Status::new(code, "")),
        }
    }
}

#[tonic::async_trait]
impl HealthService for Fixed {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.outcome()?;
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.outcome()?;
        Err(Status::unimplemented("watch"))
    }
}
