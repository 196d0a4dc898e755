//! The plan of an Incident, with its values: what was asked for, and what the plan makes of it.
//!
//! Status has places and digests only. What the ConfigMap beside it holds counts as the plan only where
//! it has the digest that status names: whoever may write ConfigMaps must not put words into a plan that
//! a person is about to approve.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Difference, DocumentShown, IncidentShown,
    documents::{Found, compared, documents_of, missing, shown, small},
};
use crate::{
    controllers::{
        Ctx, Key, candidate,
        desk::{Ask, Desk, Person, Refused},
        names::candidate_name,
    },
    domain::Digest,
};

/// A plan.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanShown {
    /// Which: what an approval names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<Digest>,
    /// The document that it is for: what was asked for.
    pub assigned: DocumentShown,
    /// The document that it comes to.
    pub candidate: DocumentShown,
    /// What makes the second of the first; absent unless both are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

impl Desk {
    /// The plan of an Incident, which is `incident`.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] without the right to read the ConfigMap that the plan is in,
    /// [`Refused::NotFound`] where no document is planned.
    pub async fn plan(
        &self,
        person: &Arc<Person>,
        key: &Key,
        incident: &IncidentShown,
    ) -> Result<PlanShown, Refused> {
        let ctx = self.ctx()?;
        self.reads(person, key, &candidate_name(&key.name)).await?;
        let status = &incident.status;
        let Some(digest) = &status.candidate_digest else {
            let message = format!("Incident {key} shows no plan that comes to a document");
            return Err(Refused::NotFound(message));
        };
        let attempted = format!("reading the plan of Incident {key}");
        let read = self.look(person, &attempted, candidate::read(&ctx, key, digest)).await?;
        let candidate =
            read.map_err(|doubt| missing(Some(digest.clone()), &doubt.message)).and_then(small);
        let assigned = self.planned_for(&ctx, person, key, incident).await?;
        let difference = compared(&ctx, &assigned, &candidate).await;
        Ok(PlanShown {
            plan_digest: status.plan_digest.clone(),
            assigned: shown(assigned),
            candidate: shown(candidate),
            difference,
        })
    }

    /// The document that the plan is for, as far as `person` may see it: whoever may not see it may still
    /// see what it is to become.
    async fn planned_for(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
        incident: &IncidentShown,
    ) -> Result<Found, Refused> {
        let digest = incident.status.current_digest.clone();
        let contract = Key::new(&key.namespace, &incident.spec.contract_name);
        let found = match self.asked_for(ctx, person, &contract).await {
            Err(Refused::Forbidden(why) | Refused::NotFound(why)) => {
                return Ok(Err(missing(digest, &why)));
            }
            found => found?,
        };
        Ok(found.and_then(|document| {
            if digest.as_ref() == Some(document.digest()) {
                return Ok(document);
            }
            Err(missing(digest, "another document is asked for by now"))
        }))
    }

    async fn asked_for(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
    ) -> Result<Found, Refused> {
        self.shows(person, Ask::of("get", "widgetcontracts", key)).await?;
        let contract = self.contract_itself(ctx, person, key).await?;
        self.assigned(ctx, person, key, &contract, &documents_of(&contract)).await
    }
}
