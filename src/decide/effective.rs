//! The effective contract: class and contract merged once into the one spec that all later code
//! reads. A contract adds to its class and may only make it stricter, except for the rules that
//! the class lists in `overridable`.

use crate::{
    api::{
        class::WidgetClassSpec,
        contract::{
            DocumentSource, Exclude, FallbackAsset, Mode, OnDelete, RuleSpec, SchemaSource, Source,
            WidgetContractSpec, WriteBack,
        },
        refs::ConfigMapKeyRef,
    },
    domain::{Digest, Severity, Span},
    rules::{RuleKind, SchemaRule},
};

use super::Stall;

/// The name that the schema rule has, listed or not.
pub const SCHEMA_RULE: &str = "schema";
/// The name under which a document that is not JSON fails; no rule may have it.
pub const DOCUMENT_RULE: &str = "document";

const DEFAULT_INTERVAL: Span = Span::secs(60);
const SHORTEST_INTERVAL: Span = Span::secs(1);
const DEFAULT_WITHIN: Span = Span::mins(2);
const DEFAULT_HISTORY: u32 = 10;

/// A contract's whole spec, with its class's and the defaults in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The widget type.
    pub widget: String,
    /// Where the document that was asked for is.
    pub document: DocumentSource,
    /// Where the schema is; None when there is none.
    pub schema: Option<SchemaSource>,
    /// Is the schema the class's?
    pub schema_is_shared: bool,
    /// The rules in force, disabled ones left out; the schema rule is one of them.
    pub rules: Vec<Rule>,
    /// The system of record.
    pub source: Option<Source>,
    /// Where the good document is served; None for watch-only.
    pub serve: Option<ServeTarget>,
    /// Where the served document is seen to arrive.
    pub probe: Option<Probe>,
    /// Fallback URLs, the contract's before the class's.
    pub fallback_assets: Vec<FallbackAsset>,
    /// The strictest of the contract's and the class's modes.
    pub mode: Mode,
    /// Where repairs are written, as far as class and contract agree.
    pub write_back: WriteBack,
    /// The policy that the contract names.
    pub policy: Option<String>,
    /// What is never done.
    pub exclude: Vec<Exclude>,
    /// How many revisions are kept.
    pub history_limit: u32,
    /// How long a document must pass before it becomes a revision.
    pub soak: Span,
    /// How often the world is looked at.
    pub interval: Span,
    /// Stops every write but status.
    pub suspend: bool,
}

/// Where what is served is read by widgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The URL.
    pub url: String,
    /// How long it may take to get there.
    pub within: Span,
}

/// A rule in force, with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// How much a failure matters.
    pub severity: Severity,
    /// Failures in a row that open an Incident.
    pub failure_threshold: u32,
    /// Passes in a row that end a failure.
    pub success_threshold: u32,
    /// How long it must fail before an Incident opens.
    pub hold: Span,
    /// How often it is checked, when it judges the world.
    pub interval: Span,
    /// What it checks.
    pub kind: RuleKind,
}

/// The ConfigMap key that the good document is served in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeTarget {
    /// The ConfigMap and key.
    pub at: ConfigMapKeyRef,
    /// The ConfigMap may hold other contracts' keys, too.
    pub shared: bool,
    /// A ConfigMap that exists and is not ours may be taken over.
    pub adopt: bool,
    /// The ConfigMap is deleted with the contract.
    pub delete_with_contract: bool,
}

impl Effective {
    /// Merges `class` and `contract` (named `name`).
    ///
    /// # Errors
    /// When the two contradict each other; names the rule or field and the fix.
    pub fn merge(
        name: &str,
        class: Option<&WidgetClassSpec>,
        contract: &WidgetContractSpec,
    ) -> Result<Self, Stall> {
        let none = WidgetClassSpec::default();
        let class = class.unwrap_or(&none);
        let interval =
            contract.interval.or(class.interval).unwrap_or(DEFAULT_INTERVAL).max(SHORTEST_INTERVAL);
        let schema = merge_schema(class, contract)?;
        let rules = merge_rules(class, contract)?;
        let serve = serve_target(name, class, contract)?;
        let own = contract.healing.clone().unwrap_or_default();
        let shared = class.healing.clone().unwrap_or_default();
        let probe = contract.serve.as_ref().and_then(|serve| serve.probe.as_ref());
        let history = contract.history.as_ref().or(class.history.as_ref());
        Ok(Self {
            widget: contract.widget.clone(),
            document: contract.document.clone(),
            rules: in_force(rules, schema.is_some(), interval)?,
            schema_is_shared: schema.is_some() && schema == class.schema,
            schema,
            source: contract.source.clone().or_else(|| class.source.clone()),
            serve,
            probe: probe.map(|probe| Probe {
                url: probe.url.0.clone(),
                within: probe.within.unwrap_or(DEFAULT_WITHIN),
            }),
            fallback_assets: [&contract.fallback_assets[..], &class.fallback_assets[..]].concat(),
            mode: own.mode.unwrap_or_default().min(shared.mode.unwrap_or_default()),
            write_back: own
                .write_back
                .into_iter()
                .chain(shared.write_back)
                .min()
                .unwrap_or_default(),
            policy: own.policy_ref.or(shared.policy_ref).map(|reference| reference.name),
            exclude: [own.exclude, shared.exclude].concat(),
            history_limit: history.and_then(|h| h.limit).unwrap_or(DEFAULT_HISTORY).max(2),
            soak: history.and_then(|h| h.soak).unwrap_or(Span::ZERO),
            interval,
            suspend: contract.suspend,
        })
    }

