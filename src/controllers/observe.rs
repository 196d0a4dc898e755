//! All reads: from an object and the cluster around it to a [`View`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Api, Resource as _, ResourceExt as _,
    core::{DeserializeGuard, PartialObjectMeta},
};
use tracing::warn;

use super::{
    Ctx, Error, Key, Seen,
    documents::{self, Fetched, Looks, Rules},
    index::{ServedObject, version_of},
    job,
    names::{is_served, note_annotation, ours, owner_annotation},
    pool::Late,
    source, symptoms, webhook, workload,
};
use crate::{
    api::{
        MANAGER, MAX_MODE, WidgetClass, WidgetContract,
        contract::{EffectiveRef, Mode, WidgetContractSpec},
    },
    decide::{
        Stall,
        contract::{Decision, decide},
        effective::{Effective, ServeTarget},
        guard,
        history::{self, Worth},
        ownership::{ServedIn, whose},
        requests,
        view::{Assigned, Holder, Need, OpenIncident, Served, ServedKey, Subject, View},
    },
    domain::{Digest, Doubt, DoubtReason, Probes, SourceState},
    steps::Revision,
};

/// How many stored revisions, good by themselves, one look asks the assets of.
const MOST_LOOKED_AROUND: usize = 5;
/// How many facts one look may ask for.
const MOST_NEEDS: usize = 24;

/// The contract to look at; None when it is gone or about to be.
///
/// # Errors
/// See [`Error`].
pub async fn contract(ctx: &Ctx, key: &Key) -> Result<Option<Seen>, Error> {
    let object = if let Some(object) = ctx.index.take_object(key) {
        object
    } else {
        // Behind the guard, since the client logs the whole answer when it does not fit.
        let contracts: Api<DeserializeGuard<WidgetContract>> =
            Api::namespaced(ctx.client.clone(), &key.namespace);
        let attempted = format!("reading WidgetContract {key}");
        match ctx.find(&attempted, contracts.get(&key.name)).await? {
            Some(DeserializeGuard(Ok(object))) => Arc::new(object),
            // The watch says so of one that cannot be read.
            Some(DeserializeGuard(Err(_))) | None => return Ok(None),
        }
    };
    // An API server that is behind may answer with less than we have written ourselves.
    if version_of(object.resource_version().as_deref()) < ctx.index.contract_version(key) {
        return Err(Error::Conflict { attempted: format!("reading WidgetContract {key}") });
    }
    let going = object.meta().deletion_timestamp.is_some();
    Ok((!going).then(|| Seen { key: key.clone(), object }))
}

/// What is in force for a contract of this spec, and its class.
///
/// # Errors
/// When there is no such class, or the two do not go together.
pub fn effective(
    ctx: &Ctx,
    key: &Key,
    spec: &WidgetContractSpec,
) -> Result<(Option<Arc<WidgetClass>>, Effective), Stall> {
    let class = match &spec.class_ref {
        None => None,
        Some(reference) => {
            let key = Key::new(&key.namespace, &reference.name);
            Some(ctx.index.class(&key).ok_or_else(|| {
                Stall::new(
                    "ClassNotFound",
                    &format!("spec.classRef: WidgetClass {key} does not exist; create it, or name another"),
                )
            })?)
        }
    };
    let effective = Effective::merge(&key.name, class.as_deref().map(|class| &class.spec), spec)?;
    Ok((class, effective))
}

