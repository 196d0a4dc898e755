//! Incidents.

use std::{cmp::Reverse, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lately, Page, watched};
use crate::{
    api::{
        Incident,
        incident::{Cause, IncidentSpec, IncidentStatus, State as IncidentState},
    },
    controllers::{
        Ctx, Key,
        desk::{Desk, Person, Refused, rights::Scope, turns::For},
    },
    decide::platform,
    domain::Severity,
};

/// An Incident in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(Deserialize))]
#[serde(rename_all = "camelCase")]
pub struct IncidentRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub subject: String,
    /// The contract, where it is about one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contract: String,
    /// The rules that fail.
    pub rules: String,
    /// How bad it is.
    pub severity: Severity,
    /// Its state.
    pub state: IncidentState,
    /// Why.
    pub cause: Cause,
    /// What it waits for: `AwaitingApproval`, `BreakerOpen`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting: String,
    /// What is to be said of it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Does it wait for a person?
    pub waits_for_people: bool,
    /// How many attempts there were.
    pub tries: u32,
    /// When the trouble began.
    #[schemars(with = "String")]
    pub opened_at: Timestamp,
    /// When something is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next_attempt_time: Option<Timestamp>,
    /// When the operator looks again by itself at what holds it: `status.heldUntil`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub held_until: Option<Timestamp>,
    /// Its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// An Incident.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentShown {
    /// As it stands in a list.
    #[serde(flatten)]
    pub row: IncidentRow,
    /// Its spec, plan and approval included.
    pub spec: IncidentSpec,
    /// Its status, attempts included.
    pub status: IncidentStatus,
}

/// Which Incidents.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct IncidentFilter {
    /// Those in this state.
    pub state: Option<IncidentState>,
    /// Those of this severity.
    pub severity: Option<Severity>,
    /// Those about this contract.
    pub contract: Option<String>,
    /// Those that wait for a person, or those that do not.
    pub waits_for_people: Option<bool>,
}

impl Lately {
    /// The open Incidents that `filter` wants: those that wait for a person first, then the worst, then
    /// the oldest.
    #[must_use]
    pub fn incidents(
        &self,
        scope: &Scope,
        filter: &IncidentFilter,
        after: Option<&Rank>,
        limit: usize,
    ) -> Page<IncidentRow> {
        let rows = self.open(scope).map(IncidentRow::of);
        let wanted = rows.filter(|row| filter.wants(row)).map(|row| (row.rank(), row));
        let mut rows: Vec<(Rank, IncidentRow)> =
            wanted.filter(|(rank, _)| after.is_none_or(|after| rank > after)).collect();
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let goes_on = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| goes_on).map(|(rank, _)| rank.to_string());
        Page { items: rows.into_iter().map(|(_, row)| row).collect(), r#continue: last }
    }
}

impl Desk {
    /// One Incident, open or over.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or that it could not be read.
    pub async fn incident(&self, person: &Person, key: &Key) -> Result<IncidentShown, Refused> {
        let ctx = self.ctx()?;
        let object = self.incident_itself(&ctx, person, key).await?;
        Ok(IncidentShown {
            row: IncidentRow::of(&object),
            status: object.status.unwrap_or_default(),
            spec: object.spec,
        })
    }

    /// The object, read anew.
    pub(super) async fn incident_itself(
        &self,
        ctx: &Ctx,
        person: &Person,
        key: &Key,
    ) -> Result<Incident, Refused> {
        let incidents: Api<Incident> =
            Api::namespaced(ctx.client.clone(), watched(ctx, "Incident", key)?);
        let attempted = format!("reading Incident {key}");
        self.ask(For::Person(person), &attempted, incidents.get(&key.name)).await
    }
}

impl IncidentRow {
    pub(super) fn of(object: &Incident) -> Self {
        let (spec, status) = (&object.spec, object.status.as_ref());
        let state = status.and_then(|status| status.state).unwrap_or_default();
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            subject: spec.subject.clone(),
            contract: spec.contract_name.clone(),
            rules: spec.rules_summary.clone(),
            severity: spec.severity,
            state,
            cause: spec.cause,
            waits_for_people: status.is_some_and(platform::waits_for_people),
            waiting: status.map_or_else(String::new, |status| status.waiting.clone()),
            message: status.map_or_else(String::new, |status| status.message.clone()),
            tries: status.and_then(|status| status.tries).unwrap_or_default(),
            opened_at: spec.opened_at.0,
            next_attempt_time: status
                .and_then(|status| status.next_attempt_time.as_ref())
                .map(|at| at.0),
            held_until: status.and_then(|status| status.held_until.as_ref()).map(|at| at.0),
            trace_id: spec.trace_id().map(str::to_owned),
        }
    }

    fn rank(&self) -> Rank {
        Rank(
            !self.waits_for_people,
            Reverse(self.severity),
            self.opened_at,
            self.namespace.clone(),
            self.name.clone(),
        )
    }
}

/// Where an Incident stands in a list, also when others before it have ended meanwhile: those that wait for
/// people first, then the worst, then the oldest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank(bool, Reverse<Severity>, Timestamp, String, String);

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Rank {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = URL_SAFE_NO_PAD.decode(text).map_err(drop)?;
        serde_json::from_slice(&text).map_err(drop)
    }
}

impl IncidentFilter {
    fn wants(&self, row: &IncidentRow) -> bool {
        self.state.is_none_or(|state| state == row.state)
            && self.severity.is_none_or(|severity| severity == row.severity)
            && self.contract.as_deref().is_none_or(|contract| contract == row.contract)
            && self.waits_for_people.is_none_or(|waits| waits == row.waits_for_people)
    }
}
