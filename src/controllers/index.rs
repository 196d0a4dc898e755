//! What is remembered of the cluster between two looks: keys, versions and digests, not objects.
//!
//! All of it is a cache that may vanish at any moment; what must not be lost is in status. An
//! object is held only while its contract waits in the queue. `saw_…` and `lost_…` take in what a
//! watch or the answer of a write brought, and return the contracts to look at because of it.

mod around;
mod contracts;
mod incidents;
mod served;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moka::sync::Cache;

use self::{contracts::Entry, incidents::IncidentEntry, served::Claim};
use super::Key;
use crate::{
    api::{WidgetClass, WidgetContract, refs::ConfigMapKeyRef},
    decide::select::Policy,
};

pub use served::{ServedBytes, ServedObject};

/// How many bytes of contracts, as JSON, are kept although nothing happens to them.
const RECENT_BYTES: u64 = 1024 * 1024;

/// The index.
#[derive(Debug)]
pub struct Index {
    state: Mutex<State>,
    /// The contracts that were looked at last: when something happens to what one serves, its
    /// repair waits for no read. Of few contracts that is all of them.
    recent: Cache<Key, Arc<WidgetContract>>,
}

impl Default for Index {
    fn default() -> Self {
        let weight = |_: &Key, object: &Arc<WidgetContract>| {
            let text = serde_json::to_string(&**object);
            text.ok().and_then(|text| u32::try_from(text.len()).ok()).unwrap_or(u32::MAX)
        };
        let recent = Cache::builder().weigher(weight).max_capacity(RECENT_BYTES).build();
        Self { state: Mutex::default(), recent }
    }
}

#[derive(Debug, Default)]
struct State {
    contracts: HashMap<Key, Entry>,
    /// Which contracts read this ConfigMap.
    readers: HashMap<Key, BTreeSet<Key>>,
    classes: HashMap<Key, Arc<WidgetClass>>,
    policies: HashMap<Key, Policy>,
    /// By contract, by ordinal and name: one of a contract before may have the same ordinal.
    incidents: HashMap<Key, BTreeMap<(u32, String), IncidentEntry>>,
    /// Contracts that do not fit their type, and the generation of which that was said.
    unreadable: HashMap<Key, (String, i64)>,
    served: HashMap<Key, ServedObject>,
    /// Which contracts want to write this key, with what decides among them.
    claims: HashMap<Key, BTreeMap<Claim, ConfigMapKeyRef>>,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A resourceVersion as a number: comparable since Kubernetes 1.35 (KEP-5504), and in every
/// API server backed by etcd before.
#[must_use]
pub fn version_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