    /// What the rules are made of, as one value: two contracts with equal rules and schema share
    /// what was compiled for them.
    #[must_use]
    pub fn rules_digest(&self, schema: Option<&Digest>) -> Digest {
        let rules: Vec<_> = self
            .rules
            .iter()
            .map(|rule| serde_json::json!({"name": rule.name, "kind": rule.kind}))
            .collect();
        Digest::of_value(&serde_json::json!({"rules": rules, "schema": schema}))
    }

    /// The rule of that name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// How often the world has to be looked at; None when only changes of objects matter.
    #[must_use]
    pub fn look_every(&self) -> Option<Span> {
        let document = matches!(self.document, DocumentSource::Url(_)).then_some(self.interval);
        let world = self.rules.iter().filter(|r| r.kind.rule_type().judges_world());
        world.map(|rule| rule.interval).chain(document).min()
    }
}

fn merge_schema(
    class: &WidgetClassSpec,
    contract: &WidgetContractSpec,
) -> Result<Option<SchemaSource>, Stall> {
    match (&class.schema, &contract.schema) {
        (Some(shared), Some(own)) if shared != own && !overridable(class, SCHEMA_RULE) => {
            Err(Stall::new(
                "ClassLoosened",
                "spec.schema differs from the class's; leave it out, or list \"schema\" in the \
                 class's overridable",
            ))
        }
        (shared, own) => Ok(own.clone().or_else(|| shared.clone())),
    }
}

fn merge_rules(
    class: &WidgetClassSpec,
    contract: &WidgetContractSpec,
) -> Result<Vec<RuleSpec>, Stall> {
    let mut merged = class.rules.clone();
    let listed = merged.iter().any(|rule| matches!(rule.kind, RuleKind::Schema(_)));
    if class.schema.is_some() && !listed {
        // There without being listed, so a contract cannot loosen it either.
        merged.insert(0, implicit_schema_rule());
    }
    for own in &contract.rules {
        match merged.iter_mut().find(|shared| shared.name == own.name) {
            None => merged.push(own.clone()),
            Some(shared) => {
                if !overridable(class, &own.name)
                    && let Some(field) = loosened(shared, own)
                {
                    return Err(Stall::new(
                        "ClassLoosened",
                        &format!(
                            "rule {:?} loosens {field} of the class's rule; make it stricter, \
                                 rename it, or list it in the class's overridable",
                            own.name
                        ),
                    ));
                }
                *shared = own.clone();
            }
        }
    }
    Ok(merged)
}

fn overridable(class: &WidgetClassSpec, rule: &str) -> bool {
    class.overridable.iter().any(|name| name == rule)
}

fn implicit_schema_rule() -> RuleSpec {
    RuleSpec {
        name: SCHEMA_RULE.to_owned(),
        severity: None,
        failure_threshold: None,
        success_threshold: None,
        r#for: None,
        interval: None,
        disabled: false,
        kind: RuleKind::Schema(SchemaRule {}),
    }
}

/// The first field in which `own` is looser than `shared`.
fn loosened(shared: &RuleSpec, own: &RuleSpec) -> Option<&'static str> {
    let severity = |rule: &RuleSpec| rule.severity.unwrap_or_default();
    let hold = |rule: &RuleSpec| rule.r#for.unwrap_or(Span::ZERO);
    let failures = |rule: &RuleSpec| rule.failure_threshold.unwrap_or(1);
    let successes = |rule: &RuleSpec| rule.success_threshold.unwrap_or(1);
    if own.kind != shared.kind {
        Some("what is checked")
    } else if severity(own) < severity(shared) {
        Some("severity")
    } else if own.disabled && !shared.disabled {
        Some("disabled")
    } else if failures(own) > failures(shared) {
        Some("failureThreshold")
    } else if successes(own) < successes(shared) {
        Some("successThreshold")
    } else if hold(own) > hold(shared) {
        Some("for")
    } else if shared.interval.is_some_and(|shared| own.interval.is_some_and(|own| own > shared)) {
        Some("interval")
    } else {
        None
    }
}

