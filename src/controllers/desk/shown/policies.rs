//! Policies: what they are for, and what came of them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Serialize;

use super::Page;
use crate::{
    api::{RemediationPolicyStatus, contract::Mode, policy::StepMeasured},
    controllers::{
        Key,
        desk::{Desk, Refused, rights::Scope},
        names::ours,
        policy::Unread,
    },
    decide::{pause, policy},
};

/// A policy in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the object that it shows")]
pub struct PolicyRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Can it be used?
    pub ready: bool,
    /// How far it goes.
    pub mode: Mode,
    /// Is it for every failure that no other policy matches?
    pub default: bool,
    /// Breaks ties; the greater wins.
    pub priority: i32,
    /// Is it suspended?
    pub suspend: bool,
    /// Until when it is paused, by whom and why; absent while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// How many contracts it could be for.
    pub matched: u32,
    /// How many of its Incidents are open.
    pub unhealthy: u32,
    /// How many of them are being repaired.
    pub in_flight: u32,
    /// Does any of them wait for a storm to end?
    pub storm: bool,
    /// In how many Incidents a step of it had its part in a repair that passed.
    pub healed: u32,
    /// What each of its steps came to.
    pub steps: Vec<StepRow>,
}

/// What a step came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRow {
    /// As it was counted.
    #[serde(flatten)]
    pub measured: StepMeasured,
    /// The share of its turns that led to a repair that passed; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub success_rate: Option<f64>,
}

/// A policy.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyShown {
    /// As it stands in a list.
    #[serde(flatten)]
    pub row: PolicyRow,
    /// Its spec's generation.
    pub generation: i64,
    /// Its status, conditions and breakers included.
    pub status: RemediationPolicyStatus,
}

impl Desk {
    /// The policies, by namespace and name.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub fn policies(
        &self,
        scope: &Scope,
        after: usize,
        limit: usize,
    ) -> Result<Page<PolicyRow>, Refused> {
        let ctx = self.ctx()?;
        let now = ctx.now();
        let known = ctx.policies.all(|namespace| scope.has(namespace));
        // Their specs are read one by one, so only those that are shown.
        let page = Page::of(known, after, limit);
        let items = page.items.iter().map(|object| PolicyRow::of(object, now)).collect();
        Ok(Page { items, r#continue: page.r#continue })
    }

    /// One policy, as it was seen last: the operator watches them, and has no right to get one.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or that this replica does not lead.
    pub fn policy(&self, key: &Key) -> Result<PolicyShown, Refused> {
        let ctx = self.ctx()?;
        let Some(object) = ctx.policies.one(key) else {
            return Err(Refused::NotFound(format!("RemediationPolicy {key}: there is none")));
        };
        Ok(PolicyShown {
            row: PolicyRow::of(&object, ctx.now()),
            generation: object.metadata.generation.unwrap_or_default(),
            status: object.status.clone(),
        })
    }
}

impl PolicyRow {
    fn of(object: &Unread, now: Timestamp) -> Self {
        // One that cannot be read is not in force, and its status says why.
        let spec = policy::read(&object.spec).unwrap_or_default();
        let status = &object.status;
        let what = format!("RemediationPolicy {}", object.name_any());
        let paused = pause::of(&what, &ours(object.annotations()), now);
        let is_ready =
            |condition: &Condition| condition.type_ == "Ready" && condition.status == "True";
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            ready: status.conditions.iter().any(is_ready),
            mode: spec.mode.unwrap_or_default(),
            default: spec.default,
            priority: spec.priority.unwrap_or_default(),
            suspend: spec.suspend,
            paused: paused.map(|held| held.message),
            matched: status.matched.unwrap_or_default(),
            unhealthy: status.unhealthy.unwrap_or_default(),
            in_flight: status.in_flight.unwrap_or_default(),
            storm: status.storm.unwrap_or_default(),
            healed: status.healed.unwrap_or_default(),
            steps: status.steps.iter().cloned().map(StepRow::of).collect(),
        }
    }
}

impl StepRow {
    fn of(measured: StepMeasured) -> Self {
        let rate = f64::from(measured.succeeded) / f64::from(measured.tried.max(1));
        Self { success_rate: (measured.tried > 0).then_some(rate), measured }
    }
}
