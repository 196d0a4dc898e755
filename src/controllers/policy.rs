//! Policies: what is in force goes to the index, what is wrong with one to its status.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Resource, ResourceExt as _, api::Patch, core::PartialObjectMeta};
use serde::Deserialize;
use serde_json::Value;
use tracing::warn;

use super::{
    Ctx, Error, Key,
    names::{ours, owner_reference},
    parents, patch_as_us, perform,
    queue::{Queue, backoff},
};
use crate::{
    api::{RemediationPolicy, RemediationPolicyStatus},
    decide::{breakers, policy, select::Policy},
};

/// How long after a change its policies are counted anew: a storm of changes is one write.
const COUNT_AFTER: Duration = Duration::from_secs(5);

/// Stands in the queue for all policies of a namespace: no object has this name.
const EVERY: &str = "";

/// A RemediationPolicy whose spec is still to be read: one that cannot be has a status, too.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = RemediationPolicy)]
pub struct Unread {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Value,
    /// Its status.
    #[serde(default)]
    pub status: RemediationPolicyStatus,
}

/// The policies whose status is to be looked at.
#[derive(Debug, Default)]
pub struct Policies {
    queue: Queue,
    seen: Mutex<HashMap<Key, Seen>>,
}

/// A policy as it was seen last, and how often in a row its status could not be written.
#[derive(Debug)]
struct Seen {
    object: Arc<Unread>,
    failures: u32,
}

impl Policies {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Seen>> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait for somebody to look at them, and how many for their time.
    pub fn waiting(&self) -> (usize, usize) {
        self.queue.waiting()
    }

    /// Hands out no more work.
    pub fn close(&self) {
        self.queue.close();
    }

    /// As they were seen last, by namespace and name: those of the namespaces that `wanted` is true of.
    pub fn all(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Unread>> {
        let seen = self.lock();
        let mut all: Vec<_> = seen.iter().filter(|(key, _)| wanted(&key.namespace)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, seen)| Arc::clone(&seen.object)).collect()
    }

    /// The namespaces in which there are any.
    pub fn namespaces(&self) -> BTreeSet<Arc<str>> {
        self.lock().keys().map(|key| Arc::clone(&key.namespace)).collect()
    }

    /// One of them.
    pub fn one(&self, key: &Key) -> Option<Arc<Unread>> {
        self.lock().get(key).map(|seen| Arc::clone(&seen.object))
    }

    fn of_namespace(&self, namespace: &str) -> Vec<Key> {
        self.lock().keys().filter(|key| &*key.namespace == namespace).cloned().collect()
    }

    fn failed(&self, key: &Key) -> u32 {
        self.lock().get_mut(key).map_or(1, |seen| {
            seen.failures = seen.failures.saturating_add(1);
            seen.failures
        })
    }
}

/// Takes in a policy; returns the contracts to look at because of it.
pub fn saw(ctx: &Ctx, object: Unread) -> Vec<Key> {
    let key = Key::of(&object);
    let changed = match policy::read(&object.spec) {
        Ok(spec) => ctx.index.saw_policy(
            &key,
            Policy {
                name: object.name_any(),
                annotations: ours(object.annotations()),
                generation: object.metadata.generation.unwrap_or(0),
                created: object.creation_timestamp().map_or(jiff::Timestamp::MIN, |time| time.0),
                spec,
            },
        ),
        // What cannot be read is not in force, and neither is what it was before.
        Err(_) => ctx.index.lost_policy(&key),
    };
    ctx.policies.lock().insert(key.clone(), Seen { object: Arc::new(object), failures: 0 });
    parents::changed(ctx, &key.namespace);
    let news = look_at_others(ctx, &key, changed);
    ctx.policies.queue.now(key);
    news
}

/// Forgets a policy; returns the contracts to look at because of it.
pub fn lost(ctx: &Ctx, key: &Key) -> Vec<Key> {
    ctx.policies.lock().remove(key);
    ctx.policies.queue.forget(key);
    parents::changed(ctx, &key.namespace);
    look_at_others(ctx, key, ctx.index.lost_policy(key))
}

