//! Incidents about what several contracts have in common: one look at a namespace at a time, after
//! something in it changed.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, api::Patch};
use tracing::warn;

use super::{
    Ctx, Error, Key, create_as_us, events,
    names::owner_reference,
    patch_as_us,
    perform::{delete_incident, status_patch},
    policy,
    queue::backoff,
};
use crate::{
    api::{
        Incident,
        incident::{About, IncidentSpec, IncidentStatus},
    },
    decide::{
        parents::{self, Act, Parent},
        signal::Signal,
    },
    domain::Span,
};

/// How long after a change a namespace is looked at: a storm of changes is one look.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// Something changed that contracts of this namespace may have in common.
pub fn changed(ctx: &Ctx, namespace: &str) {
    ctx.families.at(Key::new(namespace, ""), Instant::now() + LOOK_AFTER);
}

/// Looks at namespaces until the queue is closed.
pub async fn work(ctx: Arc<Ctx>) {
    let mut failures: HashMap<Key, u32> = HashMap::new();
    while let Some(key) = ctx.families.take().await {
        let outcome = look(&ctx, &key.namespace).await;
        ctx.index.speaks(&key.namespace, outcome.is_ok());
        match outcome {
            Ok(next) => {
                failures.remove(&key);
                if let Some(wait) = next {
                    ctx.families.at(key.clone(), Instant::now() + wait);
                }
            }
            Err(error) => {
                let failed = failures.entry(key.clone()).or_default();
                *failed = failed.saturating_add(1);
                let wait = backoff(*failed, 1000);
                warn!(namespace = %key.namespace, %error, ?wait, "a look at what contracts have in common failed");
                ctx.families.at(key.clone(), Instant::now() + wait);
            }
        }
        ctx.families.done(&key);
    }
}

async fn look(ctx: &Ctx, namespace: &str) -> Result<Option<Duration>, Error> {
    let now = ctx.now();
    let outbound = &ctx.outbound;
    let family = ctx.index.family(namespace, outbound.heard(), outbound.reached_again());
    let (acts, next) = parents::next(&family, now);
    let mut outcome = Ok(());
    for act in acts {
        // One that is refused keeps none of the others from being written.
        outcome = outcome.and(match act {
            Act::Open { name, spec, owner } => open(ctx, namespace, &name, *spec, &owner).await,
            Act::Record { parent, status, signals, look_again } => {
                let written = record(ctx, namespace, &parent, &status, &signals).await;
                for (contract, after) in look_again {
                    ctx.queue.at(Key::new(namespace, &contract), Instant::now() + after.to_std());
                }
                written
            }
            Act::Forget(parent) => forget(ctx, namespace, &parent).await,
        });
    }
    outcome?;
    Ok(next.map(|at| Span::between(now, at).to_std()))
}

/// Opens an Incident. One that is there already was opened before a crash: it is taken over.
async fn open(
    ctx: &Ctx,
    namespace: &str,
    name: &str,
    spec: IncidentSpec,
    owner: &About,
) -> Result<(), Error> {
    let owner = match owner_of(ctx, namespace, owner) {
        Ok(owner) => owner,
        // It went while this was decided, and what it was about with it.
        Err(Gone) => return Ok(()),
    };
    let attempted = format!("opening Incident {namespace}/{name}");
    let incidents: Api<Incident> = Api::namespaced(ctx.client.clone(), namespace);
    let mut object = Incident::new(name, spec);
    object.metadata.owner_references = owner.map(|owner| vec![owner]);
    let opened = match ctx.write(&attempted, incidents.create(&create_as_us(), &object)).await {
        Err(Error::Conflict { .. }) => {
            let found = ctx.find(&attempted, incidents.get(name)).await?;
            found.ok_or(Error::Conflict { attempted })?
        }
        answer => answer?,
    };
    ctx.index.saw_parent(&opened);
    changed(ctx, namespace);
    Ok(())
}

/// What an Incident would be about is not there any more.
struct Gone;

/// What an Incident ends with: that one calls it to account for nothing that is gone.
fn owner_of(ctx: &Ctx, namespace: &str, about: &About) -> Result<Option<OwnerReference>, Gone> {
    match about {
        About::Policy(named) => {
            let owner = policy::owner_reference_of(ctx, &Key::new(namespace, &named.name));
            owner.map(Some).ok_or(Gone)
        }
        About::Class(named) => {
            let class = ctx.index.class(&Key::new(namespace, &named.name)).ok_or(Gone)?;
            Ok(Some(owner_reference(&*class)))
        }
        // Its schema may come back under the same name: its contracts refer to it all the while.
        // What is outside is no object.
        About::Schema(_) | About::Host(_) | About::Egress(_) => Ok(None),
    }
}

/// Writes the status of one on exactly the version that was decided on.
async fn record(
    ctx: &Ctx,
    namespace: &str,
    parent: &Parent,
    status: &IncidentStatus,
    signals: &[Signal],
) -> Result<(), Error> {
    let known = &parent.incident;
    let attempted = format!("writing the status of Incident {namespace}/{}", known.name);
    let Some(patch) = status_patch(Some(&known.status), status, Some(&known.version)) else {
        return Ok(());
    };
    let incidents: Api<Incident> = Api::namespaced(ctx.client.clone(), namespace);
    let (params, patch) = (patch_as_us(), Patch::Merge(&patch));
    let request = incidents.patch_status(&known.name, &params, &patch);
    match ctx.write(&attempted, request).await {
        Ok(written) => {
            ctx.index.saw_parent(&written);
            for signal in signals {
                events::say_of_incident(ctx, &written, signal).await;
            }
            Ok(())
        }
        Err(error) if error.is_not_found() => {
            ctx.index.lost_parent(&Key::new(namespace, &known.name));
            changed(ctx, namespace);
            Ok(())
        }
        // The watch brings what was written by somebody else, and with it another look.
        Err(Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn forget(ctx: &Ctx, namespace: &str, parent: &Parent) -> Result<(), Error> {
    let name = &parent.incident.name;
    delete_incident(ctx, namespace, name, &parent.uid).await?;
    ctx.index.lost_parent(&Key::new(namespace, name));
    Ok(())
}
