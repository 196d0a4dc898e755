//! What the tests on a real control plane share: the cluster, a namespace for each test, the
//! operator as the process that users run, and waiting on watches.
//!
//! `make test` starts the control plane, installs the CRDs and the chart, and says where they are.

pub mod browser;
pub mod desk;
pub mod npm;
pub mod people;
pub mod web;
pub mod workload;

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace as NamespaceObject},
    rbac::v1::{Role, RoleBinding},
};
use kintsugi::api::WidgetContract;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
    runtime::{
        WatchStreamExt as _,
        wait::{Condition, await_condition},
        watcher,
    },
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Longest wait for anything: only ever reached by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A running control plane.
pub struct Cluster {
    state: PathBuf,
    /// Is it to be stopped in the end?
    own: bool,
}

impl Cluster {
    pub fn running() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let state = std::env::var_os("KINTSUGI_TEST_STATE")
            .expect("no control plane: run `make test`, which starts one and stops it");
        Self { state: state.into(), own: false }
    }

    /// One of the test's own, with the chart installed as it is by default: for an operator that
    /// works in all namespaces, which would work in those of other tests, too.
    pub fn alone(name: &str) -> Self {
        let cluster = Self { state: Self::running().state.join(name), own: true };
        for script in ["up.sh", "install.sh"] {
            let done = Command::new(format!("tests/controlplane/{script}"))
                .arg(&cluster.state)
                .env("CORE", "1")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        }
        cluster
    }

    /// What the operator has asked the API server for in a namespace, from the audit log, without
    /// its watches and its Lease: `<verb> <resource>[/<subresource>] <name>`. A request is in the log
    /// before its effect can be seen, and has its name once it is answered, which is waited for.
    pub async fn requests(&self, namespace: &Namespace) -> Vec<String> {
        let answered = async {
            loop {
                if let Some(requests) = self.answered(namespace) {
                    return requests;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, answered).await.expect("each request has its answer")
    }

    /// They, if each is answered.
    fn answered(&self, namespace: &Namespace) -> Option<Vec<String>> {
        let entries = self.audited(namespace);
        let is_answer = |entry: &&Value| entry["stage"] != "RequestReceived";
        let answers: HashMap<&str, &Value> = entries
            .iter()
            .filter(is_answer)
            .filter_map(|entry| Some((entry["auditID"].as_str()?, entry)))
            .collect();
        let received = entries.iter().filter(|entry| !is_answer(entry));
        received
            .map(|entry| answers.get(entry["auditID"].as_str()?).copied().map(request))
            .collect()
    }

    /// What the audit log has of them.
    fn audited(&self, namespace: &Namespace) -> Vec<Value> {
        let log = std::fs::read_to_string(self.state.join("audit.log")).unwrap();
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|entry| {
                entry["user"]["username"] == "system:serviceaccount:kintsugi-system:kintsugi"
            })
            .filter(|entry| entry["objectRef"]["namespace"] == namespace.name)
            .filter(|entry| entry["objectRef"]["resource"] != "leases" && entry["verb"] != "watch")
            .collect()
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// The certificate with its authority's, and the key, by which the API server is known.
    pub fn server_certificate(&self) -> (PathBuf, PathBuf) {
        (self.state.join("certs/apiserver.crt"), self.signing_key())
    }

    /// The certificate of that authority.
    pub fn authority(&self) -> PathBuf {
        self.state.join("ca.crt")
    }

    /// The address that it is for.
    pub fn server_address(&self) -> String {
        let kubeconfig = Kubeconfig::read_from(self.admin_kubeconfig()).unwrap();
        let server = kubeconfig.clusters[0].cluster.as_ref().unwrap().server.clone().unwrap();
        url::Url::parse(&server).unwrap().host_str().unwrap().to_owned()
    }

    /// The key that signs the tokens of service accounts, in PEM.
    pub fn signing_key(&self) -> PathBuf {
        self.state.join("certs/apiserver.key")
    }

    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.state.join("operator.kubeconfig")
    }

    pub async fn admin(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.admin_kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        Client::try_from(config).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.own {
            let _ = Command::new("tests/controlplane/down.sh").arg(&self.state).status();
        }
    }
}

/// A fresh namespace in which one test works.
pub struct Namespace {
    pub name: String,
    pub client: Client,
}

