//! The independent watcher: its own client, a plain watch, each change stamped as it arrives.

use std::time::Instant;

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::cluster::PATIENCE;

/// An object as it was after a change.
#[derive(Debug)]
pub struct Change {
    /// When the watch said so.
    pub at: Instant,
    /// The object.
    pub object: DynamicObject,
}

/// A watch that goes on until it is dropped.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::UnboundedReceiver<anyhow::Result<Change>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches what changes from now on.
    pub async fn start(api: Api<DynamicObject>, labels: Option<&str>) -> anyhow::Result<Self> {
        let list = api.list_metadata(&ListParams::default().limit(1)).await?;
        let version = list.metadata.resource_version.context("a list without a version")?;
        let label_selector = labels.map(str::to_owned);
        let params = WatchParams { label_selector, ..WatchParams::default() };
        let (sender, changes) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            if let Err(error) = follow(&api, &params, version, &sender).await {
                let _ = sender.send(Err(error));
            }
        });
        Ok(Self { changes, task })
    }

    /// Forgets what has arrived so far.
    pub fn drain(&mut self) {
        while self.changes.try_recv().is_ok() {}
    }

    /// The first change from here on that satisfies `condition`.
    pub async fn until(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&DynamicObject) -> bool,
    ) -> anyhow::Result<Change> {
        let found = async {
            while let Some(change) = self.changes.recv().await {
                let change = change?;
                if condition(&change.object) {
                    return Ok(change);
                }
            }
            bail!("the watch ended")
        };
        timeout(PATIENCE, found).await.with_context(|| format!("waited in vain: {what}"))?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends each change; a watch that the API server ends is resumed where it was.
async fn follow(
    api: &Api<DynamicObject>,
    params: &WatchParams,
    mut version: String,
    sender: &mpsc::UnboundedSender<anyhow::Result<Change>>,
) -> anyhow::Result<()> {
    loop {
        let mut events = api.watch(params, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object)
                | WatchEvent::Modified(object)
                | WatchEvent::Deleted(object) => {
                    let at = Instant::now();
                    version = object.metadata.resource_version.clone().unwrap_or(version);
                    if sender.send(Ok(Change { at, object })).is_err() {
                        return Ok(());
                    }
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => bail!("the watch broke: {}", status.message),
            }
        }
    }
}
