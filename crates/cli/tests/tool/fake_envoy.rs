//! An admin interface that says what a test wants, for the faults that a real Envoy shows too seldom.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

/// Serves `answer(path)` until the test process ends, and gives the URL.
pub(crate) fn serve(mut answer: impl FnMut(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
            let request = lines.next().expect("a line").expect("text");
            while lines.next().is_some_and(|line| !line.expect("text").is_empty()) {}
            let (status, body) = answer(request.split(' ').nth(1).expect("a path"));
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all((head + &body).as_bytes()).expect("answered");
        }
    });
    url
}

pub(crate) fn clusters(names: &[&str]) -> String {
    let statuses: Vec<Value> = names.iter().map(|name| json!({"name": name, "host_statuses": []})).collect();
    json!({"cluster_statuses": statuses}).to_string()
}

/// What Envoy's `/stats` says of a filter that serves `hash`, after it read and refused so many files.
pub(crate) fn stats(hash: Option<u64>, reads: u64, rejections: u64) -> String {
    let discovery = "extension_config_discovery.http_filter.rollout";
    let mut stats = vec![
        json!({"name": format!("{discovery}.update_attempt"), "value": reads}),
        json!({"name": format!("{discovery}.config_fail"), "value": rejections}),
        json!({"histograms": {}}),
    ];
    let gauge =
        |hash: u64| json!({"name": "wasmcustom.plugin=.=rollout;.;rollout_config_hash", "value": hash});
    stats.extend(hash.map(gauge));
    json!({"stats": stats}).to_string()
}