/// Everything that a decision about `seen` is made from.
///
/// # Errors
/// [`Error::Stalled`] when class and contract do not go together.
pub async fn view(ctx: &Ctx, seen: &Seen, now: Timestamp) -> Result<View, Error> {
    let namespace = &seen.key.namespace;
    let (class, effective) = effective(ctx, &seen.key, &seen.object.spec)?;
    let target = effective.serve.as_ref();
    if let Some(older) = ctx.index.claim(&seen.object, target.map(|target| &target.at)) {
        return Err(Error::Stalled(Stall::new(
            "ServeConflict",
            &format!(
                "WidgetContract {older} is older and is served in the same ConfigMap key; serve elsewhere"
            ),
        )));
    }
    let rules = documents::rules(ctx, namespace, &effective).await?;
    let subject = Subject {
        namespace: namespace.to_string(),
        name: seen.key.name.to_string(),
        uid: seen.object.uid().unwrap_or_default(),
        generation: seen.object.meta().generation.unwrap_or(0),
        labels: seen.object.labels().clone(),
    };
    let (incident, ended) = ctx.index.incidents_of(&seen.key, &subject.uid);
    let status = seen.object.status.clone().unwrap_or_default();
    let annotations = ours(seen.object.annotations());
    let class_annotations =
        class.as_deref().map(|class| (class.name_any(), ours(class.annotations())));
    let is_asked = requests::is_look(&status, &annotations, class_annotations.as_ref());
    let looks = if incident.is_some() || is_asked { Looks::Fresh } else { Looks::Remembered };
    let ((assigned, holder, probes), (served, served_in)) = futures::try_join!(
        assigned(ctx, seen, &effective, &rules, looks, now),
        served(ctx, seen, &subject, target),
    )?;
    Ok(View {
        subject,
        status,
        annotations,
        class: class_annotations,
        effective_ref: EffectiveRef {
            digest: rules.digest.clone(),
            class_generation: class.and_then(|class| class.meta().generation),
        },
        effective,
        assigned,
        holder,
        served,
        served_in,
        served_document: None,
        revisions: BTreeMap::new(),
        book: Arc::clone(&rules.book),
        schema: rules.schema.clone(),
        probes,
        policies: ctx.index.policies(namespace),
        max_mode: None,
        fleet: None,
        approval_guard: None,
        each_calls: ctx.index.is_speechless(namespace),
        shared: incident.as_ref().map_or_else(Vec::new, |_| ctx.index.shared_in(namespace)),
        strictest: if ctx.config.observe_only { Mode::Observe } else { Mode::Auto },
        incident: incident.map(|object| OpenIncident::of(&object)),
        ended,
        history: None,
        source: None,
        state: None,
        symptoms: None,
        edge: None,
        rights: BTreeMap::new(),
        told: BTreeMap::new(),
        heard: None,
        probing: BTreeMap::new(),
        templates: BTreeMap::new(),
        jobs: BTreeMap::new(),
        running_jobs: None,
    })
}

/// Decides, gathering what the decision asks for on the way.
///
/// # Errors
/// See [`Error`].
pub async fn until_decided(
    ctx: &Ctx,
    seen: &Seen,
    view: &mut View,
    now: Timestamp,
) -> Result<Decision, Error> {
    for _ in 0..MOST_NEEDS {
        // Planning judges candidates, so it runs where validation does, within the same bounds.
        let facts = view.clone();
        let work = move || decide(&facts, now);
        let decided = ctx.documents.pool.run(work).await;
        match decided {
            Ok(Ok(decision)) => return Ok(decision),
            Ok(Err(need)) => gather(ctx, seen, view, need, now).await?,
            Err(Late::Busy) => {
                return Err(Error::Timeout {
                    attempted: format!("deciding about WidgetContract {}", seen.key),
                    after: ctx.config.validation_timeout.to_std(),
                });
            }
            Err(Late::Slow) => {
                return Err(Error::Stalled(Stall::new(
                    "PlanningTooSlow",
                    "judging the candidates took too long; simplify the schema, the rules or the steps",
                )));
            }
        }
    }
    Err(Error::Stalled(Stall::new(
        "PlanningTooSlow",
        "the steps of the policy ask for too many facts; use fewer of them",
    )))
}

async fn assigned(
    ctx: &Ctx,
    seen: &Seen,
    effective: &Effective,
    rules: &Rules,
    looks: Looks,
    now: Timestamp,
) -> Result<(Assigned, Option<Holder>, Probes), Error> {
    let mut probes = Probes::new();
    let (fetched, holder) = documents::fetch(ctx, seen, &effective.document).await?;
    let assigned = match fetched {
        Fetched::Document(document) => {
            let judged;
            (judged, probes) = documents::judge(ctx, rules, effective, looks, document, now).await;
            Assigned::Judged(judged)
        }
        Fetched::Malformed(raw_digest, violation) => Assigned::Malformed { raw_digest, violation },
        Fetched::Unavailable(doubt) => Assigned::Unavailable(doubt),
    };
    Ok((assigned, holder, probes))
}

