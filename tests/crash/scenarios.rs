//! What happens in a run: how it begins, what then goes wrong, and how it ends.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kintsugi::api::{Incident, WidgetContract};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    snapshot::Snapshot,
    support::{
        Cluster, Namespace, has,
        web::Web,
        workload::{evict, job_template, may, may_patch, pods, workload},
    },
};

pub struct Scenario {
    pub name: &'static str,
    contract: Value,
    policy: Option<Value>,
    /// ConfigMap `contracts` with this text in `uk.json`.
    config_map: Option<Value>,
    /// What has gone wrong before the run begins.
    before: Option<Fault>,
    fault: Fault,
    /// The state that the last Incident ends in; none at all when nothing is to be healed.
    ends: Option<&'static str>,
    acts_on: Option<ActsOn>,
    /// Is it over only when a person was called about its policy?
    is_a_storm: bool,
}

/// What is acted on besides the document.
enum ActsOn {
    /// Whoever answers at this path of the web server is asked by POST.
    Url(&'static str),
    /// The source's Deployment, which has so many pods.
    Workload { pods: u32 },
    /// A pod of it, which was evicted.
    EvictedPod,
    /// A Job from a template.
    Job,
}

#[derive(Clone)]
enum Fault {
    /// The assigned inline document becomes this.
    Document(Value),
    /// The same in the ConfigMap `contracts`.
    ConfigMap(Value),
    /// Somebody writes into the served key.
    Served,
    /// A person approves the plan that is shown.
    Approve,
    /// A person takes back what the first Incident did.
    Undo,
}

pub fn all(web: &Web) -> Vec<Scenario> {
    web.answer("/ok.png", 200, "image/png", "png");
    web.answer("/fallback.png", 200, "image/png", "png");
    web.answer("/hook", 200, "application/json", "{\"error\": \"not now\"}");
    web.answer("/export", 200, "application/json", &good(web).to_string());
    let groups =
        [documents(web), effects(web), places(web), people(web), vec![storm(web), outage(web)]];
    groups.into_iter().flatten().collect()
}

#[expect(clippy::needless_pass_by_value, reason = "each scenario makes its own")]
fn base(web: &Web, name: &'static str, steps: Value, bad: Value) -> Scenario {
    Scenario {
        name,
        contract: contract(web, &good(web)),
        policy: Some(json!({
            "default": true, "steps": steps,
            "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}, "minHealthyPeriod": "2s"},
        })),
        config_map: None,
        before: None,
        fault: Fault::Document(bad),
        ends: Some("Mitigated"),
        acts_on: None,
        is_a_storm: false,
    }
}

fn untitled(web: &Web) -> Value {
    edited(&good(web), |document| drop(document.remove("title")))
}

fn restore() -> Value {
    json!([{"name": "restore", "restoreRevision": {}}])
}

/// What is published, and each step that makes a candidate.
fn documents(web: &Web) -> Vec<Scenario> {
    let (good, untitled) = (good(web), untitled(web));
    vec![
        Scenario {
            policy: None,
            ends: None,
            ..base(
                web,
                "publish",
                json!([]),
                edited(&good, |document| {
                    document.insert("title".to_owned(), json!("Edited"));
                }),
            )
        },
        base(
            web,
            "restore-part",
            json!([{"name": "restore", "restoreRevision": {}}]),
            edited(&untitled, |document| {
                document.insert("new".to_owned(), json!(true));
            }),
        ),
        base(
            web,
            "restore-whole",
            json!([{"name": "restore", "restoreRevision": {"scope": "Document"}}]),
            untitled.clone(),
        ),
        base(
            web,
            "repair",
            json!([{"name": "repair", "repairDocument": {}}]),
            edited(&good, |document| {
                document.remove("layout");
            }),
        ),
        base(
            web,
            "asset",
            json!([{"name": "asset", "replaceAsset": {}}]),
            edited(&good, |document| {
                document.insert("hero".to_owned(), json!(web.url("/gone.png")));
            }),
        ),
        base(
            web,
            "metadata",
            json!([{"name": "stamp", "regenerateMetadata": {"set": {"/locale": "en-GB"}}}]),
            edited(&good, |document| {
                document.insert("locale".to_owned(), json!("de-DE"));
            }),
        ),
        base(
            web,
            "patch",
            json!([{"name": "patch", "patch": {"ops": [{"op": "add", "path": "/title", "value": "Patched"}]}}]),
            untitled.clone(),
        ),
        base(
            web,
            "refetch",
            json!([{"name": "refetch", "refetchSource": {"scope": "Document"}}]),
            untitled.clone(),
        ),
        base(
            web,
            "wait-then-restore",
            json!([{"name": "wait", "wait": {"for": "1s"}}, {"name": "restore", "restoreRevision": {}}]),
            untitled.clone(),
        ),
        Scenario {
            ends: Some("Escalated"),
            ..base(
                web,
                "escalate",
                json!([{"name": "repair", "repairDocument": {}}]),
                untitled.clone(),
            )
        },
    ]
}

/// Steps that act on something else than the document.
fn effects(web: &Web) -> Vec<Scenario> {
    let refetch = || json!({"name": "refetch", "refetchSource": {"scope": "Document"}});
    let mut regenerate = base(web, "regenerate", json!([refetch()]), untitled(web));
    regenerate.contract["source"]["method"] = json!("POST");
    regenerate.acts_on = Some(ActsOn::Url("/export"));
    let hook = json!({"name": "tell", "retries": 1, "webhook": {"url": web.url("/hook")}});
    let mut webhook = base(web, "webhook", json!([hook, refetch()]), untitled(web));
    webhook.acts_on = Some(ActsOn::Url("/hook"));
    let mut all = vec![regenerate, webhook];
    for (name, step, acts_on) in [
        ("scale", json!({"scaleWorkload": {}}), ActsOn::Workload { pods: 0 }),
        ("restart", json!({"restartWorkload": {}}), ActsOn::Workload { pods: 1 }),
        ("delete-pods", json!({"deleteFailedPods": {}}), ActsOn::EvictedPod),
        (
            "job",
            json!({"job": {"templateConfigMapRef": {"name": "jobs", "key": "heal"}}}),
            ActsOn::Job,
        ),
    ] {
        let mut step = step;
        step["name"] = json!("act");
        let mut acts = base(web, name, json!([step, refetch()]), untitled(web));
        if !matches!(acts_on, ActsOn::Job) {
            let workload = json!({"kind": "Deployment", "name": "catalog"});
            acts.contract["source"]["workloadRef"] = workload;
        }
        acts.policy.as_mut().unwrap()["serviceAccountName"] = json!("healer");
        acts.acts_on = Some(acts_on);
        all.push(acts);
    }
    all
}

/// Other places than the served key, and other ends than a repair.
fn places(web: &Web) -> Vec<Scenario> {
    let (good, untitled) = (good(web), untitled(web));
    let mut all = Vec::new();
    all.push(Scenario {
        policy: None,
        fault: Fault::Served,
        ends: Some("Resolved"),
        ..base(web, "drift", json!([]), json!({}))
    });
    let mut inline = base(web, "write-back-inline", restore(), untitled.clone());
    inline.contract["healing"] = json!({"writeBack": "Document"});
    inline.ends = Some("Resolved");
    all.push(inline);
    let mut config_map = base(web, "write-back-config-map", restore(), json!({}));
    config_map.contract["healing"] = json!({"writeBack": "Document"});
    config_map.contract["document"] =
        json!({"configMapKeyRef": {"name": "contracts", "key": "uk.json"}});
    config_map.config_map = Some(good.clone());
    config_map.fault = Fault::ConfigMap(untitled.clone());
    config_map.ends = Some("Resolved");
    all.push(config_map);
    let mut mended = base(web, "mended-by-its-owner", restore(), good.clone());
    mended.before = Some(Fault::Document(untitled.clone()));
    mended.ends = Some("Resolved");
    all.push(mended);
    let mut superseded = base(
        web,
        "superseded",
        restore(),
        edited(&good, |document| {
            document.insert("layout".to_owned(), json!("pile"));
        }),
    );
    superseded.before = Some(Fault::Document(untitled.clone()));
    all.push(superseded);
    all
}

/// One contract in trouble is too many: that is said in an Incident about its policy.
fn storm(web: &Web) -> Scenario {
    let mut storm = base(web, "storm", restore(), untitled(web));
    storm.policy.as_mut().unwrap()["storm"] = json!({"maxUnhealthy": 0, "minContracts": 1});
    Scenario { ends: Some("Held"), is_a_storm: true, ..storm }
}

/// Nobody answers where the image shall be: that is said in an Incident about the host, and nothing is done.
fn outage(web: &Web) -> Scenario {
    let document = edited(&good(web), |document| {
        document.insert("hero".to_owned(), json!("http://127.0.0.9:1/hero.png"));
    });
    let mut outage = base(web, "outage", restore(), document);
    outage.policy.as_mut().unwrap()["escalation"] = json!({"unknownAfter": "1s"});
    Scenario { ends: Some("Escalated"), ..outage }
}

/// What people decide.
fn people(web: &Web) -> Vec<Scenario> {
    let (good, untitled) = (good(web), untitled(web));
    let mut all = Vec::new();
    let half_good = edited(&untitled, |document| {
        document.insert("new".to_owned(), json!(true));
    });
    let asked = || {
        let mut asked = base(web, "approve-asked", restore(), half_good.clone());
        asked.contract["healing"] = json!({"mode": "Approve"});
        asked
    };
    all.push(Scenario { ends: Some("Held"), ..asked() });
    let before = Some(Fault::Document(half_good.clone()));
    all.push(Scenario { name: "approve-given", before, fault: Fault::Approve, ..asked() });
    // What is fetched after the act is what is served already, so nobody is asked about it.
    let steps = json!([
        {"name": "act", "restartWorkload": {}},
        {"name": "refetch", "refetchSource": {"scope": "Document"}},
    ]);
    let mut effect = base(web, "approve-effect", steps, json!({}));
    effect.contract["healing"] = json!({"mode": "Approve"});
    effect.contract["source"]["workloadRef"] = json!({"kind": "Deployment", "name": "catalog"});
    effect.policy.as_mut().unwrap()["serviceAccountName"] = json!("healer");
    effect.acts_on = Some(ActsOn::Workload { pods: 1 });
    effect.before = Some(Fault::Document(untitled.clone()));
    all.push(Scenario { fault: Fault::Approve, ..effect });
    let new = edited(&good, |document| {
        document.remove("title");
        document.insert("new".to_owned(), json!(true));
    });
    let mut undo = base(web, "undo", restore(), json!({}));
    undo.before = Some(Fault::Document(new));
    undo.fault = Fault::Undo;
    // No other candidate is left.
    undo.ends = Some("Escalated");
    all.push(undo);
    all
}

fn good(web: &Web) -> Value {
    json!({"title": "Shops", "layout": "grid", "locale": "en-GB", "hero": web.url("/ok.png")})
}

fn edited(document: &Value, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Value {
    let mut document = document.clone();
    edit(document.as_object_mut().unwrap());
    document
}

fn contract(web: &Web, document: &Value) -> Value {
    json!({
        "widget": "storefinder",
        "interval": "1h",
        "document": {"inline": document},
        "schema": {"inline": {
            "required": ["title", "layout"],
            "properties": {
                "title": {"type": "string"},
                "layout": {"enum": ["grid", "list"], "default": "grid"},
            },
        }},
        "rules": [
            {"name": "images", "asset": {"paths": ["$.hero"]}},
            {"name": "envelope", "metadata": {"expected": {"/locale": "en-GB"}}},
        ],
        "fallbackAssets": [{"url": web.url("/fallback.png")}],
        "source": {"url": web.url("/export")},
    })
}

impl Scenario {
    /// A contract that is served, and what has gone wrong before.
    pub async fn prepare(&self, namespace: &Namespace) {
        if let Some(document) = &self.config_map {
            namespace.config_map("contracts", &[("uk.json", &document.to_string())]).await;
        }
        match self.acts_on {
            None | Some(ActsOn::Url(_)) => {}
            Some(ActsOn::Workload { pods }) => {
                may_patch(namespace, "healer", "deployments", "catalog").await;
                deploy(namespace, pods).await;
            }
            Some(ActsOn::Job) => {
                let right =
                    json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]});
                may(namespace, "healer", &right).await;
                namespace.config_map("jobs", &[("heal", &job_template().to_string())]).await;
            }
            Some(ActsOn::EvictedPod) => {
                let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]});
                may(namespace, "healer", &rule).await;
                deploy(namespace, 1).await;
                evict(namespace, &pods(namespace, "catalog").await[0]).await;
                is_deployed(namespace, 1).await;
            }
        }
        if let Some(policy) = &self.policy {
            namespace.apply(&object("RemediationPolicy", "heal", policy)).await;
        }
        namespace.apply(&object("WidgetContract", "uk", &self.contract)).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
        if let Some(fault) = &self.before {
            fault.strike(namespace).await;
            let has_incident = |contract: Option<&WidgetContract>| {
                contract.and_then(|c| c.status.as_ref()?.incident_ref.as_ref()).is_some()
            };
            let contract = namespace.contract_when("uk", "an Incident", has_incident).await;
            let name = contract.status.unwrap().incident_ref.unwrap().name;
            let waits = if matches!(self.fault, Fault::Approve) { "Held" } else { "Mitigated" };
            let waiting = move |incident: Option<&Incident>| {
                let state = incident.and_then(|i| i.status.as_ref()?.state);
                state.is_some_and(|state| state.to_string() == waits)
            };
            namespace.when(&name, waits, waiting).await;
        }
    }

    pub async fn begin(&self, namespace: &Namespace) {
        self.fault.strike(namespace).await;
    }

    pub fn is_over(&self, now: &Snapshot) -> bool {
        match self.ends {
            None => {
                now.contract["status"]["document"]["assigned"]["digest"]
                    == now.contract["status"]["document"]["served"]["digest"]
                    && now.contract["spec"]["document"]["inline"]["title"] == "Edited"
                    && now.contract["status"]["document"]["revisions"]
                        .as_array()
                        .is_some_and(|list| list.len() == 2)
            }
            Some(state) => {
                let is = |incident: &Value, state| incident["status"]["state"] == state;
                let is_called = || now.incidents.iter().any(|incident| is(incident, "Escalated"));
                let has_acted =
                    |incident: &Value| !incident["status"]["effects"][0]["outcome"].is_null();
                let is_approved = || matches!(self.fault, Fault::Approve);
                let must_act = is_approved() && self.acts_on.is_some();
                now.incidents.last().is_some_and(|incident| {
                    is(incident, state) && (!must_act || has_acted(incident))
                }) && (!self.is_a_storm || is_called())
                    && (self.before.is_none()
                        || matches!(self.fault, Fault::Undo)
                        || self.ends == Some("Resolved")
                        || is_approved()
                        || now.incidents.len() == 2)
            }
        }
    }

    /// Does it wait for what others do? Then it can come to the same end in fewer writes.
    pub fn waits_for_others(&self) -> bool {
        matches!(self.acts_on, Some(ActsOn::Workload { .. } | ActsOn::EvictedPod | ActsOn::Job))
    }

    /// How far the source's workload is, which may be what a run still waits for.
    pub async fn workload(&self, namespace: &Namespace) -> String {
        if !matches!(self.acts_on, Some(ActsOn::Workload { .. } | ActsOn::EvictedPod)) {
            return String::new();
        }
        let deployment = namespace.api::<Deployment>().get("catalog").await.unwrap();
        let generation = deployment.metadata.generation;
        format!("Deployment catalog, generation {generation:?}: {:?}\n", deployment.status)
    }

    /// The effects on something else: changes of the source's workload, one for each of its
    /// generations, and requests to the source, by their key.
    pub async fn effects(
        &self,
        cluster: &Cluster,
        namespace: &Namespace,
        web: &Web,
    ) -> Vec<String> {
        match self.acts_on {
            None => Vec::new(),
            Some(ActsOn::Url(path)) => posted(namespace, web, path).await,
            Some(ActsOn::Workload { .. }) => {
                let deployment = namespace.api::<Deployment>().get("catalog").await.unwrap();
                let last = deployment.metadata.generation.unwrap();
                (2..=last).map(|generation| format!("generation {generation}")).collect()
            }
            Some(ActsOn::EvictedPod) => requests(cluster, namespace, "delete pods").await,
            Some(ActsOn::Job) => requests(cluster, namespace, "create jobs").await,
        }
    }
}

