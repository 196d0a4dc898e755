//! Documents, with their values: what is served, what was asked for, what lies between, and the
//! revisions. Nothing else that is shown has values but plans, so whoever sees these has the right to
//! read the ConfigMaps that they are in.
//!
//! A document behind a URL is not fetched: only its digest is known here.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    api::{
        RECORDED_AT, WidgetContract,
        contract::{DocumentSource, DocumentStatus, RevisionRef},
        refs::{AnyObject, ConfigMapKeyRef},
    },
    controllers::{
        Ctx, Key,
        desk::{Ask, Desk, Person, Refused, turns::For},
        documents::{self, Fetched},
        names::revision_name,
    },
    domain::{Digest, Document, difference::difference, patch::OpKind},
};

/// The most bytes of a document that is shown, and compared.
const MOST_BYTES: usize = 256 * 1024;
/// Most changes that a difference has.
const MOST_CHANGES: usize = 500;
/// The newest revisions, of which it is told when they were stored.
const DATED: usize = 20;
/// How many are asked for that at the same time.
const AT_A_TIME: usize = 8;

/// A document, or why it is not shown.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentShown {
    /// Digest of its canonical form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// How many bytes it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// The document itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Why it is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One change (RFC 6902).
#[derive(Debug, Serialize, JsonSchema)]
pub struct Change {
    /// The operation.
    pub op: OpKind,
    /// JSON Pointer of the place.
    pub path: String,
    /// The new value; none where one is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// What makes one document of another.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Difference {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Are these all?
    pub complete: bool,
}

/// A revision in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRow {
    /// Its number.
    pub number: u32,
    /// Digest of its document's canonical form.
    pub digest: Digest,
    /// When it was stored; only of the newest ones, and for who may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub recorded_at: Option<Timestamp>,
    /// Is its document served?
    pub served: bool,
    /// Is it the newest document that was found good?
    pub last_known_good: bool,
}

/// The documents of a contract.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentsShown {
    /// What is served.
    pub served: DocumentShown,
    /// What was asked for.
    pub assigned: DocumentShown,
    /// What makes the one that was asked for of the one that is served; absent unless both are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// The stored revisions, newest first.
    pub revisions: Vec<RevisionRow>,
}

/// A revision, as it would be served.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionShown {
    /// Its number.
    pub number: u32,
    /// Its document.
    pub document: DocumentShown,
    /// What makes it of the one that is served; absent unless both are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// A document where it could be read.
pub(super) type Found = Result<Arc<Document>, DocumentShown>;

impl Desk {
    /// The documents of a contract.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] without the right to read the ConfigMaps that they are in.
    pub async fn documents(
        &self,
        person: &Arc<Person>,
        key: &Key,
    ) -> Result<DocumentsShown, Refused> {
        let ctx = self.ctx()?;
        let contract = self.contract_itself(&ctx, person, key).await?;
        let status = documents_of(&contract);
        let served = self.served(&ctx, person, key, &status).await?;
        let assigned = self.assigned(&ctx, person, key, &contract, &status).await?;
        let difference = compared(&ctx, &served, &assigned).await;
        Ok(DocumentsShown {
            served: shown(served),
            assigned: shown(assigned),
            difference,
            revisions: self.revisions(&ctx, person, key, &contract, &status).await,
        })
    }

