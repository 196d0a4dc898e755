//! What there is to see: of the namespaces that a person may look into, and no payload values.
//!
//! Lists come from what is remembered, so a page that is looked at all day costs the API server
//! nothing; a single object is read anew.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Desk, Refused, rights::Scope};
use crate::{
    api::{
        Incident, WidgetContract,
        contract::{Health, WidgetContractStatus},
        incident::{Cause, IncidentSpec, IncidentStatus, State as IncidentState},
    },
    controllers::{Ctx, Key, index::Listed},
    decide::{
        platform::{self, Facts, Part},
        standing::Standing,
    },
    domain::Severity,
};

/// How all of it stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// In one word.
    pub state: platform::State,
    /// Why it is not healthy: the worst reason first.
    pub why: Vec<String>,
    /// How many contracts there are, by their health.
    pub contracts: BTreeMap<String, usize>,
    /// How many Incidents are open, by their state.
    pub incidents: BTreeMap<String, usize>,
    /// How many of them wait for a person.
    pub waiting_for_people: usize,
    /// What the operator works with.
    pub parts: Vec<Part>,
}

/// A contract in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The type of its widget.
    pub widget: String,
    /// Its health.
    pub health: Health,
    /// What is served: the reason of its condition Serving.
    pub serving: &'static str,
    /// Its open Incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
}

/// A contract.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractShown {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The type of its widget.
    pub widget: String,
    /// Its class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Its spec's generation.
    pub generation: i64,
    /// Is it suspended?
    pub suspend: bool,
    /// Its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<WidgetContractStatus>,
}

/// An Incident in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub subject: String,
    /// The contract, where it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
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
    #[serde(skip_serializing_if = "String::is_empty")]
    pub waiting: String,
    /// What is to be said of it, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
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

/// A part of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page<T> {
    /// The objects.
    pub items: Vec<T>,
    /// What `continue` has to be to see what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#continue: Option<String>,
}

/// Which contracts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ContractFilter {
    /// Those with this health.
    pub health: Option<Health>,
    /// Those of this widget.
    pub widget: Option<String>,
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

impl Desk {
    /// How all of it stands, as far as `scope` goes.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub fn platform(&self, scope: &Scope) -> Result<Platform, Refused> {
        let ctx = self.ctx()?;
        let open = ctx.index.open_incidents(|namespace| scope.has(namespace));
        let rows: Vec<IncidentRow> =
            open.iter().map(|incident| IncidentRow::of(incident)).collect();
        let mut facts = Facts { parts: self.health.parts(), ..Facts::default() };
        facts.contracts = ctx.index.count_health(|namespace| scope.has(namespace));
        for row in &rows {
            *facts.incidents.entry((row.state, row.severity)).or_default() += 1;
        }
        let (state, why) = platform::judge(&facts);
        let contracts = facts.contracts.iter().map(|(health, count)| (health.to_string(), *count));
        let mut incidents = BTreeMap::new();
        for row in &rows {
            *incidents.entry(row.state.to_string()).or_default() += 1;
        }
        Ok(Platform {
            state,
            why,
            contracts: contracts.collect(),
            incidents,
            waiting_for_people: rows.iter().filter(|row| row.waits_for_people).count(),
            parts: facts.parts,
        })
    }

    /// The contracts that `filter` wants, by namespace and name: at most `limit` of them, after `after`.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub fn contracts(
        &self,
        scope: &Scope,
        filter: &ContractFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ContractRow>, Refused> {
        let after = after.and_then(|after| after.split_once('/'));
        let after = after.map(|(namespace, name)| Key::new(namespace, name));
        let wanted = |key: &Key, widget: &str, standing: Standing| {
            scope.has(&key.namespace)
                && filter.health.is_none_or(|health| health == standing.health)
                && filter.widget.as_deref().is_none_or(|wanted| wanted == widget)
        };
        let mut found = self.ctx()?.index.list_contracts(after.as_ref(), limit + 1, wanted);
        let goes_on = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|last| last.key.to_string());
        Ok(Page {
            items: found.into_iter().map(ContractRow::of).collect(),
            r#continue: last.filter(|_| goes_on),
        })
    }

    /// The open Incidents that `filter` wants: those that wait for a person first, then the worst, then
    /// the oldest.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub fn incidents(
        &self,
        scope: &Scope,
        filter: &IncidentFilter,
        after: usize,
        limit: usize,
    ) -> Result<Page<IncidentRow>, Refused> {
        let open = self.ctx()?.index.open_incidents(|namespace| scope.has(namespace));
        let rows = open.iter().map(|incident| IncidentRow::of(incident));
        let mut rows: Vec<IncidentRow> = rows.filter(|row| filter.wants(row)).collect();
        rows.sort_by(|one, other| one.rank().cmp(&other.rank()));
        let end = after.saturating_add(limit);
        let goes_on = rows.len() > end;
        Ok(Page {
            items: rows.into_iter().skip(after).take(limit).collect(),
            r#continue: goes_on.then(|| end.to_string()),
        })
    }

    /// One contract.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or that it could not be read.
    pub async fn contract(&self, key: &Key) -> Result<ContractShown, Refused> {
        let ctx = self.ctx()?;
        let contracts: Api<WidgetContract> =
            Api::namespaced(ctx.client.clone(), watched(&ctx, "WidgetContract", key)?);
        let attempted = format!("reading WidgetContract {key}");
        let object = self.ask(&attempted, contracts.get(&key.name)).await?;
        Ok(ContractShown {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            generation: object.metadata.generation.unwrap_or_default(),
            widget: object.spec.widget,
            class: object.spec.class_ref.map(|class| class.name),
            suspend: object.spec.suspend,
            status: object.status,
        })
    }

    /// One Incident, open or over.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or that it could not be read.
    pub async fn incident(&self, key: &Key) -> Result<IncidentShown, Refused> {
        let ctx = self.ctx()?;
        let incidents: Api<Incident> =
            Api::namespaced(ctx.client.clone(), watched(&ctx, "Incident", key)?);
        let attempted = format!("reading Incident {key}");
        let object = self.ask(&attempted, incidents.get(&key.name)).await?;
        Ok(IncidentShown {
            row: IncidentRow::of(&object),
            status: object.status.unwrap_or_default(),
            spec: object.spec,
        })
    }
}

/// The namespace of `key`, where the operator watches it: in others it has no rights.
pub(super) fn watched<'a>(ctx: &Ctx, kind: &str, key: &'a Key) -> Result<&'a str, Refused> {
    let watched = &ctx.config.namespaces;
    if watched.is_empty() || watched.iter().any(|known| **known == *key.namespace) {
        return Ok(&key.namespace);
    }
    Err(Refused::NotFound(format!("{kind} {key}: the operator does not watch that namespace")))
}

impl ContractRow {
    fn of(listed: Listed) -> Self {
        Self {
            namespace: listed.key.namespace.to_string(),
            name: listed.key.name.to_string(),
            widget: listed.widget,
            health: listed.standing.health,
            serving: listed.standing.serving.as_str(),
            incident: listed.incident,
        }
    }
}

impl IncidentRow {
    fn of(object: &Incident) -> Self {
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
            trace_id: spec.trace_id().map(str::to_owned),
        }
    }

    fn rank(&self) -> impl Ord + use<'_> {
        let worst = Reverse(self.severity);
        (!self.waits_for_people, worst, self.opened_at, &*self.namespace, &*self.name)
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
