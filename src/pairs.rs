//! The pairs of this VM: live answers, and the answers of their copies, until they are compared. The core keeps the table and compares.
//!
//! Both roles of the module share it: `stream` brings live answers, and `copy` those of copies. They meet here because Envoy runs a
//! copy on the worker of its original, and both filters in one VM.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::types::Bytes;
use rollout_core::compare::{self, Difference, Ended, Fields, Head, Origin, PairId, PairResult, Pairs, Room};
use rollout_core::guardrail::{PairTicket, needs_flags};
use rollout_core::metric;
use rollout_core::{Decision, Rollout, Shadow};

use crate::active::Active;
use crate::host;
use crate::metric::{Event, Took};

/// How often the fields of a shadow are written. A try fails only if another worker has written in between.
const TRIES: usize = 4;

/// How long a VM is shown as one that has copies without pairs.
const UNPAIRED: Duration = Duration::from_secs(10);

thread_local! {
    static PAIRS: RefCell<Pairs<Rc<Owner>>> = RefCell::default();
    /// What tells this VM's pairs from those of the VM before it on this thread. Zero if it has none yet.
    static VM: Cell<u64> = const { Cell::new(0) };
    /// The last copy without a pair.
    static LAST_UNPAIRED: Cell<Option<Duration>> = const { Cell::new(None) };
    /// What the gauges of pairs, bytes and unpaired copies hold of this VM.
    static SHOWN: Cell<[i64; 3]> = const { Cell::new([0; 3]) };
    /// The fields of shadows that this worker knows, by key in shared data.
    static FIELDS: RefCell<Vec<(String, Fields)>> = const { RefCell::new(Vec::new()) };
    /// The second of the last line of the log, by rollout.
    static LOGGED: RefCell<Vec<(String, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Whose pair it is.
pub(crate) struct Owner {
    active: Rc<Active>,
    rollout: Rc<Rollout>,
    /// For the guardrails of each shadow that has some and whose pair is open.
    tickets: OnceCell<Vec<PairTicket>>,
}

/// Opens a pair for each copy whose answer is compared, and names them in the decision.
pub(crate) fn open(
    active: &Rc<Active>,
    decision: &mut Decision,
    method: &[u8],
    now: Duration,
) -> Option<PairId> {
    decision.compared().next()?;
    let owner = Rc::new(Owner {
        active: Rc::clone(active),
        rollout: Rc::clone(&decision.rollout),
        tickets: OnceCell::new(),
    });
    let shadows = decision.compared().map(Rc::clone);
    let (id, ended) = PAIRS.with_borrow_mut(|pairs| pairs.open(Rc::clone(&owner), shadows, method, now));
    let is_open = |shadow: &&Rc<Shadow>| !ended.iter().any(|of| Rc::ptr_eq(&of.shadow, shadow));
    let open = decision.compared().filter(is_open);
    let tickets = open.filter_map(|shadow| active.guard.begin_pair(decision, shadow, now)).collect();
    let _ = owner.tickets.set(tickets);
    finish(ended);
    decision.pair = id.map(|id| id.text(vm(now)));
    id
}

/// The pair that a copy names. A copy of another VM's pair is noted.
pub(crate) fn find(name: &[u8]) -> Option<PairId> {
    let found = PairId::parse(name, VM.get()).filter(|_| VM.get() != 0);
    if found.is_none() {
        LAST_UNPAIRED.set(Some(host::now()));
    }
    found
}

/// The name of this VM: when it opened its first pair. VMs of one thread can't do that at the same time.
fn vm(now: Duration) -> u64 {
    if VM.get() == 0 {
        VM.set(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1));
    }
    VM.get()
}

/// Takes the headers of stable's answer. `is_end` if it has no body.
pub(crate) fn live_head(id: PairId, is_end: bool) {
    let head = Head::new(host::response_headers());
    let details = host::response_details().unwrap_or_default();
    let flags = if needs_flags(&details) { host::response_flags() } else { 0 };
    match head.live_result(&details, flags) {
        Some(result) => fail(id, Origin::Live, result),
        None => self::head(id, Origin::Live, head, is_end),
    }
}

/// Takes the headers of a copy's answer. `is_end` if it has no body.
pub(crate) fn copy_head(id: PairId, origin: Origin<'_>, head: Head, is_end: bool) {
    record_wait(id, origin);
    self::head(id, origin, head, is_end);
}

fn head(id: PairId, origin: Origin<'_>, head: Head, is_end: bool) {
    finish(PAIRS.with_borrow_mut(|pairs| pairs.head(id, origin, head)));
    if is_end {
        end(id, origin, None);
    }
}

fn record_wait(id: PairId, origin: Origin<'_>) {
    let now = host::now();
    let waited = PAIRS.with_borrow_mut(|pairs| pairs.waited(id, origin, now));
    if let Some((owner, shadow, waited)) = waited {
        let milliseconds = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        owner.active.metrics.record_duration(&shadow.version, Took::Copy, milliseconds);
    }
}

/// Takes a piece of a body, which is read only if a pair waits for it. `is_end` if it is the last one.
pub(crate) fn body(id: PairId, origin: Origin<'_>, size: usize, is_end: bool) {
    if !PAIRS.with_borrow_mut(|pairs| pairs.awaits(id, origin)) {
        return;
    }
    if size > 0 {
        let piece = host::response_body(size);
        finish(PAIRS.with_borrow_mut(|pairs| pairs.body(id, origin, &piece)));
    }
    if is_end {
        end(id, origin, None);
    }
}

/// Takes the end of an answer, with the gRPC status of its trailers.
pub(crate) fn end(id: PairId, origin: Origin<'_>, grpc_status: Option<Bytes>) {
    finish(PAIRS.with_borrow_mut(|pairs| pairs.end(id, origin, grpc_status)));
}

/// Ends the pairs of an answer that will not be whole, or is not to be compared.
pub(crate) fn fail(id: PairId, origin: Origin<'_>, result: PairResult) {
    finish(PAIRS.with_borrow_mut(|pairs| pairs.fail(id, origin, result)));
}

/// Ends the pairs of a live answer that broke off. Envoy's flags are read only if a pair waits for it.
pub(crate) fn live_break(id: PairId) {
    if PAIRS.with_borrow_mut(|pairs| pairs.awaits(id, Origin::Live)) {
        fail(id, Origin::Live, PairResult::of_break(host::response_flags()));
    }
}

/// Ends the pairs that are too old, and shows what is held. Runs on the ticks of both roles.
pub(crate) fn tick() {
    let now = host::now();
    finish(PAIRS.with_borrow_mut(|pairs| pairs.sweep(now)));
    let is_unpaired = LAST_UNPAIRED.get().is_some_and(|last| now.saturating_sub(last) < UNPAIRED);
    let held = PAIRS.with_borrow(|pairs| {
        [pairs.open_pairs(), pairs.bytes()].map(|held| i64::try_from(held).unwrap_or(i64::MAX))
    });
    let [pairs, bytes] = held;
    let values = [pairs, bytes, is_unpaired.into()];
    let families = [metric::SHADOW_PAIRS, metric::SHADOW_BYTES, metric::SHADOW_UNPAIRED];
    for ((family, value), shown) in families.into_iter().zip(values).zip(SHOWN.replace(values)) {
        let change = value.saturating_sub(shown);
        if change == 0 {
            continue;
        }
        // All workers add to one gauge.
        if let Some(id) = crate::metric::series(family, &[], host::define_gauge) {
            host::add_to_gauge(id, change);
        }
    }
}

/// Counts pairs that have ended.
fn finish(ended: Vec<Ended<Rc<Owner>>>) {
    for Ended { owner, shadow, result, differences } in ended {
        owner.active.metrics.count(Some(&shadow.version), Event::Pair(result));
        let is_own = |ticket: &&PairTicket| ticket.version() == shadow.version.ordinal();
        let ticket =
            owner.tickets.get().and_then(|all| all.iter().find(is_own)).filter(|_| result.is_compared());
        if let Some(ticket) = ticket {
            owner.active.guard.compared(ticket, result == PairResult::Mismatch);
        }
        if result == PairResult::Mismatch {
            count_fields(&owner.rollout, &shadow, &differences);
            log(&owner, &shadow, &differences);
        }
    }
}

/// Logs how the answers of a pair differ, at most once a second for each rollout.
fn log(owner: &Owner, shadow: &Shadow, differences: &[Difference]) {
    let (name, second) = (owner.rollout.name(), host::now().as_secs());
    let is_due = LOGGED.with_borrow_mut(|logged| match logged.iter_mut().find(|(known, _)| known == name) {
        Some((_, last)) => std::mem::replace(last, second) != second,
        None => {
            logged.push((name.to_owned(), second));
            true
        }
    });
    if is_due {
        log::warn!("{}", compare::line(&owner.rollout, shadow, differences));
    }
}

/// Counts each field in which the answers of a pair differ, once.
fn count_fields(rollout: &Rollout, shadow: &Shadow, differences: &[Difference]) {
    let (rollout, version) = (rollout.name(), shadow.version.name());
    let key = format!("rollout/fields/{rollout}/{version}");
    let mut fields = Vec::new();
    for difference in differences {
        let field = (compare::label(&difference.pointer), difference.kind.name());
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    for (label, kind) in fields {
        let label = if has_room(&key, &label) { label.as_str() } else { metric::OTHER };
        let labels = [rollout, version, label, kind];
        if let Some(id) = crate::metric::series(metric::SHADOW_DIFFERENCES, &labels, host::define_counter) {
            host::increment(id, 1);
        }
    }
}

/// True if a field of a shadow has a series of its own. It gets one if there is room.
fn has_room(key: &str, label: &str) -> bool {
    FIELDS.with_borrow_mut(|all| {
        let place = all.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            all.push((key.to_owned(), Fields::default()));
            all.len().saturating_sub(1)
        });
        let Some((_, fields)) = all.get_mut(place) else { return false };
        for _ in 0..TRIES {
            if fields.room(label) != Room::Free {
                break;
            }
            let (bytes, seen) = host::shared(key);
            *fields = Fields::decode(&bytes.unwrap_or_default());
            if fields.room(label) != Room::Free {
                break;
            }
            fields.add(label);
            if host::set_shared(key, &fields.encode(), seen) {
                break;
            }
            *fields = Fields::default();
        }
        fields.room(label) == Room::Known
    })
}
