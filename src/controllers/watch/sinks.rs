//! What each watch does with what it sees: it tells the index, and queues the contracts concerned.

use std::collections::BTreeSet;

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt as _,
    core::{PartialObjectMeta, error_boundary::InvalidObject},
};

use super::Sink;
use crate::{
    api::{Incident, WidgetClass, WidgetContract},
    controllers::{Ctx, Key, contract, echo::Object, index::version_of, parents, policy},
};

fn look_at(ctx: &Ctx, keys: impl IntoIterator<Item = Key>) {
    keys.into_iter().for_each(|key| ctx.queue.now(key));
}

pub(super) struct Contracts;

impl Sink<WidgetContract> for Contracts {
    const WAITS: bool = true;

    fn broken<'a>(&'a mut self, ctx: &'a Ctx, invalid: &'a InvalidObject) -> BoxFuture<'a, ()> {
        contract::say_unreadable(ctx, invalid).boxed()
    }

    fn lost_broken(&mut self, ctx: &Ctx, key: &Key) {
        ctx.index.lost_contract(key);
        ctx.queue.forget(key);
    }

    fn saw(&mut self, ctx: &Ctx, object: WidgetContract) {
        let (key, version) = (Key::of(&object), version_of(object.resource_version().as_deref()));
        let Some(news) = ctx.index.saw_contract(object) else { return };
        // What is written into its status changes nothing that policies count of it.
        if news.is_sorted_anew {
            policy::all_count(ctx, &key.namespace);
        }
        if !ctx.echoes.waits(&Object::Contract(key), version) {
            look_at(ctx, [news.key]);
        }
    }

    fn lost(&mut self, ctx: &Ctx, object: &WidgetContract) {
        let key = Key::of(object);
        ctx.index.lost_contract(&key);
        ctx.queue.forget(&key);
        policy::all_count(ctx, &key.namespace);
    }

    fn listed(&mut self, ctx: &Ctx, seen: &BTreeSet<Key>, scope: Option<&str>) {
        for key in ctx.index.contracts_not_in(seen, scope) {
            ctx.index.lost_contract(&key);
            ctx.queue.forget(&key);
            policy::all_count(ctx, &key.namespace);
        }
    }
}

pub(super) struct Classes;

impl Sink<WidgetClass> for Classes {
    fn lost_broken(&mut self, ctx: &Ctx, key: &Key) {
        look_at(ctx, ctx.index.lost_class(key));
    }

    fn saw(&mut self, ctx: &Ctx, object: WidgetClass) {
        look_at(ctx, ctx.index.saw_class(object));
    }

    fn lost(&mut self, ctx: &Ctx, object: &WidgetClass) {
        look_at(ctx, ctx.index.lost_class(&Key::of(object)));
    }

    fn listed(&mut self, ctx: &Ctx, seen: &BTreeSet<Key>, scope: Option<&str>) {
        for key in ctx.index.classes_not_in(seen, scope) {
            look_at(ctx, ctx.index.lost_class(&key));
        }
    }
}

pub(super) struct Policies;

impl Sink<policy::Unread> for Policies {
    fn lost_broken(&mut self, ctx: &Ctx, key: &Key) {
        look_at(ctx, policy::lost(ctx, key));
    }

    fn saw(&mut self, ctx: &Ctx, object: policy::Unread) {
        look_at(ctx, policy::saw(ctx, object));
    }

    fn lost(&mut self, ctx: &Ctx, object: &policy::Unread) {
        look_at(ctx, policy::lost(ctx, &Key::of(object)));
    }

    fn listed(&mut self, ctx: &Ctx, seen: &BTreeSet<Key>, scope: Option<&str>) {
        for key in ctx.index.policies_not_in(seen, scope) {
            look_at(ctx, policy::lost(ctx, &key));
        }
    }
}

#[derive(Default)]
pub(super) struct Incidents {
    /// The newest version that was known when the list began: what we open meanwhile is not in it.
    newest: u64,
}

/// Has the policies of an Incident counted anew. Its own writes, too, come by as events.
fn measured_by(ctx: &Ctx, incident: &Incident) {
    let key = Key::of(incident);
    parents::changed(ctx, &key.namespace);
    let named = incident.spec.plan.iter().filter_map(|segment| segment.policy_ref.as_ref());
    named.for_each(|policy| policy::counts(ctx, key.beside(&policy.name)));
}

impl Sink<Incident> for Incidents {
    fn begins(&mut self, ctx: &Ctx) {
        self.newest = ctx.index.newest_incident();
    }

    fn saw(&mut self, ctx: &Ctx, object: Incident) {
        let (key, version) = (Key::of(&object), version_of(object.resource_version().as_deref()));
        if object.spec.about.is_some() {
            ctx.index.saw_parent(&object);
            parents::changed(ctx, &key.namespace);
            return;
        }
        let news = ctx.index.saw_incident(&object);
        measured_by(ctx, &object);
        look_at(ctx, news.filter(|_| !ctx.echoes.waits(&Object::Incident(key), version)));
    }

    fn lost(&mut self, ctx: &Ctx, object: &Incident) {
        if object.spec.about.is_some() {
            let key = Key::of(object);
            ctx.index.lost_parent(&key);
            parents::changed(ctx, &key.namespace);
            return;
        }
        look_at(ctx, ctx.index.lost_incident(object));
        measured_by(ctx, object);
    }

    fn listed(&mut self, ctx: &Ctx, seen: &BTreeSet<Key>, scope: Option<&str>) {
        let (contracts, namespaces) = ctx.index.keep_incidents(seen, scope, self.newest);
        look_at(ctx, contracts);
        for namespace in namespaces {
            policy::all_count(ctx, &namespace);
        }
    }
}

pub(super) struct Served;

impl Sink<ConfigMap> for Served {
    fn saw(&mut self, ctx: &Ctx, object: ConfigMap) {
        look_at(ctx, ctx.index.saw_served(&object));
    }

    fn lost(&mut self, ctx: &Ctx, object: &ConfigMap) {
        look_at(ctx, ctx.index.lost_served(&Key::of(object)));
    }

    fn listed(&mut self, ctx: &Ctx, seen: &BTreeSet<Key>, scope: Option<&str>) {
        for key in ctx.index.served_not_in(seen, scope) {
            look_at(ctx, ctx.index.lost_served(&key));
        }
    }
}

/// ConfigMaps that contracts read documents and schemas from: any, so their metadata only.
pub(super) struct References;

impl Sink<PartialObjectMeta<ConfigMap>> for References {
    const COUNTS: bool = false;

    fn saw(&mut self, ctx: &Ctx, object: PartialObjectMeta<ConfigMap>) {
        let key = Key::of(&object);
        let version = version_of(object.resource_version().as_deref());
        let readers = ctx.index.readers_of(&key);
        if ctx.documents.saw_config_map(&key, version, !readers.is_empty()) {
            look_at(ctx, readers);
        }
    }

    fn lost(&mut self, ctx: &Ctx, object: &PartialObjectMeta<ConfigMap>) {
        let key = Key::of(object);
        let version = version_of(object.resource_version().as_deref());
        if ctx.documents.saw_config_map(&key, version.saturating_add(1), true) {
            look_at(ctx, ctx.index.readers_of(&key));
        }
    }

    fn listed(&mut self, ctx: &Ctx, _: &BTreeSet<Key>, _: Option<&str>) {
        // Names of ConfigMaps are not kept, so a deletion that was missed cannot be told from
        // here: after a relist, which is rare, every reader is looked at again.
        look_at(ctx, ctx.index.all_readers());
    }
}
