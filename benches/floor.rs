//! The floor: the least that a healer made with kube-rs can be. It watches, sees bytes that are
//! not the right ones, and writes the right ones back. It keeps no record, judges nothing and
//! asks nobody, so nothing that does can be faster.

use std::{collections::BTreeMap, thread};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;

use crate::{
    cluster::{Cluster, apply, say},
    documents,
    patches::config_map,
};

/// What it watches.
pub const LABELS: &str = "bench=floor";

/// Makes the ConfigMaps of one round and returns their names.
pub async fn prepare(
    client: &Client,
    namespace: &str,
    round: usize,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = (0..count).map(|at| format!("floor-{round}-{at:03}")).collect();
    let data = json!({"contract.json": documents::document(0).to_string()});
    for name in &names {
        apply(client, namespace, &config_map(name, &json!({"bench": "floor"}), &data)).await?;
    }
    Ok(names)
}

/// Heals until the process ends, on a thread and with connections of its own.
pub fn start(cluster: Cluster, namespace: &str) {
    let namespace = namespace.to_owned();
    thread::spawn(move || {
        let ended = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")
            .and_then(|runtime| runtime.block_on(heal(&cluster, &namespace)));
        if let Err(error) = ended {
            say(&format!("the bare healer ended: {error:#}"));
        }
    });
}

async fn heal(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client().await?, namespace);
    let good = documents::document(0).to_string();
    let patch = json!({"data": {"contract.json": good}});
    let params = PatchParams { field_manager: Some("floor".into()), ..PatchParams::default() };
    let config = watcher::Config::default().labels(LABELS);
    let mut seen = std::pin::pin!(
        watcher::watcher(config_maps.clone(), config).default_backoff().applied_objects()
    );
    while let Some(object) = seen.try_next().await? {
        let held = object.data.as_ref().and_then(|data: &BTreeMap<_, _>| data.get("contract.json"));
        if held != Some(&good) {
            config_maps.patch(&object.name_any(), &params, &Patch::Merge(&patch)).await?;
        }
    }
    anyhow::bail!("the watch ended")
}