/// A Deployment `catalog` whose pods are available.
async fn deploy(namespace: &Namespace, pods: u32) {
    namespace.apply(&workload("Deployment", "catalog", pods, "")).await;
    is_deployed(namespace, pods).await;
}

async fn is_deployed(namespace: &Namespace, pods: u32) {
    let pods = i32::try_from(pods).unwrap();
    let is_up = move |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| {
            status.observed_generation.is_some() && status.available_replicas.unwrap_or(0) == pods
        })
    };
    namespace.when::<Deployment>("catalog", "as it shall be", is_up).await;
}

/// What the operator has asked the API server for that begins so.
async fn requests(cluster: &Cluster, namespace: &Namespace, what: &str) -> Vec<String> {
    let requests = cluster.requests(namespace).await.into_iter();
    requests.filter(|request| request.starts_with(what)).collect()
}

/// The keys of the requests that `path` was sent for the Incidents of the namespace.
async fn posted(namespace: &Namespace, web: &Web, path: &str) -> Vec<String> {
    let incidents = namespace.api::<Incident>().list(&ListParams::default()).await.unwrap();
    let names: Vec<String> = incidents.items.iter().map(ResourceExt::name_any).collect();
    let asked = web.asked(path).into_iter().filter(|asked| asked.method == "POST");
    let mut keys: Vec<String> = asked
        .filter_map(|asked| asked.headers.get("idempotency-key").cloned())
        .filter(|key| names.iter().any(|name| key.starts_with(name.as_str())))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

impl Fault {
    async fn strike(&self, namespace: &Namespace) {
        match self {
            Self::Document(document) => {
                let contracts = namespace.contracts();
                let patch =
                    json!([{"op": "replace", "path": "/spec/document/inline", "value": document}]);
                let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
                contracts.patch("uk", &PatchParams::default(), &patch).await.unwrap();
            }
            Self::ConfigMap(document) => {
                namespace.config_map("contracts", &[("uk.json", &document.to_string())]).await;
            }
            Self::Approve => {
                let incidents = namespace.api::<Incident>();
                let open = incidents.list(&ListParams::default()).await.unwrap().items.remove(0);
                let plan = open.status.as_ref().unwrap().plan_digest.clone().unwrap();
                let patch = json!({"spec": {"approval": {
                    "planDigest": plan, "decision": "Approve", "by": "admin",
                }}});
                let params = PatchParams::default();
                incidents.patch(&open.name_any(), &params, &Patch::Merge(&patch)).await.unwrap();
            }
            Self::Undo => {
                let incidents = namespace.api::<Incident>();
                let all = incidents.list(&ListParams::default()).await.unwrap();
                let patch = Patch::Merge(json!({"spec": {"undo": {"never": "Candidate"}}}));
                let params = PatchParams::default();
                incidents.patch(&all.items[0].name_any(), &params, &patch).await.unwrap();
            }
            Self::Served => {
                let patch = json!({"data": {"contract.json": "{}"}});
                let params = PatchParams::apply("vandal");
                let params = PatchParams { force: false, ..params };
                let served = namespace.api::<ConfigMap>();
                served.patch("uk-served", &params, &Patch::Merge(&patch)).await.unwrap();
            }
        }
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}
