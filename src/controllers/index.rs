//! What is remembered of the cluster between two looks: keys, versions and digests, not objects.
//!
//! All of it is a cache that may vanish at any moment; what must not be lost is in status. An
//! object is held only while its contract waits in the queue.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use super::{Key, perform::owner_annotation};
use crate::{
    api::{
        Incident, RemediationPolicy, WidgetClass, WidgetContract,
        contract::{DocumentSource, SchemaSource},
        incident::State as IncidentState,
        refs::ConfigMapKeyRef,
    },
    decide::{select::Policy, view::EndedIncident},
    domain::Digest,
};

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    state: Mutex<State>,
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

/// Who claims a served key: the oldest contract first, then by UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    created: i64,
    uid: String,
    contract: Key,
}

/// What is remembered of one Incident.
#[derive(Debug)]
struct IncidentEntry {
    name: String,
    version: u64,
    contract_uid: String,
    /// The object while it is open, since every look at its contract needs it; else its end.
    state: Result<Arc<Incident>, EndedIncident>,
}

/// What is remembered of one contract.
#[derive(Debug, Default)]
struct Entry {
    uid: String,
    /// The newest version seen or written.
    version: u64,
    class: Option<String>,
    reads: Vec<String>,
    serves: Option<String>,
    /// The object, while it waits in the queue.
    object: Option<Arc<WidgetContract>>,
    /// Is the object one that we wrote ourselves, so that nothing has to be looked at for it?
    rests: bool,
    /// Looks in a row that ended in an error.
    failures: u32,
}

/// A ConfigMap that we serve from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedObject {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Its keys.
    pub keys: Vec<ServedBytes>,
    /// Its annotations that are ours, as they are.
    pub annotations: BTreeMap<String, String>,
}

/// One key of a ConfigMap that we serve from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBytes {
    /// The key.
    pub key: String,
    /// Digest of its bytes.
    pub raw_digest: Digest,
    /// The field manager that wrote it.
    pub manager: String,
}

impl Index {
    /// Takes in a contract. Is it worth a look? Not when we have seen or written this version.
    pub fn saw_contract(&self, object: WidgetContract) -> Option<Key> {
        let key = Key::of(&object);
        let version = version_of(object.resource_version().as_deref());
        let uid = object.uid().unwrap_or_default();
        let mut state = self.lock();
        let known = state.contracts.get(&key);
        // An older version of the same object is a late event; of another UID it is a new object.
        if known.is_some_and(|entry| entry.uid == uid && version <= entry.version) {
            return None;
        }
        let failures = known.map_or(0, |entry| entry.failures);
        let serves = known.filter(|entry| entry.uid == uid).and_then(|entry| entry.serves.clone());
        state.unreadable.remove(&key);
        if serves.is_none() {
            state.unclaim(&key);
        }
        state.forget_reads(&key);
        let entry = Entry {
            class: object.spec.class_ref.as_ref().map(|class| class.name.clone()),
            reads: reads(&object),
            serves,
            uid,
            version,
            object: Some(Arc::new(object)),
            rests: false,
            failures,
        };
        for name in &entry.reads {
            let config_map = Key::new(&key.namespace, name);
            state.readers.entry(config_map).or_default().insert(key.clone());
        }
        state.contracts.insert(key.clone(), entry);
        Some(key)
    }

    /// Takes in a contract that cannot be read; has that been said of this generation of it?
    pub fn saw_unreadable(&self, key: &Key, uid: &str, generation: i64) -> bool {
        let mut state = self.lock();
        state.forget(key);
        let said = state.unreadable.get(key);
        said.is_some_and(|(said_uid, said)| said_uid == uid && *said == generation)
    }

    /// It has been said that this generation of a contract cannot be read.
    pub fn said_unreadable(&self, key: &Key, uid: &str, generation: i64) {
        self.lock().unreadable.insert(key.clone(), (uid.to_owned(), generation));
    }

    /// Forgets a contract that is gone.
    pub fn lost_contract(&self, key: &Key) {
        let mut state = self.lock();
        state.forget(key);
        state.unreadable.remove(key);
    }

    /// Takes in a policy; returns the contracts of its namespace, when it is news.
    pub fn saw_policy(&self, object: &RemediationPolicy) -> Vec<Key> {
        let key = Key::of(object);
        let policy = Policy {
            name: object.name_any(),
            generation: object.metadata.generation.unwrap_or(0),
            created: object.creation_timestamp().map_or(Timestamp::MIN, |time| time.0),
            spec: object.spec.clone(),
        };
        let mut state = self.lock();
        let known = state.policies.insert(key.clone(), policy.clone());
        if known.as_ref() == Some(&policy) { Vec::new() } else { state.in_trouble(&key.namespace) }
    }