impl Namespace {
    /// Creates a namespace whose name starts with `prefix`, and lets the operator keep its Lease
    /// there: each test's operator elects itself.
    pub async fn new(cluster: &Cluster, prefix: &str) -> Self {
        let client = cluster.admin().await;
        let namespaces: Api<NamespaceObject> = Api::all(client.clone());
        let mut object = NamespaceObject::default();
        object.metadata.generate_name = Some(format!("{prefix}-"));
        let created = namespaces.create(&PostParams::default(), &object).await.unwrap();
        let namespace = Self { name: created.name_any(), client };
        namespace.grant_lease().await;
        namespace
    }

    async fn grant_lease(&self) {
        let role: Role = serde_json::from_value(json!({
            "metadata": {"name": "lease"},
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                       "verbs": ["get", "create", "update"]}],
        }))
        .unwrap();
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": "lease"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lease"},
            "subjects": [{"kind": "ServiceAccount", "name": "kintsugi",
                          "namespace": "kintsugi-system"}],
        }))
        .unwrap();
        let params = PostParams::default();
        self.api::<Role>().create(&params, &role).await.unwrap();
        self.api::<RoleBinding>().create(&params, &binding).await.unwrap();
    }

    /// Sets a label of the namespace, or takes it away.
    pub async fn label(&self, name: &str, value: Option<&str>) {
        let namespaces: Api<NamespaceObject> = Api::all(self.client.clone());
        let patch = json!({"metadata": {"labels": {name: value}}});
        let params = PatchParams::default();
        namespaces.patch(&self.name, &params, &Patch::Merge(&patch)).await.unwrap();
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub fn contracts(&self) -> Api<WidgetContract> {
        self.api()
    }

    /// Applies a manifest as `kubectl apply --server-side` would, as manager `test`.
    pub async fn try_apply(&self, yaml: &str) -> Result<DynamicObject, kube::Error> {
        self.try_apply_as("test", yaml).await
    }

    pub async fn try_apply_as(
        &self,
        manager: &str,
        yaml: &str,
    ) -> Result<DynamicObject, kube::Error> {
        let manifest: Value = serde_saphyr::from_str(yaml).expect("the test's YAML");
        let (group, version) = match manifest["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", manifest["apiVersion"].as_str().unwrap()),
        };
        let kind = GroupVersionKind::gvk(group, version, manifest["kind"].as_str().unwrap());
        let resource = match kind.kind.as_str() {
            "WidgetClass" => ApiResource::from_gvk_with_plural(&kind, "widgetclasses"),
            "RemediationPolicy" => ApiResource::from_gvk_with_plural(&kind, "remediationpolicies"),
            _ => ApiResource::from_gvk(&kind),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.name, &resource);
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let params = PatchParams::apply(manager).force();
        api.patch(name, &params, &Patch::Apply(&manifest)).await
    }

    pub async fn apply(&self, yaml: &str) -> DynamicObject {
        self.try_apply(yaml).await.unwrap_or_else(|error| panic!("{error}\n{yaml}"))
    }

    /// Why the API server refuses the manifest.
    pub async fn refusal(&self, yaml: &str) -> String {
        match self.try_apply(yaml).await {
            Ok(_) => panic!("admitted, and should not be:\n{yaml}"),
            Err(kube::Error::Api(status)) => status.message.clone(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the contract satisfies `condition`, watching it.
    pub async fn contract_when(
        &self,
        name: &str,
        what: &str,
        condition: impl Condition<WidgetContract>,
    ) -> WidgetContract {
        self.when(name, what, condition).await
    }

    /// Waits until any object of a kind is as `is` has it, watching them.
    pub async fn any<K>(&self, what: &str, is: impl Fn(&K) -> bool)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Send
            + serde::de::DeserializeOwned
            + 'static,
    {
        let all = watcher(self.api::<K>(), watcher::Config::default()).applied_objects();
        let found = all.any(async |object| object.is_ok_and(|object| is(&object)));
        assert!(timeout(PATIENCE, found).await.expect(what), "{what}");
    }

    /// Waits until the object satisfies `condition`, watching it.
    pub async fn when<K>(&self, name: &str, what: &str, condition: impl Condition<K>) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Send
            + serde::de::DeserializeOwned
            + serde::Serialize
            + 'static,
    {
        let waiting = await_condition(self.api::<K>(), name, condition);
        match timeout(PATIENCE, waiting).await {
            Ok(Ok(Some(object))) => object,
            Ok(Ok(None)) => panic!("{name} is gone while waiting for: {what}"),
            Ok(Err(error)) => panic!("watching {name}: {error}"),
            Err(_) => {
                let now = self.api::<K>().get_opt(name).await.unwrap();
                let now = now.map(|object| serde_saphyr::to_string(&object).unwrap());
                panic!("{name} did not come to: {what}\n{}", now.unwrap_or_default())
            }
        }
    }

    /// Waits until there is no object of that name.
    pub async fn gone<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Send
            + serde::de::DeserializeOwned
            + 'static,
    {
        let waiting = await_condition(self.api::<K>(), name, |object: Option<&K>| object.is_none());
        timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{name} is still there"))
            .unwrap();
    }

    /// The text in a key of a ConfigMap; None when either is not there.
    pub async fn config_map_key(&self, name: &str, key: &str) -> Option<String> {
        let object = self.api::<ConfigMap>().get_opt(name).await.unwrap()?;
        object.data.and_then(|mut data| data.remove(key))
    }

    /// Waits until the served key of a contract's own ConfigMap holds a document that satisfies
    /// `condition`, and returns it.
    pub async fn served_when(&self, contract: &str, condition: fn(&Value) -> bool) -> Value {
        let name = format!("{contract}-served");
        let holds = move |object: Option<&ConfigMap>| {
            served_value(object).is_some_and(|value| condition(&value))
        };
        let object = self.when::<ConfigMap>(&name, "serves the document", holds).await;
        served_value(Some(&object)).unwrap()
    }

    /// A ConfigMap with these keys.
    pub async fn config_map(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        let manifest = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data,
        });
        self.apply(&manifest.to_string()).await;
    }
}