async fn served(
    ctx: &Ctx,
    seen: &Seen,
    subject: &Subject,
    target: Option<&ServeTarget>,
) -> Result<(Served, Option<ServedIn>), Error> {
    let Some(target) = target else { return Ok((Served::NotServed, None)) };
    let at = Key::new(&seen.key.namespace, &target.at.name);
    let (found, is_labelled) = if let Some(known) = ctx.index.served(&at) {
        (known, true)
    } else {
        // Not among those that have our label: it may be somebody else's, or have lost its label.
        let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &at.namespace);
        let attempted = format!("reading ConfigMap {at}");
        let Some(object) = ctx.find(&attempted, config_maps.get(&at.name)).await? else {
            return Ok((Served::Absent, None));
        };
        if is_served(&object) {
            ctx.index.saw_served(&object);
        }
        (ServedObject::of(&object), is_served(&object))
    };
    let annotation = |name: String| found.annotations.get(&name).cloned().unwrap_or_default();
    let bytes = found.key(&target.at.key);
    let key = bytes.map(|bytes| ServedKey {
        raw_digest: bytes.raw_digest.clone(),
        written_by_us: bytes.manager == MANAGER || bytes.manager.starts_with("kintsugi/"),
        manager: bytes.manager.clone(),
        note: annotation(note_annotation(&target.at.key)).parse().ok(),
    });
    let others = || found.keys.iter().filter(|bytes| bytes.key != target.at.key);
    let served_in = ServedIn {
        uid: found.uid.clone(),
        version: found.version.to_string(),
        is_labelled,
        owner: annotation(owner_annotation(&target.at.key)),
        owners: found.owners.clone(),
        is_binary: bytes.is_some_and(|bytes| bytes.is_binary),
        size: bytes.map(|bytes| bytes.size),
        other_keys: others().count(),
        other_bytes: others().map(|bytes| bytes.size).sum(),
    };
    let served = whose(subject, seen.object.status.as_ref(), target, &served_in, key);
    Ok((served, Some(served_in)))
}

async fn gather(
    ctx: &Ctx,
    seen: &Seen,
    view: &mut View,
    need: Need,
    now: Timestamp,
) -> Result<(), Error> {
    let rules = Rules {
        digest: view.effective_ref.digest.clone(),
        book: Arc::clone(&view.book),
        schema: view.schema.clone(),
    };
    match need {
        Need::ServedDocument => {
            let Some(target) = &view.effective.serve else { return Ok(()) };
            match documents::served(ctx, &seen.key.namespace, &target.at).await? {
                Fetched::Document(document) => {
                    let judged =
                        documents::judge(ctx, &rules, &view.effective, Looks::Fresh, document, now);
                    view.served_document = Some(judged.await.0);
                }
                // Something else stands there than the digest said: look at it afresh.
                Fetched::Malformed(..) | Fetched::Unavailable(_) => view.served = Served::Absent,
            }
        }
        Need::Revision(number) => {
            let digest = digest_of_revision(view, number);
            let found =
                documents::revision(ctx, &seen.key, &view.subject.uid, number, &digest).await?;
            view.revisions.insert(number, found);
        }
        Need::History => view.history = Some(history(ctx, seen, &rules, view, now).await?),
        Need::Source => {
            let namespace = &seen.key.namespace;
            view.source = Some(match &view.effective.source {
                Some(source) => source::fetch(ctx, namespace, source, &effect_key(view)).await?,
                None => Err(Doubt::new(
                    DoubtReason::ReferenceUnavailable,
                    "there is no spec.source to fetch from",
                )),
            });
        }
        Need::Fleet(policies) => {
            let fleet = ctx.index.fleet(&seen.key, policies, now);
            let attempted = || format!("counting the contracts around {}", seen.key);
            view.fleet = Some(fleet.ok_or_else(|| Error::Early { attempted: attempted() })?);
        }
        Need::State => {
            let namespace = &seen.key.namespace;
            view.state = Some(match &view.effective.source {
                Some(source) => workload::state(ctx, namespace, source).await?,
                None => SourceState::default(),
            });
        }
        Need::Symptoms => {
            let source = view.effective.source.as_ref();
            if let Some(named) = source.and_then(|source| source.workload_ref.as_ref()) {
                // On the heap: a look that asks for it is rare, and every look would carry its room.
                let around = Box::pin(symptoms::around(ctx, &seen.key.namespace, named));
                view.symptoms = Some(Box::new(around.await));
            }
        }
        Need::Right(right) => {
            let may = workload::may(ctx, &seen.key.namespace, &right).await?;
            view.rights.insert(right, may);
        }
        Need::Told(id) => {
            let told = webhook::told(ctx, &seen.key.namespace, &id);
            view.told.insert(id, told);
        }
        Need::Template(wanted) => {
            let text = job::template(ctx, &seen.key.namespace, &wanted).await?;
            view.templates.insert(wanted, text);
        }
        Need::Job(name) => {
            let job = job::seen(ctx, &seen.key.namespace, &name).await?;
            view.jobs.insert(name, job);
        }
        Need::RunningJobs => {
            let running = job::running(ctx, &seen.key.namespace, &view.subject.uid).await?;
            view.running_jobs = Some(running);
        }
        Need::Edge => {
            if let Some(probe) = &view.effective.probe {
                view.edge = Some(documents::edge(ctx, &probe.url).await);
            }
        }
        Need::Heard => view.heard = Some(ctx.outbound.heard()),
        Need::Probe(dependency) => {
            let is_ours = ctx.index.claim_probe(&seen.key, &dependency, now);
            view.probing.insert(dependency, is_ours);
        }
        Need::MaxMode => view.max_mode = Some(max_mode(ctx, &seen.key.namespace).await?),
        Need::ApprovalGuard => view.approval_guard = Some(approval_guard(ctx).await?),
        Need::Assets(assets) => {
            let fresh = assets.into_iter().map(|asset| (asset, Duration::ZERO));
            let probed = documents::probe(ctx, fresh.collect()).await;
            view.probes.extend(probed);
        }
    }
    Ok(())
}