    /// Forgets a policy; returns the contracts of its namespace that are in trouble.
    pub fn lost_policy(&self, key: &Key) -> Vec<Key> {
        let mut state = self.lock();
        state.policies.remove(key);
        state.in_trouble(&key.namespace)
    }

    /// The policies that were known before a list and are not in it.
    pub fn policies_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state.policies.keys().filter(in_scope).filter(|k| !listed.contains(*k)).cloned().collect()
    }

    /// The policies of a namespace.
    pub fn policies(&self, namespace: &str) -> Vec<Policy> {
        let state = self.lock();
        let here = state.policies.iter().filter(|(key, _)| &*key.namespace == namespace);
        here.map(|(_, policy)| policy.clone()).collect()
    }

    /// Takes in an Incident; returns its contract, when it is news.
    pub fn saw_incident(&self, object: &Incident) -> Option<Key> {
        let contract =
            Key::new(&object.namespace().unwrap_or_default(), &object.spec.contract_name);
        let version = version_of(object.resource_version().as_deref());
        let mut state = self.lock();
        let of_contract = state.incidents.entry(contract.clone()).or_default();
        let place = (object.spec.ordinal, object.name_any());
        if of_contract.get(&place).is_some_and(|known| known.version >= version) {
            return None;
        }
        let status = object.status.clone().unwrap_or_default();
        let over = status.state.is_some_and(IncidentState::is_over);
        let entry = IncidentEntry {
            name: object.name_any(),
            version,
            contract_uid: object.spec.contract_uid.clone(),
            state: if over {
                Err(EndedIncident {
                    name: object.name_any(),
                    uid: object.uid().unwrap_or_default(),
                    ordinal: object.spec.ordinal,
                    cause: object.spec.cause,
                    fingerprint: object.spec.fingerprint.clone(),
                    digest: object.spec.document_digest.clone(),
                    closed: object.spec.close,
                    ended_at: status.resolved_at.map(|time| time.0),
                })
            } else {
                Ok(Arc::new(object.clone()))
            },
        };
        of_contract.insert(place, entry);
        Some(contract)
    }

    /// Forgets an Incident that is gone; returns its contract.
    pub fn lost_incident(&self, object: &Incident) -> Option<Key> {
        let contract =
            Key::new(&object.namespace().unwrap_or_default(), &object.spec.contract_name);
        self.forget_incident(contract, &object.name_any())
    }

    /// Forgets the Incident of that name.
    pub fn forget_incident(&self, contract: Key, name: &str) -> Option<Key> {
        let mut state = self.lock();
        let of_contract = state.incidents.get_mut(&contract)?;
        of_contract.retain(|_, entry| entry.name != name);
        if of_contract.is_empty() {
            state.incidents.remove(&contract);
        }
        Some(contract)
    }

    /// The open Incident of a contract, and those that are over, newest first.
    pub fn incidents_of(
        &self,
        contract: &Key,
        uid: &str,
    ) -> (Option<Arc<Incident>>, Vec<EndedIncident>) {
        let state = self.lock();
        let own = state
            .incidents
            .get(contract)
            .into_iter()
            .flat_map(BTreeMap::values)
            .rev()
            .filter(|entry| entry.contract_uid == uid);
        let (mut open, mut over) = (None, Vec::new());
        for entry in own {
            match &entry.state {
                Ok(object) if open.is_none() => open = Some(Arc::clone(object)),
                Err(ended) => over.push(ended.clone()),
                Ok(_) => {}
            }
        }
        (open, over)
    }

    /// The contracts that were known before a list and are not in it.
    pub fn contracts_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state
            .contracts
            .keys()
            .filter(in_scope)
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect()
    }

    /// The object to work on, taken out of the index; None when it has to be read.
    pub fn take_object(&self, key: &Key) -> Option<Arc<WidgetContract>> {
        self.lock().contracts.get_mut(key)?.object.take()
    }

    /// Keeps `object` for the next look, unless a newer one has arrived.
    pub fn keep_object(&self, key: &Key, object: Arc<WidgetContract>) {
        let mut state = self.lock();
        if let Some(entry) = state.contracts.get_mut(key) {
            let version = version_of(object.resource_version().as_deref());
            if entry.object.is_none() && version >= entry.version {
                entry.object = Some(object);
            }
        }
    }

    /// What we wrote: nothing older may be decided on. Kept for a look that follows at once.
    pub fn wrote_contract(&self, key: &Key, written: WidgetContract) {
        let version = version_of(written.resource_version().as_deref());
        if let Some(entry) = self.lock().contracts.get_mut(key)
            && version >= entry.version
        {
            entry.version = version;
            entry.object = Some(Arc::new(written));
            entry.rests = true;
        }
    }

    /// No look follows at once: what was kept for one is dropped, unless something newer came.
    pub fn rest(&self, key: &Key) {
        if let Some(entry) = self.lock().contracts.get_mut(key)
            && entry.rests
        {
            entry.object = None;
        }
    }

    /// The newest version of this contract that we have seen or written.
    pub fn contract_version(&self, key: &Key) -> u64 {
        self.lock().contracts.get(key).map_or(0, |entry| entry.version)
    }

    /// One more look that ended in an error; returns how many in a row there have been.
    pub fn failed(&self, key: &Key) -> u32 {
        self.lock().contracts.get_mut(key).map_or(1, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.failures
        })
    }

    /// A look that went well.
    pub fn succeeded(&self, key: &Key) {
        if let Some(entry) = self.lock().contracts.get_mut(key) {
            entry.failures = 0;
        }
    }

    /// Takes in a class; returns the contracts that name it.
    pub fn saw_class(&self, class: WidgetClass) -> Vec<Key> {
        let key = Key::of(&class);
        let mut state = self.lock();
        let same = state.classes.get(&key).is_some_and(|known| known.spec == class.spec);
        state.classes.insert(key.clone(), Arc::new(class));
        if same { Vec::new() } else { state.of_class(&key) }
    }

    /// Forgets a class; returns the contracts that name it.
    pub fn lost_class(&self, key: &Key) -> Vec<Key> {
        let mut state = self.lock();
        state.classes.remove(key);
        state.of_class(key)
    }

    /// The class of that name.
    pub fn class(&self, key: &Key) -> Option<Arc<WidgetClass>> {
        self.lock().classes.get(key).cloned()
    }

    /// The classes that were known before a list and are not in it.
    pub fn classes_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state.classes.keys().filter(in_scope).filter(|k| !listed.contains(*k)).cloned().collect()
    }

    /// Every contract that reads a ConfigMap by its own spec.
    pub fn all_readers(&self) -> BTreeSet<Key> {
        self.lock().readers.values().flatten().cloned().collect()
    }

    /// The contracts that read this ConfigMap.
    pub fn readers_of(&self, config_map: &Key) -> Vec<Key> {
        let state = self.lock();
        let mut readers = state.readers.get(config_map).cloned().unwrap_or_default();
        let classes = state.classes.iter().filter(|(key, class)| {
            key.namespace == config_map.namespace
                && matches!(&class.spec.schema, Some(SchemaSource::ConfigMapKeyRef(schema))
                    if schema.name == *config_map.name)
        });
        for (class, _) in classes {
            readers.extend(state.of_class(class));
        }
        readers.into_iter().collect()
    }

    /// Says that `contract` wants to write `at`; returns the older contract that has the key
    /// already, if there is one.
    pub fn claim(&self, contract: &WidgetContract, at: Option<&ConfigMapKeyRef>) -> Option<Key> {
        let key = Key::of(contract);
        let claim = Claim {
            created: contract.creation_timestamp().map_or(0, |time| time.0.as_second()),
            uid: contract.uid().unwrap_or_default(),
            contract: key.clone(),
        };
        let mut state = self.lock();
        state.unclaim(&key);
        let at = at?;
        let config_map = Key::new(&key.namespace, &at.name);
        // A contract that is gone, or is another one by now, has nothing to claim.
        let entry = state.contracts.get_mut(&key).filter(|entry| entry.uid == claim.uid)?;
        entry.serves = Some(at.name.clone());
        let owner = state.served.get(&config_map).and_then(|object| {
            let note = object.annotations.get(&owner_annotation(&at.key))?;
            note.split_once('/').map(|(uid, _)| uid.to_owned())
        });
        let claims = state.claims.entry(config_map).or_default();
        claims.insert(claim.clone(), at.clone());
        // Whoever serves already goes on: who comes first must not hang on who is looked at first.
        let rivals = || claims.iter().filter(|(_, claimed)| claimed.key == at.key);
        let incumbent = rivals().find(|(rival, _)| Some(&rival.uid) == owner.as_ref());
        let (first, _) = incumbent.or_else(|| rivals().next())?;
        (*first != claim).then(|| first.contract.clone())
    }

    /// Takes in a ConfigMap that we serve from; returns the contracts whose key of it is news.
    pub fn saw_served(&self, object: &ConfigMap) -> Vec<Key> {
        let key = Key::of(object);
        let served = ServedObject::of(object);
        let mut state = self.lock();
        let known = state.served.get(&key);
        if known.is_some_and(|known| known.uid == served.uid && known.version >= served.version) {
            return Vec::new();
        }
        let of = |object: &ServedObject, name: &str| {
            object.keys.iter().find(|bytes| bytes.key == name).cloned()
        };
        let claims = state.claims.get(&key).into_iter().flatten();
        let concerned = claims
            .filter(|(_, at)| known.is_none_or(|known| of(known, &at.key) != of(&served, &at.key)))
            .map(|(claim, _)| claim.contract.clone())
            .collect();
        state.served.insert(key, served);
        concerned
    }

    /// Forgets a served ConfigMap that is gone; returns the contracts that serve from it.
    pub fn lost_served(&self, key: &Key) -> Vec<Key> {
        let mut state = self.lock();
        state.served.remove(key);
        state.claimants(key)
    }

    /// The served ConfigMaps that were known before a list and are not in it.
    pub fn served_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state.served.keys().filter(in_scope).filter(|k| !listed.contains(*k)).cloned().collect()
    }

    /// The served ConfigMap of that name.
    pub fn served(&self, key: &Key) -> Option<ServedObject> {
        self.lock().served.get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, key: &Key) {
        self.unclaim(key);
        self.forget_reads(key);
    }

    /// Forgets all but what the contract claims to serve.
    fn forget_reads(&mut self, key: &Key) {
        let Some(entry) = self.contracts.remove(key) else { return };
        for name in entry.reads {
            let config_map = Key::new(&key.namespace, &name);
            if let Some(readers) = self.readers.get_mut(&config_map) {
                readers.remove(key);
                if readers.is_empty() {
                    self.readers.remove(&config_map);
                }
            }
        }
    }

    fn unclaim(&mut self, key: &Key) {
        let Some(name) = self.contracts.get_mut(key).and_then(|entry| entry.serves.take()) else {
            return;
        };
        let config_map = Key::new(&key.namespace, &name);
        if let Some(claims) = self.claims.get_mut(&config_map) {
            claims.retain(|claim, _| claim.contract != *key);
            if claims.is_empty() {
                self.claims.remove(&config_map);
            }
        }
    }

    fn claimants(&self, config_map: &Key) -> Vec<Key> {
        let claims = self.claims.get(config_map).into_iter().flatten();
        claims.map(|(claim, _)| claim.contract.clone()).collect()
    }

    /// The contracts of a namespace that have an open Incident.
    fn in_trouble(&self, namespace: &str) -> Vec<Key> {
        let open = |entry: &IncidentEntry| entry.state.is_ok();
        self.incidents
            .iter()
            .filter(|(contract, _)| &*contract.namespace == namespace)
            .filter(|(_, incidents)| incidents.values().any(open))
            .map(|(contract, _)| contract.clone())
            .collect()
    }

    fn of_class(&self, class: &Key) -> Vec<Key> {
        self.contracts
            .iter()
            .filter(|(key, _)| key.namespace == class.namespace)
            .filter(|(_, entry)| entry.class.as_deref() == Some(class.name.as_ref()))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

impl ServedObject {
    /// What is remembered of a served ConfigMap: digests, not bytes.
    #[must_use]
    pub fn of(object: &ConfigMap) -> Self {
        let text = object.data.iter().flatten().map(|(key, text)| (key, text.as_bytes()));
        let binary = object.binary_data.iter().flatten().map(|(key, bytes)| (key, &bytes.0[..]));
        let keys = text
            .chain(binary)
            .map(|(key, bytes)| ServedBytes {
                key: key.clone(),
                raw_digest: Digest::of_bytes(bytes),
                manager: manager_of(object, key),
            })
            .collect();
        let annotations = object
            .annotations()
            .iter()
            .filter(|(name, _)| name.starts_with("kintsugi.dev/"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Self {
            uid: object.uid().unwrap_or_default(),
            version: version_of(object.resource_version().as_deref()),
            keys,
            annotations,
        }
    }
}

/// The field manager that wrote `data[key]` last, as the API server recorded it.
fn manager_of(object: &ConfigMap, key: &str) -> String {
    let field = format!("f:{key}");
    object
        .managed_fields()
        .iter()
        .filter(|entry| {
            entry.fields_v1.as_ref().is_some_and(|fields| {
                ["f:data", "f:binaryData"]
                    .iter()
                    .any(|part| fields.0.get(part).is_some_and(|f| f.get(&field).is_some()))
            })
        })
        // Of several owners the latest writer is the one whose bytes are there.
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The ConfigMaps that a contract's own spec reads.
fn reads(contract: &WidgetContract) -> Vec<String> {
    let mut names = BTreeSet::new();
    if let DocumentSource::ConfigMapKeyRef(reference) = &contract.spec.document {
        names.insert(reference.name.clone());
    }
    if let Some(SchemaSource::ConfigMapKeyRef(reference)) = &contract.spec.schema {
        names.insert(reference.name.clone());
    }
    names.into_iter().collect()
}

/// A resourceVersion as a number: comparable since Kubernetes 1.35 (KEP-5504), and in every
/// API server backed by etcd before.
#[must_use]
pub fn version_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
