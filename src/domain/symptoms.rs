//! What is seen around a workload that is known to be in trouble: what its containers may use, who
//! shields its pods, what the cluster warned of, what its logs complain about.
//!
//! Must not know: how it was read, what follows from it. Holds no line of any log: only the names of
//! the patterns that were found there.

use jiff::Timestamp;

/// A fact, or why it is not known.
pub type Fact<T> = Result<T, String>;

/// What is seen around a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symptoms {
    /// What each of its containers may use.
    pub limits: Fact<Vec<ContainerLimits>>,
    /// The `NetworkPolicies` that decide who may connect to its pods, by name.
    pub shields: Fact<Vec<String>>,
    /// What the cluster warned of, about its pods and about making them.
    pub warnings: Fact<Vec<Warning>>,
    /// The end of one container's log.
    pub log: Fact<ScannedLog>,
    /// What was not looked at.
    pub unseen: Unseen,
}

/// Which lists go on beyond what was looked at: nothing is known about the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Its pods: those whose Events and log were asked for are the worst of some.
    pub pods: bool,
    /// The `NetworkPolicies` of its namespace.
    pub policies: bool,
    /// Events about it.
    pub events: bool,
}

/// What a container may use, as its resource limits say; None where there is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerLimits {
    /// The container.
    pub container: String,
    /// Memory, as a quantity.
    pub memory: Option<String>,
    /// CPU, as a quantity.
    pub cpu: Option<String>,
}

/// The Warning Events of one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The reason: one word, for machines. The note is not taken: it can say anything.
    pub reason: String,
    /// How often it was seen.
    pub times: u32,
    /// When it was seen last.
    pub last: Timestamp,
}

/// What the end of one container's log complains about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedLog {
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// How many lines were looked at.
    pub lines: usize,
    /// What was found in them, the most frequent first.
    pub found: Vec<LogPattern>,
}

/// A pattern that lines of a log show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPattern {
    /// What it is called.
    pub name: &'static str,
    /// How many lines show it.
    pub lines: u32,
    /// When the last of them was written; None where the log does not say.
    pub last: Option<Timestamp>,
}
