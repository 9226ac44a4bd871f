//! A copy on its way through the cluster for copies, where the module is an upstream filter (role `shadow`).
//!
//! It ends a copy whose answer is too long: Envoy throws the answers of copies away, but it reads them first, and that time is
//! missing for clients. What is not marked as a copy passes untouched, wherever the role is configured.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use rollout_core::CopyAnswer;

use crate::host;

#[derive(Default)]
pub(crate) struct Copied {
    /// `None` if the request is not a copy.
    answer: Option<CopyAnswer>,
}

impl Context for Copied {}

impl HttpContext for Copied {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.answer = host::is_copy().then(CopyAnswer::default);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, is_end: bool) -> Action {
        // An answer to HEAD has the length of a body that does not follow.
        if self.answer.is_none() || is_end {
            return Action::Continue;
        }
        end_if(CopyAnswer::declares_too_long(host::response_header("content-length").as_deref()))
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        let Some(answer) = &mut self.answer else { return Action::Continue };
        end_if(answer.grows_too_long(size) && !is_end)
    }
}

/// Ends the copy if its answer is too long. The live request does not notice: Envoy waits for no copy.
fn end_if(is_too_long: bool) -> Action {
    if !is_too_long {
        return Action::Continue;
    }
    host::end_stream();
    Action::Pause
}
