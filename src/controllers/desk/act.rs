//! What somebody may ask for. The operator writes it down in its own name, once the API server has said that
//! this person might have written it down themselves; who it was stands in what is written.
//!
//! Each act is one that `kubectl` can do, too, in the same words: what follows from it is decided elsewhere.

use std::sync::Arc;

use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::info;

use super::{Ask, Desk, Person, Refused, now, rights::AsOf, shown::watched, turns::For};
use crate::{
    api::{
        HEAL, HEAL_BY, Incident, WidgetContract,
        incident::{ApprovalDecision, Never},
    },
    controllers::{Key, events, refusal},
    domain::{Digest, text},
};

/// Whose field it is what people have asked for here.
const MANAGER: &str = "kintsugi-desk";
/// As much of an annotation's value counts.
const REQUEST_MAX: usize = 63;
/// A reason has at most so many characters, as the schema of the objects and the forms count them.
pub const REASON_MAX: usize = 256;

/// What an act is about, which says the rights that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A contract: it is healed, or suspended.
    Contract,
    /// The plan of an Incident.
    Plan,
    /// A repair that is taken back.
    Repair,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// What was written down: the operator acts on it at its next look.
    pub message: String,
    /// By whom.
    pub by: String,
}

/// Whether a contract is left alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// Is it?
    pub suspend: bool,
}

/// A word on a plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Decision {
    /// Approve or Reject.
    pub decision: ApprovalDecision,
    /// Which plan: `status.planDigest` of the Incident, as it was shown.
    #[schemars(with = "String", regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub plan_digest: Digest,
    /// Why; a rejection needs one.
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

/// To take a repair back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TakeBack {
    /// What is not to be done again: this document, by default.
    pub never: Option<Never>,
    /// Why.
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

impl About {
    fn resource(self) -> &'static str {
        match self {
            Self::Contract => "widgetcontracts",
            Self::Plan | Self::Repair => "incidents",
        }
    }
}

impl Desk {
    /// Whether `person` is offered such an act: where it would be done, as of a moment ago.
    ///
    /// # Errors
    /// [`Refused::Forbidden`], by the right that is missing.
    pub async fn offers(
        &self,
        person: &Arc<Person>,
        about: About,
        key: &Key,
    ) -> Result<(), Refused> {
        self.allows(person, about, key, AsOf::Lately).await
    }

    /// Sees to it that `person` might have written it themselves: by PATCH or by PUT.
    async fn allows(
        &self,
        person: &Arc<Person>,
        about: About,
        key: &Key,
        as_of: AsOf,
    ) -> Result<(), Refused> {
        let ask = |verb| Ask::of(verb, about.resource(), key);
        if about == About::Plan {
            self.may_act(person, ask("approve"), as_of).await?;
        }
        match self.may_act(person, ask("patch"), as_of).await {
            Err(Refused::Forbidden(_)) => self.may_act(person, ask("update"), as_of).await,
            answer => answer,
        }
    }

    /// Asks for an attempt now.
    ///
    /// # Errors
    /// As every act: [`Refused::Forbidden`], [`Refused::NotFound`], or that it could not be written.
    pub async fn heal(&self, person: &Arc<Person>, key: &Key) -> Result<Done, Refused> {
        let request = text::bounded(&format!("{:.0}/{}", now(), person.name), REQUEST_MAX);
        let patch = json!({"metadata": {"annotations": {
            HEAL: request, HEAL_BY: format!("{request} {}", person.name),
        }}});
        let said = "asks for an attempt now";
        self.write::<WidgetContract>(person, About::Contract, key, &patch, said).await
    }

    /// Suspends a contract, or lets it go on.
    ///
    /// # Errors
    /// As every act.
    pub async fn suspend(
        &self,
        person: &Arc<Person>,
        key: &Key,
        suspend: bool,
    ) -> Result<Done, Refused> {
        let patch = json!({"spec": {"suspend": suspend}});
        let said = if suspend { "suspends it" } else { "lets it go on" };
        self.write::<WidgetContract>(person, About::Contract, key, &patch, said).await
    }

