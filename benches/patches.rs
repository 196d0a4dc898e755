//! The unit of all times: one merge PATCH of one object.

use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::DynamicObject;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{apply, objects},
    documents, stats,
};

const AT_ONCE: usize = 16;

/// Plain ConfigMaps, one for each client, that hold a document as a served one does.
#[derive(Clone, Debug)]
pub struct Patches {
    config_maps: Api<DynamicObject>,
}

impl Patches {
    /// Makes the ConfigMaps.
    pub async fn prepare(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        for number in 0..AT_ONCE {
            let data = json!({"contract.json": documents::document(number).to_string(), "n": ""});
            apply(client, namespace, &config_map(&name(number), &json!({}), &data)).await?;
        }
        Ok(Self { config_maps: objects(client, namespace, "ConfigMap")? })
    }

    /// `w`: how long each PATCH of `count` took, one after the other, in milliseconds.
    pub async fn one_by_one(&self, count: usize) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::with_capacity(count);
        for turn in 0..count {
            let started = Instant::now();
            self.patch(0, turn).await?;
            times.push(stats::millis(started.elapsed()));
        }
        Ok(times)
    }

    /// `W`: how many a second, sixteen at a time.
    pub async fn at_once(&self, count: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        let clients = stream::iter(0..AT_ONCE).map(|client| async move {
            for turn in 0..count / AT_ONCE {
                self.patch(client, turn).await?;
            }
            anyhow::Ok(())
        });
        clients.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let sent = u32::try_from(count / AT_ONCE * AT_ONCE).unwrap_or(u32::MAX);
        Ok(f64::from(sent) / started.elapsed().as_secs_f64())
    }

    async fn patch(&self, number: usize, turn: usize) -> anyhow::Result<()> {
        let patch = json!({"data": {"n": turn.to_string()}});
        let params = PatchParams { field_manager: Some("bench".into()), ..PatchParams::default() };
        self.config_maps.patch(&name(number), &params, &Patch::Merge(&patch)).await?;
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("w-{number}")
}

/// A plain ConfigMap.
pub fn config_map(name: &str, labels: &Value, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": data,
    })
}
