//! The demo: a CDN and a source as real HTTP servers, the operator as a real process, and widget
//! contracts that break. Prints each transition as it happens; succeeds only when three were healed and
//! one was escalated, a source that was scaled to zero was scaled up and asked, and a storm was held.

#![allow(clippy::print_stdout, reason = "a demo talks to a person")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::TryStreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Namespace, ServiceAccount},
    events::v1::Event,
    rbac::v1::{Role, RoleBinding},
};
use kintsugi::api::{Incident, RemediationPolicy, WidgetClass, WidgetContract};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, wait::await_condition, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, time::timeout};

const NAMESPACE: &str = "kintsugi-demo";
/// Longest wait for one transition.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pictures that the CDN has lost.
type Lost = Arc<Mutex<BTreeSet<String>>>;

struct Demo {
    client: Client,
    cdn: String,
    lost: Lost,
    /// The transitions that were printed: contract and reason.
    told: watch::Sender<BTreeSet<(String, String)>>,
    started: Instant,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lost = Lost::default();
    let client = Client::try_from(kube::Config::infer().await?)?;
    let demo = Demo {
        cdn: web(client.clone(), &lost).await?,
        client,
        lost,
        told: watch::Sender::default(),
        started: Instant::now(),
    };
    demo.fresh_namespace().await?;
    let dashboard = free_address()?;
    let mut operator = start_operator(dashboard)?;
    let outcome = demo.play().await;
    if let Err(error) = &outcome {
        println!("\nThe demo failed: {error:#}");
    }
    Demo::show()?;
    if env::var_os("HOLD").is_some() {
        println!(
            "\nIt keeps running: KUBECONFIG={} ; Ctrl-C ends it.\nThe dashboard is http://{dashboard}/ \
             ; log in for an hour with the token\n\n{}\n",
            env::var("KUBECONFIG").unwrap_or_default(),
            demo.token().await?
        );
        tokio::signal::ctrl_c().await?;
    }
    stop(&mut operator)?;
    outcome
}

impl Demo {
    async fn play(&self) -> anyhow::Result<()> {
        let say = self.say_events();
        let acts = async {
            self.apply_all::<WidgetClass>(include_str!("examples/class.yaml")).await?;
            self.apply_all::<RemediationPolicy>(include_str!("examples/policies.yaml")).await?;
            let contracts = include_str!("examples/contracts.yaml");
            let contracts: Vec<Value> = self.manifests(contracts)?;
            let named = |name: &str| {
                let found = contracts.iter().find(|manifest| manifest["metadata"]["name"] == name);
                found.cloned().with_context(|| format!("examples/contracts.yaml has no {name}"))
            };
            for name in ["uk", "de", "gb"] {
                self.apply::<WidgetContract>(&named(name)?).await?;
            }
            for name in ["uk", "de", "gb"] {
                self.contract_ready(name).await?;
            }
            self.heading("three contracts are valid and served");

            self.heading("act 1: an edit of uk loses a required field, and has a good part");
            let mut uk = named("uk")?;
            remove(&mut uk["spec"]["document"]["inline"], "layout");
            uk["spec"]["document"]["inline"]["title"] = json!("Shops near you");
            self.apply::<WidgetContract>(&uk).await?;
            self.healed("uk", |document| {
                document["layout"] == "grid" && document["title"] == "Shops near you"
            })
            .await?;

            self.heading("act 2: the CDN loses the picture of de");
            self.lost
                .lock()
                .map_err(|_| anyhow::anyhow!("the CDN broke"))?
                .insert("hero-de.png".to_owned());
            self.healed("de", |document| {
                document["hero"].as_str().is_some_and(|hero| hero.ends_with("/placeholder.png"))
            })
            .await?;

            self.heading("act 3: an edit of gb has the wrong locale and no version");
            let mut gb = named("gb")?;
            gb["spec"]["document"]["inline"]["locale"] = json!("fr-FR");
            remove(&mut gb["spec"]["document"]["inline"], "version");
            self.apply::<WidgetContract>(&gb).await?;
            self.healed("gb", |document| {
                document["locale"] == "en-GB" && document["version"].is_string()
            })
            .await?;

            self.heading("act 4: fr has never had a title, and its source is down");
            self.apply::<WidgetContract>(&named("fr")?).await?;
            self.incident_is("fr", "Escalated").await?;
            self.has_told("fr", "Escalated").await?;
            self.heading("three healed, one escalated");

            self.scaled_to_zero(named("it")?).await?;
            self.storm().await?;
            self.heading(
                "the source was scaled up and asked again; the storm was held, and is over",
            );
            Ok(())
        };
        tokio::select! {
            outcome = acts => outcome,
            said = say => said,
        }
    }

