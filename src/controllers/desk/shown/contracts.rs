//! Contracts.

use std::sync::Arc;

use kube::Api;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lately, Page, watched};
use crate::{
    api::{
        WidgetContract,
        contract::{CheckResult, Health, WidgetContractStatus},
    },
    controllers::{
        Ctx, Key,
        desk::{Ask, Desk, Person, Refused, rights::Scope, turns::For},
        documents,
        index::Listed,
        observe,
    },
    decide::{effective::Rule, standing::Standing, verdicts},
    domain::Severity,
    rules::RuleType,
};

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
    /// The rules in force by its spec and its class, in order.
    pub rules: Vec<RuleRow>,
    /// Why they are not here: a right to its class is missing, or the two do not go together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_missing: Option<String>,
    /// Its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<WidgetContractStatus>,
}

/// A rule in force, and what the last look said of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RuleRow {
    /// Its name.
    pub name: String,
    /// What it checks by.
    pub r#type: RuleType,
    /// How much a failure matters.
    pub severity: Severity,
    /// What it said; absent where it was not asked, or its status does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<CheckResult>,
}

/// Which contracts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ContractFilter {
    /// Those with this health.
    pub health: Option<Health>,
    /// Those of this widget.
    pub widget: Option<String>,
}

impl Lately {
    /// The contracts of `scope` that are not as they should be, and that no Incident speaks for: the worst first.
    #[must_use]
    pub fn others(&self, scope: &Scope) -> Vec<ContractRow> {
        self.unspoken(scope).cloned().map(ContractRow::of).collect()
    }
}

impl Desk {
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

    /// One contract.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or that it could not be read.
    pub async fn contract(
        &self,
        person: &Arc<Person>,
        key: &Key,
    ) -> Result<ContractShown, Refused> {
        let ctx = self.ctx()?;
        let object = self.contract_itself(&ctx, person, key).await?;
        let (rules, rules_missing) = match self.rules(&ctx, person, key, &object).await? {
            Ok(rules) => (rules, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        Ok(ContractShown {
            rules,
            rules_missing,
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            generation: object.metadata.generation.unwrap_or_default(),
            widget: object.spec.widget,
            class: object.spec.class_ref.map(|class| class.name),
            suspend: object.spec.suspend,
            status: object.status,
        })
    }

    /// The rules in force, with what is known of them, or why they are not shown. What is not known of them
    /// is no reason to show nothing of the contract.
    async fn rules(
        &self,
        ctx: &Ctx,
        person: &Arc<Person>,
        key: &Key,
        object: &WidgetContract,
    ) -> Result<Result<Vec<RuleRow>, String>, Refused> {
        if let Some(class) = &object.spec.class_ref {
            let class = Key::new(&key.namespace, &class.name);
            let asked = self.shows(person, Ask::of("get", "widgetclasses", &class)).await;
            if let Err(why) = Refused::or_gap(asked)? {
                return Ok(Err(why));
            }
        }
        let effective = match observe::effective(ctx, key, &object.spec) {
            Ok((_, effective)) => effective,
            Err(stall) => return Ok(Err(stall.message)),
        };
        let attempted = format!("reading the schema of WidgetContract {key}");
        let digest = documents::digest_of_rules(ctx, &key.namespace, &effective);
        let digest = self.look(person, &attempted, digest).await.ok();
        let status = object.status.clone().unwrap_or_default();
        // What was said of an earlier spec was said of another document, perhaps.
        let is_of_now = status.observed_generation == object.metadata.generation;
        let digest = digest.filter(|_| is_of_now);
        let verdicts = verdicts::of(&effective.rules, digest.as_ref(), &status);
        let row = |(rule, verdict): (Rule, Option<CheckResult>)| RuleRow {
            r#type: rule.kind.rule_type(),
            name: rule.name,
            severity: rule.severity,
            verdict,
        };
        Ok(Ok(effective.rules.into_iter().zip(verdicts).map(row).collect()))
    }

    /// The object, read anew.
    pub(super) async fn contract_itself(
        &self,
        ctx: &Ctx,
        person: &Person,
        key: &Key,
    ) -> Result<WidgetContract, Refused> {
        let contracts: Api<WidgetContract> =
            Api::namespaced(ctx.client.clone(), watched(ctx, "WidgetContract", key)?);
        let attempted = format!("reading WidgetContract {key}");
        self.ask(For::Person(person), &attempted, contracts.get(&key.name)).await
    }
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