/// How long a namespace's label is taken as it was read.
pub const MAX_MODE_AGE: Duration = Duration::from_secs(10);

/// The furthest mode that the namespace allows. Read by name and not watched: that takes no right
/// beyond the namespace itself.
async fn max_mode(ctx: &Ctx, namespace: &Arc<str>) -> Result<Mode, Error> {
    if let Some(known) = ctx.max_modes.get(namespace) {
        return Ok(known);
    }
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(ctx.client.clone());
    let attempted = format!("reading Namespace {namespace}");
    let object = ctx.find(&attempted, namespaces.get_metadata(namespace)).await?;
    let label = object.as_ref().and_then(|object| object.labels().get(MAX_MODE));
    let mode = label.map_or(Ok(Mode::Auto), |label| label.parse()).unwrap_or_else(|_| {
        warn!(%namespace, "the label {MAX_MODE} is no mode; it is taken for Observe");
        Mode::Observe
    });
    ctx.max_modes.insert(Arc::clone(namespace), mode);
    Ok(mode)
}

/// How long the admission policy about approvals is taken as it was read.
pub const GUARD_AGE: Duration = Duration::from_secs(10);

/// Whether the admission policy about approvals is in force. Read by name and not watched: that
/// takes the right to these two objects alone.
async fn approval_guard(ctx: &Ctx) -> Result<Result<(), String>, Error> {
    if let Some(known) = ctx.approval_guard.get(&()) {
        return Ok(known);
    }
    let name = &ctx.config.approval_policy;
    let attempted = format!("reading ValidatingAdmissionPolicy {name} and its binding");
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(ctx.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(ctx.client.clone());
    let found = futures::try_join!(
        ctx.find(&attempted, policies.get(name)),
        ctx.find(&attempted, bindings.get(name)),
    );
    let guard = match found {
        Ok((policy, binding)) => guard::in_force(name, policy.as_ref(), binding.as_ref()),
        // What may not be read cannot be relied upon.
        Err(Error::Stalled(stall)) => Err(stall.message),
        Err(error) => return Err(error),
    };
    ctx.approval_guard.insert((), guard.clone());
    Ok(guard)
}

/// The newest stored revision that is worth starting from, if any is.
async fn history(
    ctx: &Ctx,
    seen: &Seen,
    rules: &Rules,
    view: &View,
    now: Timestamp,
) -> Result<Result<Vec<Revision>, Doubt>, Error> {
    let stored = view.status.document.iter().flat_map(|document| &document.revisions);
    let judge =
        |looks, document| documents::judge(ctx, rules, &view.effective, looks, document, now);
    let mut looked_around = 0;
    for revision in stored {
        let number = revision.number;
        let found =
            documents::revision(ctx, &seen.key, &view.subject.uid, number, &revision.digest)
                .await?;
        let Ok(document) = found else { continue };
        // Most that fail do so by themselves, and cost no look at any asset.
        let mut worth = history::worth(number, &judge(Looks::None, Arc::clone(&document)).await.0);
        if worth == Worth::Unclear && looked_around < MOST_LOOKED_AROUND {
            looked_around += 1;
            worth = history::worth(number, &judge(Looks::Fresh, document).await.0);
        }
        match worth {
            Worth::Good(revision) => return Ok(Ok(vec![revision])),
            Worth::Bad => {}
            Worth::Unasked(doubt) => return Ok(Err(doubt)),
            Worth::Unclear => break,
        }
    }
    Ok(Ok(Vec::new()))
}

/// The key that a source can tell a repeated request by.
fn effect_key(view: &View) -> String {
    let (name, tries) = view.incident.as_ref().map_or_else(
        || (view.subject.name.clone(), 0),
        |open| (open.name.clone(), open.status.tries.unwrap_or(0)),
    );
    format!("{name}/{}", tries.saturating_add(1))
}

fn digest_of_revision(view: &View, number: u32) -> Digest {
    let stored = view.status.document.iter().flat_map(|document| &document.revisions);
    stored
        .into_iter()
        .find(|revision| revision.number == number)
        .map_or_else(|| Digest::of_bytes(b""), |revision| revision.digest.clone())
}