    /// One revision of a contract.
    ///
    /// # Errors
    /// [`Refused::NotFound`] where there is none of that number, and as [`Desk::documents`].
    pub async fn revision(
        &self,
        person: &Arc<Person>,
        key: &Key,
        number: u32,
    ) -> Result<RevisionShown, Refused> {
        let ctx = self.ctx()?;
        let contract = self.contract_itself(&ctx, person, key).await?;
        let uid = contract.uid().unwrap_or_default();
        self.reads(person, key, &revision_name(&key.name, &uid, number)).await?;
        let status = documents_of(&contract);
        let known = status.revisions.iter().find(|revision| revision.number == number);
        let Some(known) = known else {
            let message = format!("WidgetContract {key} has no revision {number}");
            return Err(Refused::NotFound(message));
        };
        let attempted = format!("reading revision {number} of WidgetContract {key}");
        let read = documents::revision(&ctx, key, &uid, number, &known.digest);
        let document = self.look(person, &attempted, read).await?;
        let document = document
            .map_err(|doubt| missing(Some(known.digest.clone()), &doubt.message))
            .and_then(small);
        let served = self.served(&ctx, person, key, &status).await?;
        let difference = compared(&ctx, &served, &document).await;
        Ok(RevisionShown { number, document: shown(document), difference })
    }

    /// Sees to it that `person` may read a ConfigMap beside `key`.
    pub(super) async fn reads(
        &self,
        person: &Arc<Person>,
        key: &Key,
        name: &str,
    ) -> Result<(), Refused> {
        let ask = Ask {
            verb: "get",
            group: "",
            resource: "configmaps",
            namespace: Some(Arc::clone(&key.namespace)),
            name: Some(name.into()),
        };
        self.shows(person, ask).await
    }

    async fn served(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
        status: &DocumentStatus,
    ) -> Result<Found, Refused> {
        let Some(served) = &status.served else {
            return Ok(Err(missing(None, "nothing is served")));
        };
        self.stored(ctx, person, key, &served.r#ref).await
    }

    pub(super) async fn assigned(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
        contract: &WidgetContract,
        status: &DocumentStatus,
    ) -> Result<Found, Refused> {
        let digest = status.assigned.as_ref().map(|assigned| assigned.digest.clone());
        match &contract.spec.document {
            DocumentSource::Inline(AnyObject(map)) => {
                let parsed = Document::from_value(map.clone().into());
                Ok(parsed
                    .map_err(|malformed| missing(digest, &malformed.to_string()))
                    .and_then(|document| small(Arc::new(document))))
            }
            DocumentSource::ConfigMapKeyRef(at) => self.stored(ctx, person, key, at).await,
            DocumentSource::Url(_) => Ok(Err(missing(
                digest,
                "not stored: it is behind a URL, which is not asked for it",
            ))),
        }
    }

    async fn stored(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
        at: &ConfigMapKeyRef,
    ) -> Result<Found, Refused> {
        self.reads(person, key, &at.name).await?;
        let attempted = format!("reading ConfigMap {} for WidgetContract {key}", at.name);
        let read =
            self.look(person, &attempted, documents::served(ctx, &key.namespace, at)).await?;
        let place = format!("key {:?} of ConfigMap {}", at.key, at.name);
        Ok(match read {
            Fetched::Document(document) => small(document),
            Fetched::Malformed(..) => Err(missing(None, &format!("{place} is not a document"))),
            Fetched::Unavailable(_) => Err(missing(None, &format!("{place} is not there"))),
        })
    }

    async fn revisions(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
        contract: &WidgetContract,
        status: &DocumentStatus,
    ) -> Vec<RevisionRow> {
        let uid = contract.uid().unwrap_or_default();
        let mut dates = Vec::new();
        for some in status.revisions.iter().take(DATED).collect::<Vec<_>>().chunks(AT_A_TIME) {
            let names = some.iter().map(|known| revision_name(&key.name, &uid, known.number));
            dates
                .extend(join_all(names.map(|name| self.recorded_at(ctx, person, key, name))).await);
        }
        let mut dates = dates.into_iter();
        let served = status.served.as_ref().map(|served| &served.digest);
        let good = status.last_known_good.as_ref().map(|good| good.revision);
        let row = |revision: &RevisionRef| RevisionRow {
            number: revision.number,
            digest: revision.digest.clone(),
            recorded_at: dates.next().flatten(),
            served: served == Some(&revision.digest),
            last_known_good: good == Some(revision.number),
        };
        status.revisions.iter().map(row).collect()
    }

    /// When a revision was stored, for who may read it. What is not known of one is no reason to show none.
    async fn recorded_at(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
        name: String,
    ) -> Option<Timestamp> {
        self.reads(person, key, &name).await.ok()?;
        let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &key.namespace);
        let attempted = format!("reading ConfigMap {name} of WidgetContract {key}");
        let object = self
            .ask(For::Person(person), &attempted, config_maps.get_metadata(&name))
            .await
            .ok()?;
        object.annotations().get(RECORDED_AT)?.parse().ok()
    }
}

