//! The gRPC health service of a server, by tonic.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tonic::codegen::Service;
use tonic::codegen::tokio_stream::Empty;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::behaviour::{Answer, Behaviour};
use super::body::Reply;
use super::received::Received;

/// Whether a request is a call that [`answer`] can take.
pub(super) fn is_call(received: &Received) -> bool {
    received.header("content-type").is_some_and(|value| value.starts_with("application/grpc"))
}

/// Answers a call with tonic; calls of other services get UNIMPLEMENTED from it, as from any server.
pub(super) async fn answer(request: hyper::Request<Full<Bytes>>, behaviour: &Behaviour) -> Reply {
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
