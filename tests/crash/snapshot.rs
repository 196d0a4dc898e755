//! What a namespace looks like, without what differs between two runs of the same: times, UIDs,
//! versions, the names and digests that are made from them, and the namespace's own name.

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::ConfigMap};
use kintsugi::api::{Incident, WidgetContract};
use kube::{
    Api, Resource, ResourceExt as _, api::ListParams, core::PartialObjectMeta, runtime::watcher,
};
use regex::Regex;
use serde_json::{Value, json};

use crate::support::{Namespace, web::Web};

#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub contract: Value,
    pub incidents: Vec<Value>,
    config_maps: Vec<Value>,
}

/// Tells that something may look different now.
pub struct Changes(std::pin::Pin<Box<dyn Stream<Item = ()> + Send>>);

fn metadata<K>(namespace: &Namespace) -> Api<PartialObjectMeta<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(namespace.client.clone(), &namespace.name)
}

impl Changes {
    pub async fn watch(namespace: &Namespace) -> Self {
        let config = watcher::Config::default;
        let ticks = stream::select_all([
            watcher(metadata::<WidgetContract>(namespace), config()).map(drop).boxed(),
            watcher(metadata::<Incident>(namespace), config()).map(drop).boxed(),
            watcher(metadata::<ConfigMap>(namespace), config()).map(drop).boxed(),
        ]);
        let mut changes = Self(ticks.boxed());
        changes.next().await;
        changes
    }

    pub async fn next(&mut self) {
        self.0.next().await.unwrap();
    }
}

impl Snapshot {
    pub async fn of(namespace: &Namespace, web: &Web) -> Self {
        let all = ListParams::default();
        let contract = namespace.contracts().get("uk").await.unwrap();
        let uid = contract.uid().unwrap();
        let mut incidents = namespace.api::<Incident>().list(&all).await.unwrap().items;
        incidents.sort_by_key(|incident| incident.spec.ordinal);
        let mut config_maps = namespace.api::<ConfigMap>().list(&all).await.unwrap().items;
        config_maps.retain(|object| object.name_any() != "kube-root-ca.crt");
        // They hold when a plan was first shown.
        let plans: Vec<String> = incidents
            .iter()
            .flat_map(|incident| {
                let shown = incident.status.as_ref().and_then(|status| status.plan_digest.clone());
                let approval = incident.spec.approval.as_ref();
                shown.into_iter().chain(approval.map(|given| given.plan_digest.clone()))
            })
            .map(|digest| digest.to_string())
            .collect();
        let pod_names = Regex::new("catalog-[0-9a-z]+-[0-9a-z]{5}\\b").unwrap();
        let job_names = Regex::new("Job incident-([0-9]+)-[0-9a-f]{12}").unwrap();
        let times = Regex::new("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z").unwrap();
        let mask = |value: Value| {
            let text = value.to_string().replace(&uid, "UID").replace(&web.url(""), "WEB");
            let text = text.replace(&namespace.name, "NAMESPACE");
            let text = incidents.iter().fold(text, |text, incident| {
                text.replace(&incident.name_any(), &format!("incident-{}", incident.spec.ordinal))
            });
            let text = plans.iter().fold(text, |text, plan| text.replace(plan, "PLAN"));
            let text = pod_names.replace_all(&text, "POD");
            let text = job_names.replace_all(&text, "Job incident-$1");
            let text = times.replace_all(&text, "TIME");
            without_times(serde_json::from_str(&text.replace(&uid[..6], "UID")).unwrap())
        };
        let mut config_maps: Vec<Value> = config_maps
            .iter()
            .map(|object| {
                mask(json!({
                    "name": object.name_any(), "annotations": object.annotations(),
                    "labels": object.labels(), "data": object.data,
                }))
            })
            .collect();
        // By what is left of their names: how they were sorted hangs on a UID.
        config_maps.sort_by_key(|object| object["name"].to_string());
        Self {
            contract: mask(json!({"spec": contract.spec, "status": contract.status})),
            incidents: incidents
                .iter()
                .map(|incident| mask(json!({"spec": incident.spec, "status": incident.status})))
                .collect(),
            config_maps,
        }
    }
}

/// Without fields that say when, and those that are made from names and UIDs of one run: the trace, and the
/// digest of what a Job is made of.
fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.retain(|key, _| {
                let key = key.as_str();
                let says_when = key.ends_with("At") || key.ends_with("Time") || key == "at";
                let other = [
                    "since",
                    "validSince",
                    "took",
                    "traceparent",
                    "kintsugi.dev/recorded-at",
                    "targetUID",
                    "madeOf",
                ];
                !says_when && !other.contains(&key)
            });
            for inner in map.values_mut() {
                *inner = without_times(inner.take());
            }
        }
        Value::Array(list) => {
            for inner in list {
                *inner = without_times(inner.take());
            }
        }
        // «…/<step>@<milliseconds>», and what may follow it
        Value::String(text) if text.contains("@1") || text.contains("@2") => {
            let (effect, after) = text.split_once('@').unwrap_or_default();
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            value = Value::String(format!("{effect}{after}"));
        }
        _ => {}
    }
    value
}

/// The places where two snapshots differ.
pub fn difference(expected: Option<&Snapshot>, is: Option<&Snapshot>) -> String {
    let text = |snapshot: Option<&Snapshot>| {
        snapshot.map_or(Value::Null, |s| {
            json!({"contract": s.contract, "incidents": s.incidents, "configMaps": s.config_maps})
        })
    };
    let difference = json_patch::diff(&text(expected), &text(is));
    difference.0.iter().take(12).map(ToString::to_string).collect::<Vec<_>>().join("\n    ")
}