/// The rules with their defaults, the disabled ones left out and the schema rule put first.
fn in_force(specs: Vec<RuleSpec>, has_schema: bool, interval: Span) -> Result<Vec<Rule>, Stall> {
    let mut rules = Vec::with_capacity(specs.len() + 1);
    let listed = specs.iter().any(|rule| matches!(rule.kind, RuleKind::Schema(_)));
    let implicit = (has_schema && !listed).then(implicit_schema_rule);
    for spec in implicit.into_iter().chain(specs) {
        check_name(&spec, has_schema)?;
        if spec.disabled {
            continue;
        }
        rules.push(Rule {
            name: spec.name,
            severity: spec.severity.unwrap_or_default(),
            failure_threshold: spec.failure_threshold.unwrap_or(1).max(1),
            success_threshold: spec.success_threshold.unwrap_or(1).max(1),
            hold: spec.r#for.unwrap_or(Span::ZERO),
            interval: spec.interval.unwrap_or(interval).max(SHORTEST_INTERVAL),
            kind: spec.kind,
        });
    }
    Ok(rules)
}

fn check_name(spec: &RuleSpec, has_schema: bool) -> Result<(), Stall> {
    let is_schema = matches!(spec.kind, RuleKind::Schema(_));
    if spec.name == DOCUMENT_RULE {
        return Err(Stall::new(
            "RuleNameReserved",
            "rule \"document\": that name is for documents that are not JSON; choose another",
        ));
    }
    if (spec.name == SCHEMA_RULE) != is_schema {
        return Err(Stall::new(
            "RuleNameReserved",
            &format!("rule {:?}: the name \"schema\" and the kind schema go together", spec.name),
        ));
    }
    if is_schema && !has_schema {
        return Err(Stall::new(
            "SchemaNotGiven",
            "rule \"schema\" has no schema to check; give spec.schema, here or in the class",
        ));
    }
    Ok(())
}

