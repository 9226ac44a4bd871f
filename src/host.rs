//! The only file that calls the host. Nothing here can trap, because the request must continue whatever happens: if the
//! host has no value, the result is `None`, and an action that the host rejects is dropped.
//!
//! The SDK's convenience methods unwrap. Its `hostcalls` return a result if each is used in its own phase.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, Bytes, MapType, MetricType};
use rollout_core::{Edit, Nonce};

/// The headers of the request in their order, with pseudo-headers. Only in the request phase.
pub(crate) fn request_headers() -> Vec<(String, Bytes)> {
    hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default()
}

/// The first line of a request header. Only in the request phase.
pub(crate) fn request_header(name: &str) -> Option<Bytes> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
}

/// Ends the stream without an answer, after the callback that calls this.
pub(crate) fn end_stream() {
    let _ = hostcalls::reset_http_response();
}

/// Carries out an edit of the request's headers.
pub(crate) fn edit_request(edit: &Edit<'_>) {
    self::edit(MapType::HttpRequestHeaders, edit);
}

/// Carries out an edit of the response's headers.
pub(crate) fn edit_response(edit: &Edit<'_>) {
    self::edit(MapType::HttpResponseHeaders, edit);
}

fn edit(headers: MapType, edit: &Edit<'_>) {
    let _ = match edit {
        Edit::Remove(name) => hostcalls::remove_map_value(headers, name),
        Edit::Add(name, value) => hostcalls::add_map_value_bytes(headers, name, value),
        Edit::Set(name, value) => hostcalls::set_map_value_bytes(headers, name, Some(value)),
    };
}

/// The status of the response. Only in the response phase.
pub(crate) fn response_status() -> Option<u16> {
    let status = response_header(":status")?;
    str::from_utf8(&status).ok()?.parse().ok()
}

/// The peer's address with its port.
pub(crate) fn source_address() -> Option<Bytes> {
    property(&["source", "address"])
}

/// The details of the response: `via_upstream` for an answer from a model.
pub(crate) fn response_details() -> Option<Bytes> {
    property(&["response", "code_details"])
}

/// Envoy's response flags: what went wrong with the request.
pub(crate) fn response_flags() -> u64 {
    property(&["response", "flags"]).and_then(number).unwrap_or(0)
}

/// The first line of a response header. Only in the response phase.
pub(crate) fn response_header(name: &str) -> Option<Bytes> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten()
}

/// The headers of the response in their order, with `:status`. Only in the response phase.
pub(crate) fn response_headers() -> Vec<(String, Bytes)> {
    hostcalls::get_map_bytes(MapType::HttpResponseHeaders).unwrap_or_default()
}

/// The piece of the response body that has just arrived.
pub(crate) fn response_body(size: usize) -> Bytes {
    hostcalls::get_buffer(BufferType::HttpResponseBody, 0, size).ok().flatten().unwrap_or_default()
}

/// The first line of a trailer. Only after the trailers have arrived.
pub(crate) fn response_trailer(name: &str) -> Option<Bytes> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseTrailers, name).ok().flatten()
}

/// The cluster of the last attempt.
pub(crate) fn upstream_cluster() -> Option<Bytes> {
    property(&["xds", "cluster_name"])
}

/// How often the request was sent to an upstream.
pub(crate) fn attempts() -> u64 {
    property(&["upstream", "request_attempt_count"]).and_then(number).unwrap_or(0)
}

/// The name that the configuration gives to this plugin.
pub(crate) fn plugin_name() -> Option<String> {
    String::from_utf8(property(&["plugin_name"])?).ok()
}

fn property(path: &[&str]) -> Option<Bytes> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

/// A number in the form of the host.
fn number(bytes: Bytes) -> Option<u64> {
    bytes.try_into().map(u64::from_le_bytes).ok()
}

/// The value of a key in the data that all workers share, and the number of its last write. `None` if nothing was written.
pub(crate) fn shared(key: &str) -> (Option<Bytes>, Option<u32>) {
    hostcalls::get_shared_data(key).unwrap_or_default()
}

/// Writes a key if there was no write after `seen`. False if there was one.
///
/// If the key does not exist yet, the host accepts any number. A number that no write has had makes the second of two first
/// writers fail.
pub(crate) fn set_shared(key: &str, value: &[u8], seen: Option<u32>) -> bool {
    hostcalls::set_shared_data(key, Some(value), Some(seen.unwrap_or(u32::MAX))).is_ok()
}

/// Writes a key, whatever its value is.
pub(crate) fn touch_shared(key: &str) {
    let _ = hostcalls::set_shared_data(key, Some(&[1]), None);
}

/// The document of this plugin.
pub(crate) fn document(size: usize) -> Bytes {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten().unwrap_or_default()
}

/// What makes a new id unique. The connection number is unique in the proxy, and the counter in this VM.
pub(crate) fn nonce(now: Duration) -> Nonce {
    thread_local! {
        static COUNTER: Cell<u64> = const { Cell::new(0) };
    }
    let counter = COUNTER.replace(COUNTER.get().wrapping_add(1));
    let connection = property(&["connection", "id"]).and_then(number).unwrap_or(0);
    Nonce { connection, clock: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), counter }
}

/// Time since the epoch.
pub(crate) fn now() -> Duration {
    let now = hostcalls::get_current_time().unwrap_or(SystemTime::UNIX_EPOCH);
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Asks for a call of `on_tick` in each period. Zero stops the calls.
pub(crate) fn set_tick_period(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

pub(crate) fn define_counter(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Counter, name).ok()
}

pub(crate) fn define_gauge(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Gauge, name).ok()
}

pub(crate) fn define_histogram(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Histogram, name).ok()
}

/// Adds to a counter. The host rejects zero.
pub(crate) fn increment(metric: u32, by: u32) {
    let _ = hostcalls::increment_metric(metric, i64::from(by));
}

/// Adds to a gauge that all workers share. The change may be negative.
pub(crate) fn add_to_gauge(metric: u32, change: i64) {
    let _ = hostcalls::increment_metric(metric, change);
}

/// Sets a gauge, or adds a value to a histogram.
pub(crate) fn set_metric(metric: u32, value: u64) {
    let _ = hostcalls::record_metric(metric, value);
}
