//! Real gRPC by tonic: every [`crate::Upstream`] serves `grpc.health.v1.Health`, and [`Health`] asks for it through
//! Envoy. The service is tonic's own, so no protocol compiler is needed.

use std::net::SocketAddr;

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::runtime::wait;
use crate::time::PATIENCE;

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