pub(super) fn documents_of(contract: &WidgetContract) -> DocumentStatus {
    contract.status.clone().and_then(|status| status.document).unwrap_or_default()
}

pub(super) fn missing(digest: Option<Digest>, why: &str) -> DocumentShown {
    DocumentShown { digest, missing: Some(why.to_owned()), ..DocumentShown::default() }
}

/// A document that is not too large to be shown.
pub(super) fn small(document: Arc<Document>) -> Found {
    let bytes = document.bytes().len();
    if bytes <= MOST_BYTES {
        return Ok(document);
    }
    let why = format!("it has more than the {MOST_BYTES} bytes that are shown");
    let digest = Some(document.digest().clone());
    Err(DocumentShown { bytes: Some(bytes), ..missing(digest, &why) })
}

pub(super) fn shown(found: Found) -> DocumentShown {
    found.map_or_else(
        |missing| missing,
        |document| DocumentShown {
            digest: Some(document.digest().clone()),
            bytes: Some(document.bytes().len()),
            value: Some(document.value().clone()),
            missing: None,
        },
    )
}

/// What makes `new` of `old`; none unless both are there, and where it would take too long.
pub(super) async fn compared(ctx: &Ctx, old: &Found, new: &Found) -> Option<Difference> {
    let (Ok(old), Ok(new)) = (old, new) else { return None };
    let (old, new) = (Arc::clone(old), Arc::clone(new));
    let compared = move || between(old.value(), new.value());
    ctx.documents.pool.run(compared).await.ok()
}

fn between(old: &Value, new: &Value) -> Difference {
    let (changes, complete) = difference(old, new, MOST_CHANGES);
    let changes = changes.into_iter().map(|changed| Change {
        op: changed.op,
        path: changed.path,
        value: changed.value.cloned(),
    });
    Difference { changes: changes.collect(), complete }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_says_what_is_put_replaced_and_taken_away_and_how_much_more_there_is() {
        let (old, new) = (json!({"a": 1, "b": [1], "c": 2}), json!({"a": 2, "b": [1, 3]}));
        let found = between(&old, &new);
        let found = serde_json::to_value(&found).unwrap();
        assert_eq!(found["complete"], true);
        let changes = found["changes"].as_array().unwrap();
        for change in [
            json!({"op": "replace", "path": "/a", "value": 2}),
            json!({"op": "add", "path": "/b/1", "value": 3}),
            json!({"op": "remove", "path": "/c"}),
        ] {
            assert!(changes.contains(&change), "{changes:?}");
        }
        let many: Vec<usize> = (0..2 * MOST_CHANGES).collect();
        let found = between(&json!({"a": []}), &json!({"a": many}));
        assert_eq!((found.changes.len(), found.complete), (MOST_CHANGES, false));
    }

    #[test]
    fn of_a_document_that_is_too_large_only_its_digest_and_size_are_told() {
        let document = |size: usize| {
            let text = format!("{{\"a\": \"{}\"}}", "x".repeat(size));
            Arc::new(Document::parse(text.into_bytes()).unwrap())
        };
        let is = shown(small(document(100)));
        assert!(is.value.is_some() && is.missing.is_none() && is.bytes == Some(109), "{is:?}");
        let is = shown(small(document(MOST_BYTES)));
        assert!(is.value.is_none() && is.digest.is_some() && is.bytes > Some(MOST_BYTES));
        assert!(is.missing.unwrap().contains("bytes that are shown"));
    }
}