/// `<verb> <resource>[/<subresource>] <name>` of an entry of the audit log.
fn request(entry: &Value) -> String {
    let text = |part: &Value| part.as_str().unwrap_or_default().to_owned();
    let object = &entry["objectRef"];
    let sub = text(&object["subresource"]);
    let slash = if sub.is_empty() { "" } else { "/" };
    let (verb, resource) = (text(&entry["verb"]), text(&object["resource"]));
    format!("{verb} {resource}{slash}{sub} {}", text(&object["name"]))
}

fn served_value(object: Option<&ConfigMap>) -> Option<Value> {
    let text = object?.data.as_ref()?.get("contract.json")?;
    serde_json::from_str(text).ok()
}

/// The status of a condition: `True`, `False`, `Unknown`, or empty when it is not there.
pub fn condition<'a>(contract: &'a WidgetContract, type_: &str) -> (&'a str, &'a str, &'a str) {
    contract
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .find(|condition| condition.type_ == type_)
        .map_or(("", "", ""), |c| (c.status.as_str(), c.reason.as_str(), c.message.as_str()))
}

/// Satisfied when the condition has that status and reason, for the contract's current generation.
pub fn has(
    type_: &'static str,
    status: &'static str,
    reason: &'static str,
) -> impl Condition<WidgetContract> {
    move |contract: Option<&WidgetContract>| {
        contract.is_some_and(|contract| {
            let (is, why, _) = condition(contract, type_);
            let current = contract.status.as_ref().and_then(|s| s.observed_generation);
            is == status && why == reason && current == contract.metadata.generation
        })
    }
}

