//! Answers a request that has `x-shared-key` with that key of the shared data, in hexadecimal digits; lets all others pass.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

struct Probe;

impl Context for Probe {}

impl HttpContext for Probe {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(key) = self.get_http_request_header("x-shared-key") else { return Action::Continue };
        let value = self.get_shared_data(&key).0.unwrap_or_default();
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        self.send_http_response(200, Vec::new(), Some(digits.as_bytes()));
        Action::Pause
    }
}

impl RootContext for Probe {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Self))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Probe));
}}
