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
