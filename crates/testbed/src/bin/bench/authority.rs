//! An external decision service: Envoy's `ext_authz` asks it over gRPC for every request, and it sets the headers that the filter
//! would set. It decides with the same core, so what is measured is the way to a service and back.
//!
//! Only the few fields that it needs of Envoy's messages are here (`envoy/service/auth/v3/external_auth.proto`); a reader of
//! protobuf skips the others.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::TcpListener;
use std::rc::Rc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prost::Message;
use rollout_core::{Edit, Plan, Time, compile, decide, request_edits};

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "4")]
    request: Option<Of>,
}

#[derive(Clone, PartialEq, Message)]
struct Of {
    #[prost(message, optional, tag = "2")]
    http: Option<Http>,
}

#[derive(Clone, PartialEq, Message)]
struct Http {
    /// Pseudo headers included.
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    /// The status of the decision: OK, which is what an empty one says.
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(message, optional, tag = "3")]
    ok: Option<Changes>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {}

#[derive(Clone, PartialEq, Message)]
struct Changes {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Change>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Change {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    /// `OVERWRITE_IF_EXISTS_OR_ADD`.
    #[prost(int32, tag = "3")]
    append_action: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

const OVERWRITE: i32 = 2;

/// Starts the service on a thread of its own, for as long as the process lives; returns its port.
pub(crate) fn serve(document: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("a listener has an address").port();
    let document = document.to_owned();
    thread::spawn(move || {
        let plan = compile(document.as_bytes()).expect("the document has no problems").plan;
        listener.set_nonblocking(true).expect("a listener has the option");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime.expect("a runtime needs an epoll"), accept(listener, Rc::new(plan)));
    });
    port
}

async fn accept(listener: TcpListener, plan: Rc<Plan>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener can wait");
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let plan = Rc::clone(&plan);
        tokio::task::spawn_local(async move {
            let service = hyper::service::service_fn(move |request| answer(request, Rc::clone(&plan)));
            let connection = hyper::server::conn::http2::Builder::new(Local);
            // It ends with Envoy.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Runs the streams of a connection on its own thread.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            let _ = future.await;
        });
    }
}

/// Before each message: whether it is compressed, and its length in four bytes.
const PREFIX: usize = 5;

type Answer = Response<WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>>;

async fn answer(request: Request<Incoming>, plan: Rc<Plan>) -> Result<Answer, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let asked = CheckRequest::decode(body.get(PREFIX..).unwrap_or_default()).unwrap_or_default();
    let http = asked.attributes.and_then(|of| of.request).and_then(|of| of.http).unwrap_or_default();
    let reply = check(&plan, &http.headers);

    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(u32::try_from(reply.encoded_len()).unwrap_or(u32::MAX));
    reply.encode(&mut message).expect("memory has room");
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    let body = Full::new(message.freeze()).with_trailers(ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// What the filter would do to the headers, as a service says it.
fn check(plan: &Plan, headers: &HashMap<String, String>) -> CheckResponse {
    // Pseudo headers first, as Envoy shows them to a filter.
    let (first, rest): (Vec<_>, Vec<_>) = headers.iter().partition(|(name, _)| name.starts_with(':'));
    let lines = first.into_iter().chain(rest).map(|(name, value)| (name.as_str(), value.as_bytes()));
    let request = plan.request(lines, None);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let decision = decide(plan, &request, Time::from_seconds(now.as_secs()));
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for edit in request_edits(decision.as_ref(), &request) {
        match edit {
            Edit::Remove(name) => removed.push(name.to_owned()),
            Edit::Add(name, value) | Edit::Set(name, value) => set.push(Change {
                header: Some(Header {
                    key: name.to_owned(),
                    value: String::from_utf8_lossy(&value).into_owned(),
                }),
                append_action: OVERWRITE,
            }),
        }
    }
    // Envoy removes after it has set.
    removed.retain(|name| set.iter().all(|change| change.header.as_ref().is_none_or(|of| of.key != *name)));
    CheckResponse { status: Some(Status {}), ok: Some(Changes { headers: set, headers_to_remove: removed }) }
}
