//! A filter in an interpreter instead of Envoy: a host that answers what Envoy would, and counts exactly what a request costs.
//!
//! It knows as much of proxy-wasm (ABI 0.2.1) as the filter uses: header maps, bodies, properties, shared data, metrics, time and the
//! log. It routes nothing: the response is given by the caller. Time stands still unless a request moves it, so every count is the same on
//! every machine.

mod exchange;
mod host;
mod meter;

use std::collections::BTreeMap;
use std::ops::Add;
use std::path::Path;

use wasmi::{Engine, Global, Instance, Linker, Module, Store, Val};

use host::Host;

pub use exchange::{Exchange, Line};

/// The root context, which holds the document.
const ROOT: u32 = 1;

/// The root context of the role `shadow`.
const SHADOW_ROOT: u32 = 2;

/// What one request, or one tick, costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of the host, by kind: the function without `proxy_`, and the header map or property that it is about.
    pub calls: BTreeMap<String, usize>,
    /// Entries into the guest, by exported function without `proxy_on_`. Each call that returns data has one more, `allocate`.
    pub entries: BTreeMap<String, usize>,
    /// Instructions of the guest.
    pub instructions: u64,
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

impl Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        let pairs = [(&mut self.calls, other.calls), (&mut self.entries, other.entries)];
        for (sum, counts) in pairs {
            for (kind, count) in counts {
                *sum.entry(kind).or_default() += count;
            }
        }
        self.instructions += other.instructions;
        self
    }
}

/// A filter with its document, in service.
pub struct Guest {
    store: Store<Host>,
    instance: Instance,
    /// Instructions so far.
    counter: Global,
    /// Number of the next stream's context.
    next: u32,
}

impl Guest {
    /// Starts a module's VM and configures it; panics if it refuses the document.
    pub fn start(module: &Path, document: &str) -> Self {
        let engine = Engine::default();
        let bytes = std::fs::read(module).expect("the module can be read");
        let module = Module::new(&engine, meter::metered(&bytes)).expect("the module is valid");
        let mut store = Store::new(&engine, Host::new(document));
        let mut linker = Linker::new(&engine);
        host::define(&mut linker, &module);
        let instance = linker.instantiate_and_start(&mut store, &module).expect("the imports are known");
        let counter = instance.get_global(&store, meter::COUNTER).expect("a metered module has a counter");
        let mut guest = Self { store, instance, counter, next: SHADOW_ROOT + 1 };
        guest.enter("_initialize", &[]);
        guest.configure(ROOT, document);
        guest
    }

    /// Starts the role `shadow` in the same VM, as in a cluster for copies.
    pub fn with_copies(mut self) -> Self {
        let role = r#"{"role": "shadow"}"#;
        self.store.data_mut().set_document(role);
        self.configure(SHADOW_ROOT, role);
        self
    }

    fn configure(&mut self, root: u32, document: &str) {
        self.enter("proxy_on_context_create", &[root, 0]);
        self.enter("proxy_on_vm_start", &[root, 0]);
        let size = u32::try_from(document.len()).expect("a document of less than 4 GiB");
        assert_ne!(self.enter("proxy_on_configure", &[root, size]), Some(0), "the document is refused");
    }

    /// Calls the tick that the filter asked for; returns what it cost.
    pub fn tick(&mut self) -> Counts {
        self.store.data_mut().take_counts();
        let before = self.instructions();
        self.enter("proxy_on_tick", &[ROOT]);
        self.counts_since(before)
    }

    /// One request from its first callback to its last; returns what it cost and the headers that travel on.
    pub fn exchange(&mut self, exchange: &Exchange) -> (Counts, Vec<Line>) {
        let stream = self.next();
        let (request, lines) = self.request(stream, ROOT, exchange);
        (request + self.response(stream, exchange), lines)
    }

    /// A request and its copy, whose answer is the second one to come; returns what the live side cost, and what the copy's did.
    pub fn pair(&mut self, live: &Exchange, copy: &Exchange) -> [Counts; 2] {
        let (one, other) = (self.next(), self.next());
        let (live_request, lines) = self.request(one, ROOT, live);
        let value =
            |name: &str| lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut sent = copy.clone();
        for (name, mark) in [("x-rollout-shadow-1", "x-rollout-shadow"), ("x-rollout-pair", "x-rollout-pair")]
        {
            if let Some(value) = value(name) {
                sent = sent.and(mark, value);
            }
        }
        let (copy_request, _) = self.request(other, SHADOW_ROOT, &sent);
        [live_request + self.response(one, live), copy_request + self.response(other, &sent)]
    }

    fn next(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn request(&mut self, stream: u32, root: u32, exchange: &Exchange) -> (Counts, Vec<Line>) {
        self.store.data_mut().begin(exchange);
        let before = self.instructions();
        self.enter("proxy_on_context_create", &[stream, root]);
        self.enter("proxy_on_request_headers", &[stream, size(&exchange.request), 1]);
        let lines = self.store.data().request_headers();
        (self.counts_since(before), lines)
    }

    fn response(&mut self, stream: u32, exchange: &Exchange) -> Counts {
        self.store.data_mut().begin(exchange);
        let before = self.instructions();
        self.store.data_mut().respond();
        self.enter("proxy_on_response_headers", &[stream, size(&exchange.response), 0]);
        let last = exchange.pieces.len().saturating_sub(1);
        for (number, piece) in exchange.pieces.iter().enumerate() {
            self.store.data_mut().show(piece);
            self.enter("proxy_on_response_body", &[stream, size(piece), u32::from(number == last)]);
        }
        self.store.data_mut().end();
        self.enter("proxy_on_done", &[stream]);
        self.enter("proxy_on_log", &[stream]);
        self.enter("proxy_on_delete", &[stream]);
        self.counts_since(before)
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

    /// The same of a request and its copy.
    pub fn settled_pair(&mut self, live: &Exchange, copy: &Exchange) -> [Counts; 2] {
        for _ in 0..3 {
            self.pair(live, copy);
            self.tick();
        }
        self.pair(live, copy);
        self.pair(live, copy)
    }

    /// What was counted since the counter of instructions stood at `before`.
    fn counts_since(&mut self, before: u64) -> Counts {
        let instructions = self.instructions() - before;
        let (calls, entries) = self.store.data_mut().take_counts();
        Counts { calls, entries, instructions }
    }

    fn instructions(&self) -> u64 {
        let counted = self.counter.get(&self.store).i64();
        counted.expect("the counter has 64 bits").cast_unsigned()
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

/// The number of lines or bytes.
fn size<T>(all: &[T]) -> u32 {
    u32::try_from(all.len()).expect("few headers, and a short body")
}