    async fn scaled_to_zero(&self, mut it: Value) -> anyhow::Result<()> {
        let [account, role, binding, deployment] =
            &self.manifests(include_str!("examples/source.yaml"))?[..]
        else {
            bail!("examples/source.yaml has not four parts");
        };
        self.apply::<ServiceAccount>(account).await?;
        self.apply::<Role>(role).await?;
        self.apply::<RoleBinding>(binding).await?;
        self.apply::<Deployment>(deployment).await?;
        self.catalog_has(1).await?;
        self.apply::<WidgetContract>(&it).await?;
        self.contract_ready("it").await?;

        self.heading("act 5: the source of it is scaled to zero, and an edit loses its title");
        let mut none = deployment.clone();
        none["spec"]["replicas"] = json!(0);
        self.apply::<Deployment>(&none).await?;
        self.catalog_has(0).await?;
        remove(&mut it["spec"]["document"]["inline"], "title");
        self.apply::<WidgetContract>(&it).await?;
        self.healed("it", |document| document["title"] == "Negozi, from the source").await
    }

    /// Waits until so many pods of the source's Deployment are available.
    async fn catalog_has(&self, pods: i32) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let reached = move |deployment: Option<&Deployment>| {
            let status = deployment.and_then(|deployment| deployment.status.as_ref());
            status.is_some_and(|status| status.available_replicas.unwrap_or(0) == pods)
        };
        let waiting = timeout(PATIENCE, await_condition(deployments, "catalog", reached));
        waiting.await.with_context(|| format!("catalog does not come to {pods} pods"))??;
        Ok(())
    }

    async fn storm(&self) -> anyhow::Result<()> {
        let names = ["menu-1", "menu-2", "menu-3", "menu-4", "menu-5"];
        self.apply_all::<WidgetClass>(include_str!("examples/menus.yaml")).await?;
        let publish = async |title: &Value| {
            let document = |name: &&str| (name.to_string(), json!({"title": title}).to_string());
            let data: BTreeMap<String, String> = names.iter().map(document).collect();
            let manifest = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "menus"}, "data": data,
            });
            self.apply::<ConfigMap>(&manifest).await
        };
        publish(&json!("Lunch")).await?;
        for name in names {
            let manifest = json!({
                "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
                "metadata": {"name": name},
                "spec": {
                    "widget": "menu", "classRef": {"name": "menu"},
                    "document": {"configMapKeyRef": {"name": "menus", "key": name}},
                },
            });
            self.apply::<WidgetContract>(&manifest).await?;
        }
        for name in names {
            self.contract_ready(name).await?;
        }

        self.heading("act 6: the job that publishes all five menus breaks all of them at once");
        publish(&json!(7)).await?;
        self.policy_incident_is("menus", "Escalated").await?;
        for name in names {
            let document = self.served(name).await?;
            ensure!(document == json!({"title": "Lunch"}), "{name} serves {document}");
        }
        self.heading("repairs are held, one person is called, and the menus serve what was good");
        publish(&json!("Dinner")).await?;
        self.policy_incident_is("menus", "Resolved").await?;
        for name in names {
            self.contract_ready(name).await?;
        }
        Ok(())
    }

    /// Waits for the Incident about what the contracts of a policy have in common.
    async fn policy_incident_is(&self, policy: &str, state: &str) -> anyhow::Result<()> {
        let subject = format!("policy/{policy}");
        let incidents: Api<Incident> = Api::namespaced(self.client.clone(), NAMESPACE);
        let stream = watcher::watcher(incidents, watcher::Config::default());
        let mut stream = std::pin::pin!(stream.default_backoff().applied_objects());
        let reached = async {
            while let Some(incident) = stream.try_next().await? {
                let is = incident.status.and_then(|status| status.state);
                if incident.spec.subject == subject && is.is_some_and(|is| is.to_string() == state)
                {
                    return Ok(());
                }
            }
            bail!("the watch of Incidents ended")
        };
        let waited = timeout(PATIENCE, reached).await;
        waited.with_context(|| format!("no Incident about {subject} becomes {state}"))?
    }

    async fn served(&self, contract: &str) -> anyhow::Result<Value> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let served = config_maps.get(&format!("{contract}-served")).await?;
        let text = served.data.unwrap_or_default().remove("contract.json").unwrap_or_default();
        Ok(serde_json::from_str(&text)?)
    }

    fn heading(&self, text: &str) {
        println!("\n{:>8.3}s  == {text}", self.started.elapsed().as_secs_f64());
    }

    /// Prints each Event as it arrives.
    async fn say_events(&self) -> anyhow::Result<()> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut stream = std::pin::pin!(
            watcher::watcher(events, watcher::Config::default())
                .default_backoff()
                .applied_objects()
        );
        while let Some(event) = stream.try_next().await? {
            let subject = event.regarding.and_then(|object| object.name).unwrap_or_default();
            let reason = event.reason.unwrap_or_default();
            println!(
                "{:>8.3}s  {subject:4} {reason:20} {}",
                self.started.elapsed().as_secs_f64(),
                event.note.unwrap_or_default(),
            );
            self.told.send_if_modified(|told| told.insert((subject, reason)));
        }
        bail!("the watch of Events ended")
    }

    /// Waits until the transition was printed.
    async fn has_told(&self, contract: &str, reason: &str) -> anyhow::Result<()> {
        let transition = (contract.to_owned(), reason.to_owned());
        let mut told = self.told.subscribe();
        let waiting = told.wait_for(|told| told.contains(&transition));
        let waited = timeout(PATIENCE, waiting).await;
        waited.with_context(|| format!("no Event says {reason} of {contract}"))??;
        Ok(())
    }

    async fn fresh_namespace(&self) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        if let Some(old) = namespaces.get_opt(NAMESPACE).await? {
            println!("deleting the namespace of an earlier demo");
            let uid = old.uid().unwrap_or_default();
            namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
            let gone = await_condition(
                namespaces.clone(),
                NAMESPACE,
                kube::runtime::wait::conditions::is_deleted(&uid),
            );
            timeout(PATIENCE, gone).await.context("the old namespace does not go")??;
        }
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(NAMESPACE.to_owned());
        namespaces.create(&kube::api::PostParams::default(), &namespace).await?;
        Ok(())
    }

    fn manifests(&self, yaml: &str) -> anyhow::Result<Vec<Value>> {
        let filled = yaml.replace("${CDN}", &self.cdn).replace("${SOURCE}", &self.cdn);
        filled.split("\n---\n").map(|part| Ok(serde_saphyr::from_str(part)?)).collect()
    }

    async fn apply_all<K>(&self, yaml: &str) -> anyhow::Result<()>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        for manifest in self.manifests(yaml)? {
            self.apply::<K>(&manifest).await?;
        }
        Ok(())
    }

    async fn apply<K>(&self, manifest: &Value) -> anyhow::Result<()>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        let params = PatchParams::apply("demo").force();
        api.patch(name, &params, &Patch::Apply(manifest))
            .await
            .with_context(|| format!("applying {name}"))?;
        Ok(())
    }

    async fn contract_ready(&self, name: &str) -> anyhow::Result<()> {
        let contracts: Api<WidgetContract> = Api::namespaced(self.client.clone(), NAMESPACE);
        let ready = |contract: Option<&WidgetContract>| {
            let conditions =
                contract.and_then(|c| c.status.as_ref()).map(|status| &status.conditions);
            conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let waiting = await_condition(contracts, name, ready);
        timeout(PATIENCE, waiting)
            .await
            .with_context(|| format!("{name} does not become Ready"))??;
        Ok(())
    }

    /// Waits until the Incident is mitigated and the served document is what it should be.
    async fn healed(&self, contract: &str, good: fn(&Value) -> bool) -> anyhow::Result<()> {
        self.incident_is(contract, "Mitigated").await?;
        self.has_told(contract, "Mitigated").await?;
        let document = self.served(contract).await?;
        ensure!(good(&document), "{contract} serves {document}");
        println!("{:>8.3}s  {contract:4} serves {document}", self.started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn incident_is(&self, contract: &str, state: &str) -> anyhow::Result<()> {
        let contracts: Api<WidgetContract> = Api::namespaced(self.client.clone(), NAMESPACE);
        let named = |contract: Option<&WidgetContract>| {
            contract.and_then(|c| c.status.as_ref()?.incident_ref.as_ref()).is_some()
        };
        let waiting = timeout(PATIENCE, await_condition(contracts, contract, named)).await;
        let found = waiting.with_context(|| format!("{contract} has no Incident"))??;
        let reference = found.and_then(|c| c.status).and_then(|status| status.incident_ref);
        let name = reference.context("the contract is gone")?.name;
        let incidents: Api<Incident> = Api::namespaced(self.client.clone(), NAMESPACE);
        let wanted = state.to_owned();
        let reached = move |incident: Option<&Incident>| {
            let is = incident.and_then(|incident| incident.status.as_ref()?.state);
            is.is_some_and(|is| is.to_string() == wanted)
        };
        let waiting = await_condition(incidents, &name, reached);
        timeout(PATIENCE, waiting)
            .await
            .with_context(|| format!("{name} does not become {state}"))??;
        Ok(())
    }

    /// The token of somebody who may see and do all that there is in the demo.
    async fn token(&self) -> anyhow::Result<String> {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "visitor"}});
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "visitor"}, "rules": [
            {"apiGroups": ["kintsugi.dev"], "verbs": ["get", "list", "patch", "approve"],
             "resources": ["widgetcontracts", "incidents", "remediationpolicies"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
        ]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "visitor"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "visitor"},
            "subjects": [{"kind": "ServiceAccount", "name": "visitor", "namespace": NAMESPACE}]});
        self.apply::<ServiceAccount>(&account).await?;
        self.apply::<Role>(&role).await?;
        self.apply::<RoleBinding>(&binding).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        let audiences = vec!["kintsugi".to_owned()];
        let request = TokenRequest {
            spec: TokenRequestSpec { audiences, ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let made = accounts.create_token_request("visitor", &params, &request).await?;
        Ok(made.status.context("the API server made no token")?.token)
    }

    /// What a person would look at.
    fn show() -> anyhow::Result<()> {
        let kubectl = env::var("KINTSUGI_DEMO_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
        for arguments in
            ["get widgetcontracts,incidents", "get events.events.k8s.io --sort-by=.eventTime"]
        {
            println!("\n$ kubectl --namespace {NAMESPACE} {arguments}");
            let status = Command::new(&kubectl)
                .args(["--namespace", NAMESPACE])
                .args(arguments.split(' '))
                .status()?;
            ensure!(status.success(), "kubectl {arguments} failed");
        }
        Ok(())
    }
}

fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}