/// A policy that changed may have begun or ceased to tie with the others of its namespace; one whose
/// status alone was written has not.
fn look_at_others(ctx: &Ctx, key: &Key, changed: Option<Vec<Key>>) -> Vec<Key> {
    if changed.is_some() {
        all_count(ctx, &key.namespace);
    }
    changed.unwrap_or_default()
}

/// Something changed that a policy is measured by.
pub fn counts(ctx: &Ctx, key: Key) {
    ctx.policies.queue.at(key, Instant::now() + COUNT_AFTER);
}

/// What makes an object end with a policy, while there is one.
pub fn owner_reference_of(ctx: &Ctx, key: &Key) -> Option<OwnerReference> {
    ctx.policies.lock().get(key).map(|seen| owner_reference(&*seen.object))
}

/// The same, for every policy of a namespace: one entry in the queue, since thousands of contracts
/// may change at once under a hundred policies.
pub fn all_count(ctx: &Ctx, namespace: &str) {
    parents::changed(ctx, namespace);
    counts(ctx, Key::new(namespace, EVERY));
}

/// Something answers again: whoever waited for it is looked at, one after the other.
fn look_again(ctx: &Ctx, policy: &Key) {
    for (contract, uid) in ctx.index.waiting_for_answers(&policy.namespace) {
        let wait = breakers::spread(&uid, breakers::LONGEST_SPREAD).to_std();
        ctx.queue.at(contract, Instant::now() + wait);
    }
}

/// Writes what each status should say, until the queue is closed.
pub async fn work(ctx: Arc<Ctx>) {
    while let Some(key) = ctx.policies.queue.take().await {
        if &*key.name == EVERY {
            for policy in ctx.policies.of_namespace(&key.namespace) {
                ctx.policies.queue.now(policy);
            }
            ctx.policies.queue.done(&key);
            continue;
        }
        match say(&ctx, &key).await {
            Ok(()) => {}
            // Gone; the watch will say so, too.
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let wait = backoff(ctx.policies.failed(&key), 1000);
                warn!(policy = %key, %error, ?wait, "the status of a policy was not written");
                ctx.policies.queue.at(key.clone(), Instant::now() + wait);
            }
        }
        ctx.policies.queue.done(&key);
    }
}

/// Writes the status of a policy if it differs from the one that was seen, on exactly that version:
/// what was written is equal when it comes back as an event, so nothing is written twice.
async fn say(ctx: &Ctx, key: &Key) -> Result<(), Error> {
    let Some(object) = ctx.policies.one(key) else { return Ok(()) };
    let found = match policy::read(&object.spec) {
        Err(stall) => Err(stall),
        // Expressions are tried out, so it is done where validation is.
        Ok(spec) => {
            let judged = ctx.documents.pool.run(move || policy::judge(&spec)).await;
            judged.map_err(|_| Error::Timeout {
                attempted: format!("judging RemediationPolicy {key}"),
                after: ctx.documents.pool.patience().to_std(),
            })?
        }
    };
    let generation = object.metadata.generation.unwrap_or(0);
    let measured = ctx.index.measured(key);
    if policy::has_closed(&object.status, &measured) {
        look_again(ctx, key);
    }
    let rivals = ctx.index.rivals(key);
    let status = policy::status(&object.status, generation, &found, measured, &rivals, ctx.now());
    let version = object.resource_version();
    let patch = perform::status_patch(Some(&object.status), &status, version.as_deref());
    let Some(patch) = patch else { return Ok(()) };
    if let Err(stall) = &found {
        warn!(policy = %key, reason = stall.reason, message = %stall.message, "stalled");
    }
    let policies: Api<PartialObjectMeta<RemediationPolicy>> =
        Api::namespaced(ctx.client.clone(), &key.namespace);
    let attempted = format!("writing the status of RemediationPolicy {key}");
    let (params, patch) = (patch_as_us(), Patch::Merge(&patch));
    ctx.write(&attempted, policies.patch_status(&key.name, &params, &patch)).await.map(drop)
}
