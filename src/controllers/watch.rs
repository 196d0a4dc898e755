//! The watches: what changes in the cluster, turned into keys to look at.
//!
//! A watch never decides anything: a lost, late or doubled event only changes *when* a contract
//! is looked at, and whatever is looked at is read as it is then.

mod sinks;

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::ConfigMap};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::sinks::{Classes, Contracts, Incidents, Policies, References, Served};
use super::{Ctx, Key, index::MOST_HELD, policy::Unread};
use crate::api::{Incident, PART, WidgetClass, WidgetContract};

/// What comes out of a watch: an object, or what is left of one that does not fit its type. A type
/// of ours is watched behind a guard: one object that cannot be read must not end the watch of all.
trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + 'static
{
    type Object: Send;
    fn open(self) -> Result<Self::Object, Box<InvalidObject>>;
}

impl Watched for ConfigMap {
    type Object = Self;

    fn open(self) -> Result<Self, Box<InvalidObject>> {
        Ok(self)
    }
}

impl Watched for PartialObjectMeta<ConfigMap> {
    type Object = Self;

    fn open(self) -> Result<Self, Box<InvalidObject>> {
        Ok(self)
    }
}

impl<K> Watched for DeserializeGuard<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    type Object = K;

    fn open(self) -> Result<K, Box<InvalidObject>> {
        self.0.map_err(Box::new)
    }
}

/// What one watch does with what it sees. `scope` is the namespace it watches, None for all.
trait Sink<K>: Send {
    /// Does it matter which objects are in a list? All their keys are kept until its end.
    const COUNTS: bool = true;

    /// Is a list read on only as the work on it goes on? It would never go on in the lists that are
    /// read before anybody works.
    const WAITS: bool = false;

    /// A list begins.
    fn begins(&mut self, _: &Ctx) {}

    /// An object is there that does not fit its type. What cannot be read is not in force, and
    /// neither is what it was before: it counts as gone unless the sink has more to say.
    fn broken<'a>(&'a mut self, ctx: &'a Ctx, invalid: &'a InvalidObject) -> BoxFuture<'a, ()> {
        self.lost_broken(ctx, &Key::of_invalid(invalid));
        std::future::ready(()).boxed()
    }

    /// An object is there.
    fn saw(&mut self, ctx: &Ctx, object: K);
    /// An object is gone.
    fn lost(&mut self, ctx: &Ctx, object: &K);
    /// An object is gone that did not fit its type.
    fn lost_broken(&mut self, _: &Ctx, _: &Key) {}
    /// A list has ended; these were in it.
    fn listed(&mut self, ctx: &Ctx, seen: &BTreeSet<Key>, scope: Option<&str>);
}

/// Contracts that wait before the list of them is read on: no more than wait with their object.
const MOST_WAITING: usize = MOST_HELD;

/// Objects in one page of a list. A page is in memory as a whole, as text and parsed, and a served
/// ConfigMap may hold close to a MiB.
const PAGE: u32 = 100;

/// After how long a list, or the opening of a watch, that is never answered is given up: longer than a watch
/// may be idle.
#[must_use]
pub fn patience(watch_timeout: Duration) -> Duration {
    watch_timeout + Duration::from_secs(15)
}

/// Starts the watches of all that contracts refer to; ready once each first list is in.
pub async fn surroundings(ctx: &Arc<Ctx>, watches: &mut JoinSet<()>, shutdown: &CancellationToken) {
    let mut lists = Vec::new();
    for scope in scopes(ctx) {
        let served = Some(format!("{PART}=served"));
        lists.push(start::<ConfigMap, _>(ctx, watches, shutdown, scope.clone(), served, Served));
        lists.push(start::<DeserializeGuard<WidgetClass>, _>(
            ctx,
            watches,
            shutdown,
            scope.clone(),
            None,
            Classes,
        ));
        lists.push(start::<DeserializeGuard<Unread>, _>(
            ctx,
            watches,
            shutdown,
            scope.clone(),
            None,
            Policies,
        ));
        lists.push(start::<DeserializeGuard<Incident>, _>(
            ctx,
            watches,
            shutdown,
            scope.clone(),
            None,
            Incidents::default(),
        ));
        lists.push(start::<PartialObjectMeta<ConfigMap>, _>(
            ctx, watches, shutdown, scope, None, References,
        ));
    }
    for list in lists {
        // A watch that ends before its first list does so because of the shutdown.
        let _ = list.await;
    }
}

