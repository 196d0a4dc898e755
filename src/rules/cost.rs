//! The static cost gate: refuses schemas and expressions that could run away, before anything is
//! compiled or run.
//!
//! Knows: what the validator and the interpreter are known to be slow at, and limits that no
//! honest schema or expression comes near. Must not know: documents (but for their sizes), rules,
//! verdicts.
//!
//! A schema or an expression is text that any author of a contract can write, and neither
//! `jsonschema` nor `cel` can be told to stop. So what cannot be bounded is refused here, with a
//! message that names the place and the limit. The figures and their reasons stand beside each
//! limit, in [`schema`] and [`expression`].

pub mod expression;
mod graph;
pub mod meter;
pub mod schema;
pub mod source;

pub use graph::{Draft, Graph, Node};
#[cfg(test)]
pub(crate) use tests_timing::timed;

#[cfg(test)]
mod tests_timing {
    use std::time::Instant;

    /// What `work` returns, and the seconds that it took. Bounds on these are a thousand times
    /// what is usual, so that only work without end passes them, and never a busy machine.
    pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
        let start = Instant::now();
        let done = work();
        (done, start.elapsed().as_secs_f64())
    }
}