fn serve_target(
    name: &str,
    class: &WidgetClassSpec,
    contract: &WidgetContractSpec,
) -> Result<Option<ServeTarget>, Stall> {
    let own = contract.serve.clone().unwrap_or_default();
    if own.none.is_some() {
        return Ok(None);
    }
    let delete_with_contract = own.on_delete.unwrap_or_default() == OnDelete::Delete;
    let (at, shared) = match (own.config_map_key_ref, &class.serve) {
        (Some(at), _) => (at, true),
        (None, Some(serve)) => {
            let template = serve.key_template.as_deref().unwrap_or("{{name}}.json");
            let key = template.replace("{{name}}", name);
            if !template.contains("{{name}}") {
                return Err(Stall::new(
                    "ServeConflict",
                    "the class's serve.keyTemplate has no {{name}}, so all contracts would share \
                     one key",
                ));
            }
            (ConfigMapKeyRef { name: serve.config_map_name.clone(), key }, true)
        }
        (None, None) => {
            let at =
                ConfigMapKeyRef { name: format!("{name}-served"), key: "contract.json".to_owned() };
            (at, false)
        }
    };
    if matches!(&contract.document, DocumentSource::ConfigMapKeyRef(document) if *document == at) {
        return Err(Stall::new(
            "ServeIsDocument",
            "spec.document and the place to serve in are the same ConfigMap key; serve in another",
        ));
    }
    if delete_with_contract && shared {
        return Err(Stall::new(
            "ServeShared",
            "serve.onDelete: Delete needs a ConfigMap of the contract's own; leave out \
             serve.configMapKeyRef and the class's serve, or retain",
        ));
    }
    Ok(Some(ServeTarget { at, shared, adopt: own.adopt, delete_with_contract }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(yaml: &str) -> WidgetClassSpec {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn merge(class: &WidgetClassSpec, contract: &str) -> Result<Effective, Stall> {
        let contract = format!("widget: storefinder\ndocument: {{inline: {{}}}}\n{contract}");
        Effective::merge("uk", Some(class), &serde_saphyr::from_str(&contract).unwrap())
    }

    const ONE_RULE: &str = "rules: [{name: uk, severity: Warning, failureThreshold: 3, \
                            metadata: {required: [/a]}}]";

    #[test]
    fn a_contract_adds_rules_and_may_make_a_class_rule_stricter() {
        let own = "rules: [{name: uk, severity: Critical, metadata: {required: [/a]}}, \
                   {name: more, metadata: {required: [/b]}}]";
        let merged = merge(&class(ONE_RULE), own).unwrap();
        let names: Vec<_> = merged.rules.iter().map(|r| (r.name.as_str(), r.severity)).collect();
        assert_eq!(names, [("uk", Severity::Critical), ("more", Severity::Critical)]);
    }

    #[test]
    fn a_contract_cannot_loosen_a_class_rule_unless_it_is_overridable() {
        let cases = [
            ("{name: uk, severity: Info, metadata: {required: [/a]}}", "severity"),
            ("{name: uk, severity: Warning, metadata: {required: []}}", "what is checked"),
            (
                "{name: uk, severity: Warning, disabled: true, metadata: {required: [/a]}}",
                "disabled",
            ),
            ("{name: uk, failureThreshold: 9, metadata: {required: [/a]}}", "failureThreshold"),
            ("{name: uk, for: 1h, metadata: {required: [/a]}}", "for"),
        ];
        for (rule, field) in cases {
            let own = format!("rules: [{rule}]");
            let stall = merge(&class(ONE_RULE), &own).unwrap_err();
            assert!(stall.message.contains(&format!("loosens {field} ")), "{}", stall.message);
            let open = class(&format!("{ONE_RULE}\noverridable: [uk]"));
            assert!(merge(&open, &own).is_ok(), "{rule}");
        }
    }

    #[test]
    fn the_schema_rule_is_there_without_being_listed_and_can_be_tuned_by_listing_it() {
        let with_schema = class("schema: {inline: {type: object}}");
        assert_eq!(merge(&with_schema, "").unwrap().rules[0].name, SCHEMA_RULE);
        let loosened = merge(&with_schema, "rules: [{name: schema, schema: {}, disabled: true}]");
        assert_eq!(
            loosened.unwrap_err().reason,
            "ClassLoosened",
            "a class's schema stays in force"
        );
        let own = "schema: {inline: {}}\nrules: [{name: schema, schema: {}, for: 5s}]";
        let tuned = merge(&class("{}"), own).unwrap();
        assert_eq!((tuned.rules.len(), tuned.rules[0].hold), (1, Span::secs(5)));
        let none = merge(&class("{}"), "rules: [{name: schema, schema: {}}]").unwrap_err();
        assert_eq!(none.reason, "SchemaNotGiven");
    }

    #[test]
    fn the_strictest_mode_of_class_and_contract_wins() {
        let observe = class("healing: {mode: Observe}");
        assert_eq!(merge(&observe, "healing: {mode: Auto}").unwrap().mode, Mode::Observe);
        assert_eq!(merge(&observe, "healing: {mode: Off}").unwrap().mode, Mode::Off);
    }

    #[test]
    fn a_document_is_served_in_its_own_config_map_unless_class_or_contract_say_otherwise() {
        let own = merge(&class("{}"), "").unwrap().serve.unwrap();
        assert_eq!((own.at.name.as_str(), own.at.key.as_str()), ("uk-served", "contract.json"));
        let shared = class("serve: {configMapName: cdn}");
        let at = merge(&shared, "").unwrap().serve.unwrap();
        assert_eq!((at.at.key.as_str(), at.shared), ("uk.json", true));
        assert_eq!(merge(&shared, "serve: {none: {}}").unwrap().serve, None);
        let fixed = class("serve: {configMapName: cdn, keyTemplate: all.json}");
        assert_eq!(merge(&fixed, "").unwrap_err().reason, "ServeConflict");
    }

    #[test]
    fn a_place_that_cannot_be_served_in_is_refused_with_the_field_to_change() {
        let at = "configMapKeyRef: {name: cdn, key: uk.json}";
        let own = format!("serve: {{{at}}}");
        let ends = format!("serve: {{onDelete: Delete, {at}}}");
        let inline = "{inline: {}}".to_owned();
        let table = [
            (format!("{{{at}}}"), own.as_str(), "ServeIsDocument", "spec.document"),
            (inline.clone(), &ends, "ServeShared", "serve.configMapKeyRef"),
            (inline.clone(), &own, "", ""),
            (inline, "serve: {onDelete: Delete}", "", ""),
        ];
        for (document, serve, reason, field) in table {
            let contract = format!("widget: storefinder\ndocument: {document}\n{serve}");
            let contract = serde_saphyr::from_str(&contract).unwrap();
            match Effective::merge("uk", None, &contract) {
                Ok(_) => assert_eq!(reason, "", "{serve}"),
                Err(stall) => {
                    assert_eq!(stall.reason, reason, "{serve}");
                    assert!(stall.message.contains(field), "{}", stall.message);
                }
            }
        }
        let shared = class("serve: {configMapName: cdn}");
        let stall = merge(&shared, "serve: {onDelete: Delete}").unwrap_err();
        assert_eq!(stall.reason, "ServeShared");
    }
}