/// Starts the watches of contracts; ready once each first list is in.
pub async fn contracts(ctx: &Arc<Ctx>, watches: &mut JoinSet<()>, shutdown: &CancellationToken) {
    let lists: Vec<_> = scopes(ctx)
        .into_iter()
        .map(|scope| {
            start::<DeserializeGuard<WidgetContract>, _>(
                ctx, watches, shutdown, scope, None, Contracts,
            )
        })
        .collect();
    for list in lists {
        let _ = list.await;
    }
}

fn scopes(ctx: &Ctx) -> Vec<Option<String>> {
    match ctx.config.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    }
}

fn start<W, S>(
    ctx: &Arc<Ctx>,
    watches: &mut JoinSet<()>,
    shutdown: &CancellationToken,
    scope: Option<String>,
    labels: Option<String>,
    sink: S,
) -> oneshot::Receiver<()>
where
    W: Watched,
    S: Sink<W::Object> + 'static,
{
    let (listed, list) = oneshot::channel();
    watches.spawn(one::<W, S>(Arc::clone(ctx), scope, labels, sink, listed, shutdown.clone()));
    list
}

async fn one<W, S>(
    ctx: Arc<Ctx>,
    scope: Option<String>,
    labels: Option<String>,
    mut sink: S,
    listed: oneshot::Sender<()>,
    shutdown: CancellationToken,
) where
    W: Watched,
    S: Sink<W::Object>,
{
    let timeout = u32::try_from(ctx.config.watch_timeout.to_std().as_secs()).unwrap_or(45);
    let mut config = watcher::Config::default().timeout(timeout).page_size(PAGE);
    config.label_selector = labels;
    let api = api_in::<W>(&ctx.client, scope.as_deref());
    let watch = ctx.health.watch(&W::kind(&()), patience(ctx.config.watch_timeout.to_std()));
    let mut events = watcher::watcher(api, config)
        .inspect_err(|error| {
            warn!(kind = %W::kind(&()), %error, "a watch broke; it is resumed");
            watch.broke();
        })
        .default_backoff()
        .take_until(shutdown.cancelled_owned())
        .boxed();
    let mut seen = BTreeSet::new();
    let mut listed = Some(listed);
    while let Some(event) = events.next().await {
        // The beginning of a list is told before the API server is asked for it.
        if matches!(&event, Ok(event) if !matches!(event, Event::Init)) {
            watch.works();
        }
        match event {
            Ok(Event::Init) => {
                seen.clear();
                sink.begins(&ctx);
            }
            Ok(Event::InitApply(object)) => {
                if S::COUNTS {
                    seen.insert(Key::of(&object));
                }
                saw(&ctx, &mut sink, object).await;
                if S::WAITS {
                    ctx.queue.room(MOST_WAITING).await;
                }
            }
            Ok(Event::InitDone) => {
                sink.listed(&ctx, &seen, scope.as_deref());
                seen = BTreeSet::new();
                if let Some(listed) = listed.take() {
                    let _ = listed.send(());
                }
            }
            Ok(Event::Apply(object)) => saw(&ctx, &mut sink, object).await,
            Ok(Event::Delete(object)) => lost(&ctx, &mut sink, object),
            // Said above; the stream resumes by itself after a pause.
            Err(_) => {}
        }
    }
}

async fn saw<W: Watched, S: Sink<W::Object>>(ctx: &Ctx, sink: &mut S, object: W) {
    match object.open() {
        Ok(object) => sink.saw(ctx, object),
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            warn!(kind = %W::kind(&()), name, error = %invalid, "an object cannot be read");
            sink.broken(ctx, &invalid).await;
        }
    }
}

fn lost<W: Watched, S: Sink<W::Object>>(ctx: &Ctx, sink: &mut S, object: W) {
    match object.open() {
        Ok(object) => sink.lost(ctx, &object),
        Err(invalid) => sink.lost_broken(ctx, &Key::of_invalid(&invalid)),
    }
}

fn api_in<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
