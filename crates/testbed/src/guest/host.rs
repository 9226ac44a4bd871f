//! The host's side: what each imported function answers, and the count of its calls.

use std::collections::BTreeMap;

use wasmi::{Caller, Error, ExternType, Linker, Memory, Module, Val};

use super::exchange::{Exchange, Line};

/// Nanoseconds since the epoch at which everything happens.
const NOW: u64 = 1_800_000_000_000_000_000;

/// How long an upstream takes to answer, in nanoseconds.
const LATENCY: u64 = 5_000_000;

/// Results of a call, by the ABI.
const OK: i32 = 0;
const NOT_FOUND: i32 = 1;
const BAD_ARGUMENT: i32 = 2;
const CAS_MISMATCH: i32 = 8;

/// The maps that a stream has, by the ABI's numbers.
const REQUEST: u32 = 0;
const RESPONSE: u32 = 2;

/// The buffers of the piece of a response's body, and of a plugin's configuration, by the ABI's numbers.
const RESPONSE_BODY: u32 = 1;
const CONFIGURATION: u32 = 7;

/// What the host knows and has counted.
pub(super) struct Host {
    document: Vec<u8>,
    now: u64,
    exchange: Exchange,
    has_response: bool,
    piece: Vec<u8>,
    /// By key: the value and the number of its write.
    shared: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    /// Names in order of definition; a metric's id is its position.
    metrics: Vec<Vec<u8>>,
    calls: BTreeMap<String, usize>,
    entries: BTreeMap<String, usize>,
}

impl Host {
    pub(super) fn new(document: &str) -> Self {
        Self {
            document: document.into(),
            now: NOW,
            exchange: Exchange::default(),
            has_response: false,
            piece: Vec::new(),
            shared: BTreeMap::new(),
            metrics: Vec::new(),
            calls: BTreeMap::new(),
            entries: BTreeMap::new(),
        }
    }

    /// The configuration of the next plugin.
    pub(super) fn set_document(&mut self, document: &str) {
        self.document = document.into();
    }

    /// What follows is about this exchange, in its request phase.
    pub(super) fn begin(&mut self, exchange: &Exchange) {
        self.exchange = exchange.clone();
        self.has_response = false;
        self.take_counts();
    }

    pub(super) fn respond(&mut self) {
        self.has_response = true;
        self.now += LATENCY;
    }

    /// A piece of the answer's body has arrived.
    pub(super) fn show(&mut self, piece: &[u8]) {
        self.piece = piece.into();
    }

    pub(super) fn end(&mut self) {
        self.has_response = false;
    }

    pub(super) fn request_headers(&self) -> Vec<Line> {
        self.exchange.request.clone()
    }

    pub(super) fn count_entry(&mut self, export: &str) {
        *self.entries.entry(export.to_owned()).or_default() += 1;
    }

    pub(super) fn take_counts(&mut self) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
        (std::mem::take(&mut self.calls), std::mem::take(&mut self.entries))
    }

    /// The header map of a number, in the phase that has it.
    fn map(&mut self, number: u32) -> Option<&mut Vec<Line>> {
        match number {
            REQUEST if !self.has_response => Some(&mut self.exchange.request),
            RESPONSE if self.has_response => Some(&mut self.exchange.response),
            _ => None,
        }
    }
}

/// Defines every function that the module imports; one that is not known is counted and answered as unimplemented.
pub(super) fn define(linker: &mut Linker<Host>, module: &Module) {
    for import in module.imports() {
        let ExternType::Func(kind) = import.ty() else { continue };
        let name = import.name().trim_start_matches("proxy_").to_owned();
        let returns = kind.results().len();
        let answer = move |caller: Caller<'_, Host>, words: &[Val], results: &mut [Val]| {
            let mut call = Call::new(caller, words);
            let about = call.about(&name);
            *call.host().calls.entry(about).or_default() += 1;
            let status = call.answer(&name)?;
            if returns > 0 {
                results[0] = Val::I32(status);
            }
            Ok(())
        };
        linker
            .func_new(import.module(), import.name(), kind.clone(), answer)
            .unwrap_or_else(|error| panic!("{}: {error}", import.name()));
    }
}

/// One call of the host.
struct Call<'c> {
    caller: Caller<'c, Host>,
    memory: Memory,
    words: Vec<u64>,
}

impl<'c> Call<'c> {
    fn new(caller: Caller<'c, Host>, words: &[Val]) -> Self {
        let memory = caller.get_export("memory").and_then(|export| export.into_memory());
        let word = |value: &Val| match value {
            Val::I32(word) => u64::from(word.cast_unsigned()),
            Val::I64(word) => word.cast_unsigned(),
            _ => panic!("the ABI has whole numbers only"),
        };
        let words = words.iter().map(word).collect();
        Self { memory: memory.expect("a guest has memory"), words, caller }
    }

    fn host(&mut self) -> &mut Host {
        self.caller.data_mut()
    }

    /// The kind of a call: its name, and the map or the property that it is about.
    fn about(&self, name: &str) -> String {
        let map = || match self.word(0) {
            REQUEST => "request",
            RESPONSE => "response",
            _ => "other",
        };
        match name {
            "get_property" => format!("{name} {}", self.path()),
            "get_header_map_value" => {
                format!("{name} {} {}", map(), String::from_utf8_lossy(&self.bytes(1)))
            }
            _ if name.contains("header_map") => format!("{name} {}", map()),
            _ => name.to_owned(),
        }
    }

