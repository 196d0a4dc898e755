//! Plain data that the whole house speaks in.
//!
//! Knows: documents, digests, verdicts, violations, durations, sizes, lists of URLs, workloads, circuit
//! breakers. Must not know: Kubernetes,
//! any client, any clock (`now` is always an argument of whoever needs it), any step or rule kind.

pub mod breaker;
pub mod difference;
pub mod digest;
pub mod document;
pub mod duration;
pub mod effect;
pub mod mask;
pub mod patch;
pub mod probe;
pub mod size;
pub mod srcset;
pub mod symptoms;
pub mod text;
pub mod verdict;
pub mod workload;

pub use digest::Digest;
pub use document::Document;
pub use duration::Span;
pub use effect::{JobEnd, JobSeen, Told};
pub use patch::{Op, OpKind, ValueFrom};
pub use probe::{Answer, Heard, LATELY, Probe, Probes, unreachable};
pub use size::ByteSize;
pub use symptoms::{ContainerLimits, Fact, LogPattern, ScannedLog, Symptoms, Unseen, Warning};
pub use verdict::{Doubt, DoubtReason, Severity, Verdict, Violation};
pub use workload::{FailedPod, PodFault, SourceState, Workload, WorkloadKind};
