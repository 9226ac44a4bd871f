//! The recipe for versions at providers with another host, path and key: each cluster rewrites what it is sent, on every attempt and
//! on every copy, and no provider sees the key of another.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop with the reason")]

use serde_json::{Value, json};
use testbed::client::Client;
use testbed::envoy::Outcome;
use testbed::module::workspace;
use testbed::upstream::Received;
use testbed::{Behaviour, Envoy, Request, Upstream, yaml};

/// Two providers behind an Envoy of the shipped configuration with the recipe merged into it.
struct Site {
    providers: [Upstream; 2],
    envoy: Envoy,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join("envoy").join(path)).expect("a shipped file can be read")
}

/// The recipe with providers on loopback, which do without TLS, and with keys that the environment does not have.
fn recipe(providers: &[Upstream; 2]) -> Value {
    let text = read("providers.yaml");
    let text = text.replace("%ENVIRONMENT(PROVIDER_A_KEY)%", "key-of-a");
    let text = text.replace("%ENVIRONMENT(PROVIDER_B_KEY)%", "key-of-b");
    assert!(!text.contains("%ENVIRONMENT("), "every key is replaced");
    let mut recipe = yaml(&text);
    let clusters = recipe["static_resources"]["clusters"].as_array_mut().expect("clusters");
    for provider in providers {
        let hosts =
            clusters.iter_mut().find(|cluster| cluster["name"] == format!("{}-hosts", provider.name()));
        let hosts = hosts.expect("a provider has hosts");
        let address =
            hosts.pointer_mut("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address");
        *address.expect("an address") = json!({"address": "127.0.0.1", "port_value": provider.port()});
        hosts.as_object_mut().expect("an object").remove("transport_socket");
    }
    recipe
}

impl Site {
    /// Every request goes to `active`. `rest` are more fields of the sample's rollout.
    fn start(active: &str, rest: &Value) -> Self {
        let providers = ["provider-a", "provider-b"].map(Upstream::start);
        let merged = recipe(&providers).to_string();
        let envoy = Envoy::builder().argument("--config-yaml").argument(&merged).start();
        let mut document: Value = serde_json::from_str(&read("samples/providers.json")).expect("JSON");
        let rollout = document["rollouts"][0].as_object_mut().expect("a rollout");
        let percent = if active == "b" { 100 } else { 0 };
        rollout.insert("strategy".into(), json!({"canary": {"version": "b", "percent": percent}}));
        rollout.extend(rest.as_object().expect("an object").clone());
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        envoy.wait_revision(1);
        Self { providers, envoy }
    }

    fn clients(&self) -> [Client; 2] {
        [self.envoy.client(), self.envoy.client().http2()]
    }

    /// Checks what both providers have received since the last call: this many requests each, all with their own values.
    fn assert_received(&self, [first, second]: [u64; 2]) {
        let [a, b] = &self.providers;
        a.wait_count(first);
        b.wait_count(second);
        assert_eq!((a.count(), b.count()), (first, second));
        a.requests().iter().for_each(assert_of_a);
        b.requests().iter().for_each(assert_of_b);
        self.providers.iter().for_each(Upstream::clear);
    }
}

fn assert_of_a(received: &Received) {
    assert_eq!(received.path, "/openai/v1/chat/completions?n=1");
    assert_eq!(received.host, "api.provider-a.example");
    assert_eq!(received.header("authorization").as_deref(), Some("Bearer key-of-a"));
    assert_hides(received, &["api-key", "cookie", "x-rollout-assignment"], "key-of-b");
}

fn assert_of_b(received: &Received) {
    assert_eq!(received.path, "/compatible-mode/v1/chat/completions?n=1");
    assert_eq!(received.host, "models.provider-b.example");
    assert_eq!(received.header("api-key").as_deref(), Some("key-of-b"));
    assert_hides(received, &["authorization", "cookie", "x-rollout-assignment"], "key-of-a");
}

/// Checks that these headers are absent, and that this key is nowhere.
fn assert_hides(received: &Received, names: &[&str], key: &str) {
    for name in names {
        assert_eq!(received.header(name), None, "{name}");
    }
    for (name, value) in &received.headers {
        let value = String::from_utf8_lossy(value);
        assert!(!value.contains(key), "{name}: {value}");
    }
}

/// A call of a client that would like to choose path, key and provider.
fn call() -> Request {
    let request = Request::post("/v1/chat/completions?n=1", "{}").header("x-user-id", "alice");
    let wishes = [
        ("x-rollout-path", "/evil"),
        ("authorization", "Bearer of-the-client"),
        ("api-key", "of-the-client"),
        ("cookie", "session=1"),
    ];
    wishes.iter().fold(request, |request, (name, value)| request.header(name, value))
}

fn send(client: &Client) -> (u16, String, Option<String>) {
    let response = client.send(call()).expect("an answer");
    (response.status, response.upstream(), response.header("x-rollout-failover"))
}

#[test]
fn each_provider_gets_its_own_host_path_and_key() {
    for (active, counts) in [("a", [1, 0]), ("b", [0, 1])] {
        let site = Site::start(active, &json!({}));
        for client in site.clients() {
            assert_eq!(send(&client), (200, format!("provider-{active}"), None));
            site.assert_received(counts);
        }
    }
}

#[test]
fn a_call_that_fails_over_arrives_as_the_other_provider_wants_it() {
    for (active, failing, other) in [("a", 0, "b"), ("b", 1, "a")] {
        let site = Site::start(active, &json!({}));
        for behaviour in [Behaviour::status(503), Behaviour::status(429), Behaviour::reset()] {
            site.providers[failing].set(behaviour);
            for client in site.clients() {
                let expected = (200, format!("provider-{other}"), Some(format!("{active}>{other}")));
                assert_eq!(send(&client), expected);
                site.assert_received([1, 1]);
            }
        }
    }
}

#[test]
fn a_path_is_rewritten_once_however_often_the_call_comes_back() {
    let mut versions =
        json!([{"name": "a", "cluster": "provider-a"}, {"name": "b", "cluster": "provider-b"}]);
    versions[1]["failover"] = json!({"to": ["b", "a"]});
    let site = Site::start("b", &json!({"versions": versions}));
    site.providers.iter().for_each(|provider| provider.set(Behaviour::status(503)));
    for client in site.clients() {
        assert_eq!(send(&client), (503, "provider-a".into(), Some("b>a".into())));
        site.assert_received([1, 2]);
    }
}

#[test]
fn a_copy_arrives_as_the_other_provider_wants_it() {
    for (active, shadow) in [("a", "b"), ("b", "a")] {
        let rest = json!({"shadow": [{"version": shadow, "percent": 100}]});
        let site = Site::start(active, &rest);
        for client in site.clients() {
            assert_eq!(send(&client), (200, format!("provider-{active}"), None));
            site.assert_received([1, 1]);
        }
    }
}