    /// Approves or rejects a plan.
    ///
    /// # Errors
    /// As every act; [`Refused::Invalid`] for a rejection without a reason.
    pub async fn decide(
        &self,
        person: &Arc<Person>,
        key: &Key,
        word: Decision,
    ) -> Result<Done, Refused> {
        let reason = reason(word.reason)?;
        if word.decision == ApprovalDecision::Reject && reason.is_none() {
            return Err(Refused::Invalid("reason: a rejection needs one".to_owned()));
        }
        let approval = json!({
            "planDigest": word.plan_digest, "decision": word.decision, "by": person.name,
            "reason": reason,
        });
        let said = match word.decision {
            ApprovalDecision::Approve => "approves its plan",
            ApprovalDecision::Reject => "rejects its plan",
        };
        let patch = json!({"spec": {"approval": approval}});
        self.write::<Incident>(person, About::Plan, key, &patch, said).await
    }

    /// Takes back what was repaired.
    ///
    /// # Errors
    /// As every act.
    pub async fn undo(
        &self,
        person: &Arc<Person>,
        key: &Key,
        word: TakeBack,
    ) -> Result<Done, Refused> {
        let reason = reason(word.reason)?.unwrap_or_default();
        let never = word.never.unwrap_or_default();
        let undo = json!({"never": never, "by": person.name, "reason": reason});
        let said = "takes its repair back";
        let patch = json!({"spec": {"undo": undo}});
        self.write::<Incident>(person, About::Repair, key, &patch, said).await
    }

    /// The one write of an act.
    async fn write<K>(
        &self,
        person: &Arc<Person>,
        about: About,
        key: &Key,
        patch: &Value,
        said: &'static str,
    ) -> Result<Done, Refused>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let ctx = self.ctx()?;
        let namespace = watched(&ctx, &K::kind(&()), key)?;
        self.allows(person, about, key, AsOf::Now).await?;
        let objects: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let attempted = format!("writing {} {key}", K::kind(&()));
        let patch = Patch::Merge(patch);
        let written = async {
            match objects.patch(&key.name, &params, &patch).await {
                // An answer about what was asked for, and none about the operator.
                Err(kube::Error::Api(status)) => match refusal::of_asked(&attempted, &status) {
                    Some(refused) => Ok(Err(refused)),
                    None => Err(kube::Error::Api(status)),
                },
                written => written.map(Ok),
            }
        };
        let written = self.ask(For::Person(person), &attempted, written).await??;
        info!(by = person.name, object = %key, kind = %K::kind(&()), "somebody {said}");
        events::say_asked(&ctx, &written, &person.name, said).await;
        Ok(Done { message: format!("{} {said}", person.name), by: person.name.clone() })
    }
}

fn reason(said: Option<String>) -> Result<Option<String>, Refused> {
    let said = said.map(|said| said.trim().to_owned()).filter(|said| !said.is_empty());
    if said.as_ref().is_some_and(|said| said.chars().count() > REASON_MAX) {
        return Err(Refused::Invalid(format!("reason: has at most {REASON_MAX} characters")));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_as_long_as_the_forms_and_the_schema_have_it_in_any_script() {
        for (letter, count, is_taken) in [
            ("ж", 200, true),
            ("ж", 256, true),
            ("ж", 257, false),
            ("𝒳", 256, true),
            ("x", 256, true),
            ("x", 257, false),
        ] {
            let said = letter.repeat(count);
            let kept = reason(Some(format!(" {said} ")));
            match kept {
                Ok(kept) => assert_eq!((kept, is_taken), (Some(said), true)),
                Err(Refused::Invalid(why)) => assert!(!is_taken && why.contains("256"), "{why}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
