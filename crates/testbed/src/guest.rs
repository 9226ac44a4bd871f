//! A filter in an interpreter instead of Envoy: a host that answers what Envoy would, and counts exactly what a request costs.
//!
//! It knows as much of proxy-wasm (ABI 0.2.1) as the filter uses: header maps, properties, shared data, metrics, time and the log. It
//! routes nothing: the response is given by the caller. Time stands still unless a request moves it, so every count is the same on
//! every machine.

mod host;

use std::collections::BTreeMap;
use std::path::Path;

use wasmi::{CompilationMode, Config, Engine, Instance, Linker, Module, Store, Val};

use host::Host;

/// The root context, which holds the document.
const ROOT: u32 = 1;

/// Fuel is measured, not limited.
const TANK: u64 = u64::MAX / 2;

/// A header's name and value.
pub type Line = (String, String);

/// One request and what came back.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    request: Vec<Line>,
    response: Vec<Line>,
    properties: BTreeMap<String, Vec<u8>>,
}

impl Exchange {
    /// A request with these headers, pseudo headers included, that the upstream answers with 200.
    pub fn new(request: &[(&str, &str)]) -> Self {
        let exchange = Self { request: lines(request), ..Self::default() };
        exchange.response(&[(":status", "200"), ("content-type", "application/json")])
    }

    /// Another answer.
    pub fn response(mut self, headers: &[(&str, &str)]) -> Self {
        self.response = lines(headers);
        self
    }

    /// A property that the host knows, by its path with dots (`xds.cluster_name`).
    pub fn property(mut self, path: &str, value: impl Into<Vec<u8>>) -> Self {
        self.properties.insert(path.into(), value.into());
        self
    }
}

fn lines(headers: &[(&str, &str)]) -> Vec<Line> {
    headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// What one request costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of the host, by kind: the function without `proxy_`, and the header map or property that it is about.
    pub calls: BTreeMap<String, usize>,
    /// Entries into the guest, by exported function without `proxy_on_`. Each call that returns data has one more, `allocate`.
    pub entries: BTreeMap<String, usize>,
    /// Instructions of the guest, as the interpreter counts them.
    pub fuel: u64,
}

impl Counts {
    /// The number of host calls.
    pub fn all_calls(&self) -> usize {
        self.calls.values().sum()
    }

    /// The number of entries into the guest.
    pub fn all_entries(&self) -> usize {
        self.entries.values().sum()
    }
}

/// A filter with its document, in service.
pub struct Guest {
    store: Store<Host>,
    instance: Instance,
    /// Number of the next stream's context.
    next: u32,
}

impl Guest {
    /// Starts a module's VM and configures it; panics if it refuses the document.
    pub fn start(module: &Path, document: &str) -> Self {
        let mut config = Config::default();
        config.consume_fuel(true).compilation_mode(CompilationMode::Eager);
        let engine = Engine::new(&config);
        let bytes = std::fs::read(module).expect("the module can be read");
        let module = Module::new(&engine, bytes).expect("the module is valid");
        let mut store = Store::new(&engine, Host::new(document));
        store.set_fuel(TANK).expect("the engine meters fuel");
        let mut linker = Linker::new(&engine);
        host::define(&mut linker, &module);
        let instance = linker.instantiate_and_start(&mut store, &module).expect("the imports are known");
        let mut guest = Self { store, instance, next: ROOT + 1 };
        guest.enter("_initialize", &[]);
        guest.enter("proxy_on_context_create", &[ROOT, 0]);
        guest.enter("proxy_on_vm_start", &[ROOT, 0]);
        let size = u32::try_from(document.len()).expect("a document of less than 4 GiB");
        assert_ne!(guest.enter("proxy_on_configure", &[ROOT, size]), Some(0), "the document is refused");
        guest
    }

    /// Calls the tick that the filter asked for.
    pub fn tick(&mut self) {
        self.enter("proxy_on_tick", &[ROOT]);
    }

    /// One request from its first callback to its last; returns what it cost and the headers that travel on.
    pub fn exchange(&mut self, exchange: &Exchange) -> (Counts, Vec<Line>) {
        let stream = self.next;
        self.next += 1;
        self.store.data_mut().begin(exchange);
        let before = self.fuel();
        let sizes = [exchange.request.len(), exchange.response.len()];
        let [request, response] = sizes.map(|size| u32::try_from(size).expect("few headers"));
        self.enter("proxy_on_context_create", &[stream, ROOT]);
        self.enter("proxy_on_request_headers", &[stream, request, 1]);
        self.store.data_mut().respond();
        self.enter("proxy_on_response_headers", &[stream, response, 0]);
        self.store.data_mut().end();
        self.enter("proxy_on_done", &[stream]);
        self.enter("proxy_on_log", &[stream]);
        self.enter("proxy_on_delete", &[stream]);
        let fuel = before.saturating_sub(self.fuel());
        let host = self.store.data_mut();
        let (calls, entries) = host.take_counts();
        (Counts { calls, entries, fuel }, host.request_headers())
    }

    /// The cost of a request once everything is in place that only a first one needs: after a few of the same and a tick.
    pub fn settled(&mut self, exchange: &Exchange) -> Counts {
        for _ in 0..3 {
            self.exchange(exchange);
            self.tick();
        }
        // The first of a metric after a tick notes it for the next tick; this counts the others.
        self.exchange(exchange);
        self.exchange(exchange).0
    }

    fn fuel(&self) -> u64 {
        self.store.get_fuel().expect("the engine meters fuel")
    }

    /// Calls an exported function as Envoy does: not at all if it is not there.
    fn enter(&mut self, export: &str, arguments: &[u32]) -> Option<i32> {
        let function = self.instance.get_func(&self.store, export)?;
        self.store.data_mut().count_entry(export.trim_start_matches("proxy_on_"));
        let arguments: Vec<Val> = arguments.iter().map(|word| Val::I32(word.cast_signed())).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let called = function.call(&mut self.store, &arguments, &mut results);
        called.unwrap_or_else(|error| panic!("{export} trapped: {error}"));
        results.first().and_then(Val::i32)
    }
}
