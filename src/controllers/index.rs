//! What is remembered of the cluster between two looks: keys, versions and digests, not objects.
//!
//! All of it is a cache that may vanish at any moment; what must not be lost is in status. An
//! object is held only while its contract waits in the queue, and only so many of them: a parsed
//! contract takes ten times what its text does. `saw_…` and `lost_…` take in what a watch or the
//! answer of a write brought, and return the contracts to look at because of it.
//!
//! There is one entry for each of ten thousand contracts, so what is kept of it is laid out tight:
//! boxed text without spare room, and no map where there is mostly one thing.

mod around;
mod census;
mod contracts;
mod incidents;
mod parents;
mod served;
mod shown;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache};

use self::{
    contracts::{Entry, Held},
    incidents::IncidentEntry,
    served::{Claim, Packed},
};
use super::{Key, live::Live};
use crate::{
    api::{Incident, WidgetClass},
    decide::{breakers::Calls, select::Policy, silence::Silence},
};

pub use contracts::MOST_HELD;
pub use served::{ServedBytes, ServedObject};
pub use shown::{Ended, Listed, Lists};

/// How many bytes of contracts are kept although nothing happens to them.
const RECENT_BYTES: u64 = 2 * 1024 * 1024;

/// After so long another contract may try what one has been trying without coming to an end.
const PROBE_PATIENCE: Duration = Duration::from_secs(120);

/// The index.
#[derive(Debug)]
pub struct Index {
    state: Mutex<State>,
    /// The contracts that were looked at last, as JSON: when something happens to what one serves,
    /// its repair waits for no read. Of few contracts that is all of them.
    recent: Cache<Key, Arc<[u8]>>,
    /// What changes in Incidents is said here, in the order in which it is taken in.
    live: Arc<Live>,
}

impl Default for Index {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Index {
    /// An empty one; what changes in Incidents is said to `live`.
    #[must_use]
    pub fn new(live: Arc<Live>) -> Self {
        let weight = |_: &Key, text: &Arc<[u8]>| u32::try_from(text.len()).unwrap_or(u32::MAX);
        // By age alone: the default would rather keep what was asked for often.
        let recent = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(weight)
            .max_capacity(RECENT_BYTES)
            .build();
        Self { state: Mutex::default(), recent, live }
    }
}

#[derive(Debug, Default)]
struct State {
    contracts: HashMap<Key, Box<Entry>>,
    /// Are all contracts in that there were at the beginning?
    is_whole: bool,
    /// Objects of contracts that wait in the queue.
    held: HashMap<Key, Held>,
    /// One of each namespace, for the keys of all that is in it.
    namespaces: HashSet<Arc<str>>,
    /// Which contracts read this ConfigMap.
    readers: HashMap<Key, HashSet<Key>>,
    classes: HashMap<Key, Arc<WidgetClass>>,
    policies: HashMap<Key, Arc<Policy>>,
    /// By contract, by ordinal and name: one of a contract before may have the same ordinal.
    incidents: HashMap<Key, BTreeMap<(u32, String), IncidentEntry>>,
    /// The calls on record in each namespace, until one of its Incidents says something else of them.
    calls: HashMap<Arc<str>, Arc<Calls>>,
    /// Incidents about what several contracts have in common, by their own name.
    parents: HashMap<Key, Arc<Incident>>,
    /// Namespaces in which such an Incident could not be written: each contract calls for itself.
    speechless: HashSet<String>,
    /// What contracts had to say of hosts that give no answer; of the others nothing.
    silences: HashMap<Key, Arc<[Silence]>>,
    /// Contracts whose repair is under way, and by which policies.
    repairing: HashMap<Key, Vec<String>>,
    /// Who tries what has not answered for long, by namespace and dependency, and since when.
    probing: HashMap<(Arc<str>, String), (Key, Instant)>,
    /// Contracts that do not fit their type, and the generation of which that was said.
    unreadable: HashMap<Key, (String, i64)>,
    served: HashMap<Key, Packed>,
    /// Which contracts want to write keys of this ConfigMap; in the order of their rank.
    claims: HashMap<Key, Vec<Claim>>,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The same key, its namespace's name shared with all others.
    fn shared(&mut self, key: &Key) -> Key {
        let namespace = if let Some(known) = self.namespaces.get(&key.namespace) {
            Arc::clone(known)
        } else {
            self.namespaces.retain(|known| Arc::strong_count(known) > 1);
            self.namespaces.insert(Arc::clone(&key.namespace));
            Arc::clone(&key.namespace)
        };
        Key { namespace, name: Arc::clone(&key.name) }
    }
}

/// A resourceVersion as a number: comparable since Kubernetes 1.35 (KEP-5504), and in every
/// API server backed by etcd before.
#[must_use]
pub fn version_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