/// A CDN and a source in one: pictures that can be lost, an export that is down, and one that is up
/// while a pod of the source's Deployment is available.
async fn web(client: Client, lost: &Lost) -> anyhow::Result<String> {
    async fn picture(Path(name): Path<String>, State(lost): State<Lost>) -> Response {
        let gone = lost.lock().map_or(true, |lost| lost.contains(&name));
        if gone {
            return StatusCode::NOT_FOUND.into_response();
        }
        ([("content-type", "image/png")], "a picture").into_response()
    }
    async fn export(client: Client, host: String) -> Response {
        let deployments: Api<Deployment> = Api::namespaced(client, NAMESPACE);
        let pods = deployments.get("catalog").await.ok().and_then(|catalog| catalog.status);
        if pods.and_then(|status| status.available_replicas).unwrap_or(0) == 0 {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let document = json!({
            "title": "Negozi, from the source", "layout": "grid",
            "hero": format!("http://{host}/hero-it.png"), "locale": "it-IT",
        });
        ([("content-type", "application/json")], document.to_string()).into_response()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let url = format!("http://{host}");
    let router = Router::new()
        .route("/export/it.json", get(move || export(client, host)))
        .route("/export/{name}", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/{name}", get(picture))
        .with_state(Arc::clone(lost));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// One at which nobody listens now; the usual one, if that is so.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listen = |port: u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let free = listen(8081).or_else(|_| listen(0)).context("no address is free")?;
    Ok(free.local_addr()?)
}

fn start_operator(dashboard: SocketAddr) -> anyhow::Result<Child> {
    let path = env::var("KINTSUGI_DEMO_OPERATOR").context("run `make demo`")?;
    let log = PathBuf::from(".run/demo-operator.log");
    std::fs::create_dir_all(".run")?;
    println!("the operator's log is {}", log.display());
    let file = std::fs::File::create(log)?;
    Command::new(path)
        .args(["run", "--listen=127.0.0.1:0", "--log-format=text", "--allow-http"])
        .args(["--allow-cidrs=127.0.0.0/8", "--lease-name=kintsugi"])
        .arg(format!(
            "--lease-namespace={}",
            env::var("KINTSUGI_DEMO_LEASE_NAMESPACE").context("run `make demo`")?
        ))
        .arg(format!("--namespaces={NAMESPACE}"))
        .arg(format!("--dashboard-listen={dashboard}"))
        .env(
            "KUBECONFIG",
            env::var("KINTSUGI_DEMO_OPERATOR_KUBECONFIG").context("run `make demo`")?,
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .context("starting the operator")
}

/// Asks it to end, as Kubernetes would, and waits.
fn stop(operator: &mut Child) -> anyhow::Result<()> {
    Command::new("kill").arg(operator.id().to_string()).status()?;
    operator.wait()?;
    Ok(())
}
