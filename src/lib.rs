//! Rollout Filter: progressive delivery inside Envoy.
//!
//! This package is the proxy-wasm shell. It turns bytes from the host into values, asks `rollout_core` what to do, and does it.
//! It makes no decisions, and compiles only to wasm32.
//!
//! The flow: `root` compiles a pushed document and replaces the whole plan (`active`). `stream` handles one request, and
//! `copy` a copy on its way to a shadow.
//! `metric` counts, and `gauge` shows exposures and rollbacks. `guard` shares counts and latches with the other workers,
//! `serving` knows which document is the latest, and `rate` shares the rates of copies. Only `host` calls the host.

#![cfg(target_arch = "wasm32")]

mod active;
mod copy;
mod gauge;
mod guard;
mod host;
mod metric;
mod pairs;
mod rate;
mod root;
mod serving;
mod stream;

mod entry {
    //! The entry point. The SDK's macro must export a symbol, which is the only thing that the lint can't allow.
    proxy_wasm::main! {{
        crate::root::start();
    }}
}