    fn answer(&mut self, name: &str) -> Result<i32, Error> {
        match name {
            "get_current_time_nanoseconds" => {
                let now = self.host().now;
                self.write(0, &now.to_le_bytes());
                Ok(OK)
            }
            "get_buffer_bytes" if self.word(0) == CONFIGURATION => {
                let document = self.host().document.clone();
                self.hand_over(3, &document)
            }
            "get_buffer_bytes" if self.word(0) == RESPONSE_BODY => {
                let (start, most) = (self.word(1) as usize, self.word(2) as usize);
                let piece: Vec<u8> = self.host().piece.iter().skip(start).take(most).copied().collect();
                self.hand_over(3, &piece)
            }
            "get_header_map_pairs" => {
                let number = self.word(0);
                let packed = self.host().map(number).map(|lines| pack(lines));
                packed.map_or(Ok(BAD_ARGUMENT), |packed| self.hand_over(1, &packed))
            }
            "get_header_map_value" => {
                let (number, key) = (self.word(0), self.text(1));
                let Some(lines) = self.host().map(number) else { return Ok(BAD_ARGUMENT) };
                let found = lines.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
                found.map_or(Ok(NOT_FOUND), |value| self.hand_over(3, value.as_bytes()))
            }
            "add_header_map_value" | "replace_header_map_value" | "remove_header_map_value" => {
                Ok(self.edit(name))
            }
            "get_property" => {
                let path = self.path();
                let found = self.host().exchange.properties.get(&path).cloned();
                found.map_or(Ok(NOT_FOUND), |value| self.hand_over(2, &value))
            }
            "get_shared_data" => {
                let key = self.bytes(0);
                let Some((value, cas)) = self.host().shared.get(&key).cloned() else { return Ok(NOT_FOUND) };
                self.write(4, &cas.to_le_bytes());
                self.hand_over(2, &value)
            }
            "set_shared_data" => Ok(self.set_shared()),
            "define_metric" => {
                let metric = self.bytes(1);
                let metrics = &mut self.host().metrics;
                let known = metrics.iter().position(|known| *known == metric).unwrap_or(metrics.len());
                if known == metrics.len() {
                    metrics.push(metric);
                }
                let id = u32::try_from(known).expect("few metrics");
                self.write(3, &id.to_le_bytes());
                Ok(OK)
            }
            "log" => {
                eprintln!("guest: {}", self.text(1));
                Ok(OK)
            }
            "increment_metric" | "record_metric" | "set_tick_period_milliseconds" => Ok(OK),
            _ => panic!("the host has no {name}"),
        }
    }

    fn edit(&mut self, name: &str) -> i32 {
        let (number, key) = (self.word(0), self.text(1));
        let value = if name.starts_with("remove") { String::new() } else { self.text(3) };
        let Some(lines) = self.host().map(number) else { return BAD_ARGUMENT };
        if !name.starts_with("add") {
            lines.retain(|(name, _)| *name != key);
        }
        if !name.starts_with("remove") {
            lines.push((key, value));
        }
        OK
    }

    fn set_shared(&mut self) -> i32 {
        let (key, value, cas) = (self.bytes(0), self.bytes(2), self.word(4));
        let shared = &mut self.host().shared;
        let known = shared.get(&key).map_or(0, |(_, write)| *write);
        if cas != 0 && known != 0 && cas != known {
            return CAS_MISMATCH;
        }
        shared.insert(key, (value, known + 1));
        OK
    }

    fn word(&self, index: usize) -> u32 {
        u32::try_from(self.words[index]).expect("an argument of 32 bits")
    }

    /// The bytes that an address at `index` and the size after it name.
    fn bytes(&self, index: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.word(index + 1) as usize];
        let read = self.memory.read(&self.caller, self.word(index) as usize, &mut bytes);
        read.expect("the guest names its own memory");
        bytes
    }

    fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(&self.bytes(index)).into_owned()
    }

    /// A property's path, with dots.
    fn path(&self) -> String {
        self.text(0).replace('\0', ".")
    }

    /// Writes where the argument at `index` points to.
    fn write(&mut self, index: usize, bytes: &[u8]) {
        let address = self.word(index) as usize;
        self.memory.write(&mut self.caller, address, bytes).expect("the guest names its own memory");
    }

    /// Returns data as Envoy does: in memory that the guest is asked for, which is an entry of its own.
    fn hand_over(&mut self, index: usize, data: &[u8]) -> Result<i32, Error> {
        let size = u32::try_from(data.len()).expect("little data");
        let mut address = 0_u32;
        if size > 0 {
            self.host().count_entry("allocate");
            let export = ["proxy_on_memory_allocate", "malloc"].into_iter();
            let function = export.filter_map(|name| self.caller.get_export(name)?.into_func()).next();
            let allocate = function.expect("a guest that allocates").typed::<u32, u32>(&self.caller)?;
            address = allocate.call(&mut self.caller, size)?;
            let written = self.memory.write(&mut self.caller, address as usize, data);
            written.expect("the guest gave its own memory");
        }
        self.write(index, &address.to_le_bytes());
        self.write(index + 1, &size.to_le_bytes());
        Ok(OK)
    }
}

/// Header lines as the ABI packs them.
fn pack(lines: &[Line]) -> Vec<u8> {
    let word = |length: usize| u32::try_from(length).expect("a short header").to_le_bytes();
    let mut packed = word(lines.len()).to_vec();
    for (name, value) in lines {
        packed.extend(word(name.len()));
        packed.extend(word(value.len()));
    }
    for text in lines.iter().flat_map(|(name, value)| [name, value]) {
        packed.extend(text.as_bytes());
        packed.push(0);
    }
    packed
}
