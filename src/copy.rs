//! A copy on its way through the cluster for copies, where the module is an upstream filter (role `shadow`).
//!
//! It brings the answer to the pair that waits for it (`pairs`), and ends a copy whose answer is too long: Envoy throws the answers
//! of copies away, but it reads them first, and that time is missing for clients. What is not marked as a copy passes untouched,
//! wherever the role is configured.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, Bytes};
use rollout_core::compare::{Head, Origin, PairId, PairResult};
use rollout_core::{CopyAnswer, Edit, header};

use crate::{host, pairs};

#[derive(Default)]
pub(crate) struct Copied {
    /// `None` if the request is not a copy.
    answer: Option<CopyAnswer>,
    /// The pair that waits for the answer, and the cluster that the copy goes to.
    pair: Option<(PairId, Bytes)>,
}

impl Context for Copied {}

impl HttpContext for Copied {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(cluster) = host::request_header(header::SHADOW) else { return Action::Continue };
        self.answer = Some(CopyAnswer::default());
        if let Some(name) = host::request_header(header::PAIR) {
            host::edit_request(&Edit::Remove(header::PAIR));
            self.pair = pairs::find(&name).map(|id| (id, cluster));
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, is_end: bool) -> Action {
        if self.answer.is_none() {
            return Action::Continue;
        }
        let is_too_long = match &self.pair {
            Some((id, cluster)) => {
                let head = Head::new(host::response_headers());
                let is_too_long = CopyAnswer::declares_too_long(head.first("content-length"));
                pairs::copy_head(*id, Origin::Copy(cluster), head, is_end);
                is_too_long
            }
            None if is_end => false,
            None => CopyAnswer::declares_too_long(host::response_header("content-length").as_deref()),
        };
        // An answer to HEAD has the length of a body that does not follow.
        end_if(is_too_long && !is_end)
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        let Some(answer) = &mut self.answer else { return Action::Continue };
        if let Some((id, cluster)) = &self.pair {
            pairs::body(*id, Origin::Copy(cluster), size, is_end);
        }
        end_if(answer.grows_too_long(size) && !is_end)
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let Some((id, cluster)) = &self.pair {
            pairs::end(*id, Origin::Copy(cluster), host::response_trailer("grpc-status"));
        }
        Action::Continue
    }
}

/// The end of a copy. If its answer is not whole, it never will be.
impl Drop for Copied {
    fn drop(&mut self) {
        if let Some((id, cluster)) = &self.pair {
            pairs::fail(*id, Origin::Copy(cluster), PairResult::ShadowError);
        }
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
