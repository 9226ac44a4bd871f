//! Removes from the module every export that the filter does not use, and the code that only those exports needed.
//!
//! The SDK exports all callbacks of the ABI. Envoy calls every export: once for each chunk of each body, for trailers and for the log,
//! although the filter does nothing there. A callback that is not exported is never called. Function names appear in the backtrace of
//! a trap: the names of our own functions stay, in readable form.

use std::process::ExitCode;

/// The exports that the filter needs. All others are removed.
const KEEP: [&str; 14] = [
    "_initialize",
    "malloc",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_memory_allocate",
    "proxy_on_request_headers",
    "proxy_on_response_body",
    "proxy_on_response_headers",
    "proxy_on_response_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        eprintln!("usage: trim INPUT.wasm OUTPUT.wasm");
        return ExitCode::FAILURE;
    };
    match trim(input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes a new file and renames it, so that a running Envoy never reads half a module.
fn trim(input: &str, output: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut module = walrus::Module::from_file(input)?;
    let unused: Vec<_> = module
        .exports
        .iter()
        .filter(|export| !KEEP.contains(&export.name.as_str()))
        .map(|export| export.id())
        .collect();
    for export in unused {
        module.exports.delete(export);
    }
    walrus::passes::gc::run(&mut module);
    for function in module.funcs.iter_mut() {
        let name = function.name.take().map(|name| format!("{:#}", rustc_demangle::demangle(&name)));
        // The drop of a chain of iterators has a name of a kilobyte, and does nothing that could trap.
        let own =
            name.filter(|name| name.contains("rollout") && !name.starts_with("core::ptr::drop_in_place"));
        // The module path says where a function is, so the name of the crate is left out.
        function.name = own.map(|name| name.replace("rollout_core::", ""));
    }
    let beside = format!("{output}.new");
    std::fs::write(&beside, module.emit_wasm())?;
    std::fs::rename(&beside, output)?;
    Ok(())
}