/// The operator, as users run it, with the rights that the chart gives.
pub struct Operator {
    child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Operator {
    /// Starts it for one namespace; `args` come on top.
    pub fn start(cluster: &Cluster, namespace: &Namespace, args: &[&str]) -> Self {
        Self::start_as(cluster, namespace, "operator", args)
    }

    /// Starts a replica called `identity`.
    pub fn start_as(
        cluster: &Cluster,
        namespace: &Namespace,
        identity: &str,
        args: &[&str],
    ) -> Self {
        Self::start_with(&cluster.operator_kubeconfig(), namespace, identity, args)
    }

    /// Starts a replica called `identity` with the rights of whoever the kubeconfig is for.
    pub fn start_with(
        kubeconfig: &Path,
        namespace: &Namespace,
        identity: &str,
        args: &[&str],
    ) -> Self {
        Self::start_in(kubeconfig, namespace, identity, args, &[])
    }

    /// The same with these files in its environment.
    pub fn start_in(
        kubeconfig: &Path,
        namespace: &Namespace,
        identity: &str,
        args: &[&str],
        files: &[(&str, PathBuf)],
    ) -> Self {
        let mut all = vec![
            "run".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            "--log-format=json".to_owned(),
            "--log=debug,kube=info,hyper=info".to_owned(),
            // Of a binary that is not optimized, beside other tests.
            "--validation-timeout=60s".to_owned(),
            format!("--namespaces={}", namespace.name),
            format!("--lease-namespace={}", namespace.name),
            format!("--identity={identity}"),
        ];
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        Self::run_in(kubeconfig, &all, files)
    }

    /// Runs it with exactly these arguments.
    pub fn run(kubeconfig: &Path, args: &[String]) -> Self {
        Self::run_in(kubeconfig, args, &[])
    }

    fn run_in(kubeconfig: &Path, args: &[String], files: &[(&str, PathBuf)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kintsugi"))
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .envs(files.iter().map(|(name, path)| (*name, path)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let sink = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.0.lock().unwrap().push(line);
                sink.1.notify_all();
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        self.log.0.lock().unwrap().join("\n")
    }

    /// The first line of its log that holds `text`, once there is one.
    pub fn logs(&self, text: &str) -> Value {
        let is_quiet = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(text));
        let lines = self.log.0.lock().unwrap();
        let (lines, _) = self.log.1.wait_timeout_while(lines, PATIENCE, is_quiet).unwrap();
        let line = lines.iter().find(|line| line.contains(text)).expect(text);
        serde_json::from_str(line).unwrap()
    }

    /// Waits until its own HTTP server answers as `expected` at `path`.
    pub async fn answers(&self, path: &str, expected: (u16, &str)) {
        let expected = (expected.0, expected.1.to_owned());
        let is_it = |answer: &(u16, String)| *answer == expected;
        self.asked_until(path, is_it, &format!("{expected:?}")).await;
    }

    /// Its metrics, once they hold all of `rows`.
    pub async fn scrape(&self, rows: &[&str]) -> String {
        let has_all = |text: &str| rows.iter().all(|row| text.contains(row));
        self.scrape_until(has_all, &rows.join("\n")).await
    }

    /// What `/metrics` shows once that is what `expected` says.
    pub async fn scrape_until(&self, is_it: impl Fn(&str) -> bool, expected: &str) -> String {
        self.asked_until("/metrics", |(_, text)| is_it(text), expected).await
    }

    /// Where its own HTTP server listens.
    pub fn address(&self) -> String {
        self.logs("serving /livez")["address"].as_str().unwrap().to_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "what is asked is the operator itself")]
    async fn asked_until(
        &self,
        path: &str,
        is_it: impl Fn(&(u16, String)) -> bool,
        expected: &str,
    ) -> String {
        let url = format!("http://{}{path}", self.address());
        let mut last = (0, String::new());
        let asking = async {
            loop {
                let answer = reqwest::get(&url).await.unwrap();
                last = (answer.status().as_u16(), answer.text().await.unwrap());
                if is_it(&last) {
                    return;
                }
                // There is nothing to watch that would tell when to ask again.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let came = timeout(PATIENCE, asking).await;
        assert!(came.is_ok(), "{path} answers {} {}, and should {expected}", last.0, last.1);
        last.1
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the process to end by itself. Its log is complete then.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let status = self.child.wait().unwrap();
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
        status
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            eprintln!("--- the operator's log\n{}", tail.join("\n"));
        }
    }
}

/// A class and a contract that most tests start from: a shop finder that must have a title.
pub fn storefinder(name: &str, document: &Value) -> String {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1",
        "kind": "WidgetContract",
        "metadata": {"name": name},
        "spec": {
            "widget": "storefinder",
            "document": {"inline": document},
            "schema": {"inline": {
                "type": "object",
                "required": ["title"],
                "properties": {
                    "title": {"type": "string", "maxLength": 20},
                    "stores": {"type": "array", "items": {"type": "object", "required": ["id"]}},
                },
            }},
        },
    })
    .to_string()
}
