//! Rollout Filter: progressive delivery inside Envoy.
//!
//! This package is the proxy-wasm shell: it turns bytes from the host into values, asks `rollout_core` what to do, and does it.
//! It takes no decision of its own, and compiles to nothing but wasm32.
//!
//! The flow: `root` compiles a pushed document and swaps the plan whole; `stream` carries one request through it; `metric` counts;
//! `gauge` shows who is exposed and who rolled back; `guard` shares counts and latches with the other workers; `host` is the only file
//! that calls the host.

#![cfg(target_arch = "wasm32")]

mod active;
mod gauge;
mod guard;
mod host;
mod metric;
mod root;
mod serving;
mod stream;

mod entry {
    //! What the host calls first. The SDK's macro has to export a symbol, which is the one thing that the lint can't allow.
    proxy_wasm::main! {{
        crate::root::start();
    }}
}
