//! Keys that are ready: the namespaces take turns, and within one the key that has waited longest
//! comes first. So a namespace whose ten thousand contracts break together makes another one wait
//! for one of them, not for all.
//!
//! Every operation takes logarithmic time, and nothing is kept of a namespace without ready keys.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::controllers::Key;

/// The ready keys of all namespaces, each at most once.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Those with ready keys, by when it is their turn.
    turns: BTreeMap<u64, Arc<str>>,
    by_namespace: HashMap<Arc<str>, Lane>,
    counter: u64,
    len: usize,
}

/// The ready keys of one namespace, by name.
#[derive(Debug, Default)]
struct Lane {
    turn: u64,
    /// By when they became ready.
    names: BTreeMap<u64, Arc<str>>,
    /// Canonical: where each stands in `names`.
    places: HashMap<Arc<str>, u64>,
}

impl Lanes {
    /// Adds a key behind those of its namespace, unless it is there already.
    pub(super) fn push(&mut self, key: &Key) {
        self.counter += 1;
        let Self { turns, by_namespace, counter, len } = self;
        let lane = by_namespace.entry(Arc::clone(&key.namespace)).or_insert_with(|| {
            turns.insert(*counter, Arc::clone(&key.namespace));
            Lane { turn: *counter, ..Lane::default() }
        });
        if lane.places.contains_key(&key.name) {
            return;
        }
        lane.places.insert(Arc::clone(&key.name), *counter);
        lane.names.insert(*counter, Arc::clone(&key.name));
        *len += 1;
    }

    /// Takes a key out wherever it stands.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(lane) = self.by_namespace.get_mut(&key.namespace) else { return };
        let Some(place) = lane.places.remove(&key.name) else { return };
        lane.names.remove(&place);
        self.len -= 1;
        if lane.names.is_empty() {
            let turn = lane.turn;
            self.turns.remove(&turn);
            self.by_namespace.remove(&key.namespace);
        }
    }

    /// The next key; its namespace goes behind all others.
    pub(super) fn pop(&mut self) -> Option<Key> {
        let (_, namespace) = self.turns.pop_first()?;
        let lane = self.by_namespace.get_mut(&namespace)?;
        let (_, name) = lane.names.pop_first()?;
        lane.places.remove(&name);
        self.len -= 1;
        if lane.names.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.counter += 1;
            lane.turn = self.counter;
            self.turns.insert(self.counter, Arc::clone(&namespace));
        }
        Some(Key { namespace, name })
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.by_namespace
            .get(&key.namespace)
            .is_some_and(|lane| lane.places.contains_key(&key.name))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Push(u8, u8),
        Remove(u8, u8),
        Pop,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => (0..4_u8, 0..6_u8).prop_map(|(namespace, name)| Op::Push(namespace, name)),
            1 => (0..4_u8, 0..6_u8).prop_map(|(namespace, name)| Op::Remove(namespace, name)),
            3 => Just(Op::Pop),
        ];
        prop::collection::vec(op, 0..80)
    }

    fn namespaces(ready: &[Key]) -> BTreeSet<Arc<str>> {
        ready.iter().map(|key| Arc::clone(&key.namespace)).collect()
    }

    proptest! {
        #[test]
        fn namespaces_take_turns_and_each_key_comes_once_in_the_order_of_its_namespace(
            ops in ops(),
        ) {
            let key = |namespace: u8, name: u8| Key::new(&namespace.to_string(), &name.to_string());
            let mut lanes = Lanes::default();
            // What is ready, the longest waiting first.
            let mut ready: Vec<Key> = Vec::new();
            // Whose key was taken while the namespace had one ready, all the time until now.
            let mut overtaken: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
            for op in ops {
                match op {
                    Op::Push(namespace, name) => {
                        let key = key(namespace, name);
                        lanes.push(&key);
                        if !ready.contains(&key) {
                            ready.push(key);
                        }
                    }
                    Op::Remove(namespace, name) => {
                        let key = key(namespace, name);
                        lanes.remove(&key);
                        ready.retain(|other| *other != key);
                    }
                    Op::Pop => {
                        let taken = lanes.pop();
                        let is_oldest = |key: &Key| {
                            ready.iter().find(|other| other.namespace == key.namespace) == Some(key)
                        };
                        prop_assert_eq!(taken.is_none(), ready.is_empty());
                        prop_assert!(taken.iter().all(is_oldest));
                        let Some(taken) = taken else { continue };
                        ready.retain(|other| *other != taken);
                        overtaken.remove(&taken.namespace);
                        for waits in namespaces(&ready) {
                            if waits != taken.namespace {
                                let by = overtaken.entry(waits).or_default();
                                by.push(Arc::clone(&taken.namespace));
                            }
                        }
                    }
                }
                overtaken.retain(|waits, _| ready.iter().any(|key| key.namespace == *waits));
                for (waits, by) in &overtaken {
                    let mut once = by.clone();
                    once.sort();
                    once.dedup();
                    prop_assert_eq!(once.len(), by.len(), "{} was overtaken twice", waits);
                }
                prop_assert_eq!(lanes.len(), ready.len());
                prop_assert!(ready.iter().all(|key| lanes.contains(key)));
                prop_assert_eq!(lanes.by_namespace.len(), namespaces(&ready).len());
                prop_assert_eq!(lanes.turns.len(), namespaces(&ready).len());
            }
        }
    }
}
