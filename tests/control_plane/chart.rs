//! The chart, installed by the real helm: what it installs and which rights it gives.

use std::{fs, path::PathBuf, process::Command};

use clap::Parser as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, ServiceAccount},
};
use kintsugi::cli::Cli;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Cluster, Namespace, Operator, has, storefinder};

fn helm(cluster: &Cluster, args: &[&str]) -> (bool, String) {
    program("helm", cluster, args)
}

fn program(name: &str, cluster: &Cluster, args: &[&str]) -> (bool, String) {
    let path = PathBuf::from(std::env::var_os("KINTSUGI_TEST_BIN").unwrap()).join(name);
    let output = Command::new(path)
        .args(args)
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn the_chart_is_installed_with_the_rights_that_this_suite_runs_under() {
    let cluster = Cluster::running();
    let client = cluster.admin().await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kintsugi-system");
    let deployment = deployments.get("kintsugi").await.unwrap();
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("kintsugi"));
    let security = pod.containers[0].security_context.clone().unwrap();
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(security.allow_privilege_escalation, Some(false));

    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRole> = Api::all(client);
    let selector = ListParams::default().labels("app.kubernetes.io/name=kintsugi");
    for role in roles.list(&selector).await.unwrap() {
        for rule in role.rules.clone().unwrap_or_default() {
            let wild = |list: &Option<Vec<String>>| list.iter().flatten().any(|item| item == "*");
            assert!(
                !wild(&Some(rule.verbs.clone())) && !wild(&rule.resources),
                "{}",
                role.name_any()
            );
            let secrets = rule.resources.iter().flatten().any(|resource| resource == "secrets");
            assert!(!secrets || rule.verbs == ["get"], "Secrets are read by name only");
        }
    }
}

#[test]
fn the_chart_lints_and_watches_only_the_namespaces_it_is_given() {
    let cluster = Cluster::running();
    let (linted, output) = helm(&cluster, &["lint", "--strict", "charts/kintsugi"]);
    assert!(linted, "{output}");
    let (_, all) = helm(&cluster, &["template", "k", "charts/kintsugi"]);
    assert!(all.contains("kind: ClusterRoleBinding"), "{all}");
    let (_, some) =
        helm(&cluster, &["template", "k", "charts/kintsugi", "--set", "namespaces={shop,news}"]);
    let cluster_wide = some.matches("kind: ClusterRole\n").count();
    assert_eq!(cluster_wide, 1, "to read the admission policy about approvals: {some}");
    let none = ["--set", "namespaces={shop,news},approvals.install=false"];
    let (_, none) = helm(&cluster, &[&["template", "k", "charts/kintsugi"][..], &none].concat());
    assert!(!none.contains("kind: ClusterRole\n"), "{none}");
    assert!(some.contains("--namespaces=shop,news") && some.contains("namespace: news"), "{some}");
}

#[test]
fn a_wrong_value_is_refused_with_its_name() {
    let cluster = Cluster::running();
    let (ok, output) =
        helm(&cluster, &["template", "k", "charts/kintsugi", "--set", "log.format=xml"]);
    assert!(!ok && output.contains("log/format"), "{output}");
    let (ok, output) = helm(&cluster, &["template", "k", "charts/kintsugi", "--set", "replica=3"]);
    assert!(!ok && output.contains("replica"), "{output}");
}

/// The Deployment that the chart renders with these values.
fn rendered(cluster: &Cluster, values: &[&str]) -> Value {
    let sets = values.iter().flat_map(|value| ["--set", value]);
    let base = ["template", "k", "charts/kintsugi", "--show-only", "templates/deployment.yaml"];
    let args: Vec<&str> = base.into_iter().chain(sets).collect();
    let (ok, text) = helm(cluster, &args);
    assert!(ok, "{text}");
    serde_saphyr::from_str(&text).unwrap()
}

/// The arguments of its container, as the operator's process gets them.
fn arguments(deployment: &Value) -> Vec<String> {
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    args.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_operator_takes_the_arguments_that_the_chart_gives_it() {
    let cluster = Cluster::running();
    let all = [
        "namespaces={shop,news}",
        "allowCidrs={10.0.0.0/8,fd00::/8}",
        "allowHttp=true",
        "otlpEndpoint=http://collector:4317",
        "extraArgs={--concurrency=32,--observe-only}",
        "log.format=text",
    ];
    for values in [&[][..], &all] {
        let args = arguments(&rendered(&cluster, values));
        let whole = ["kintsugi".to_owned()].into_iter().chain(args.clone());
        assert!(Cli::try_parse_from(whole).is_ok(), "{args:?}");
    }
    let unknown = arguments(&rendered(&cluster, &["extraArgs={--no-such-flag}"]));
    assert!(Cli::try_parse_from(["kintsugi".to_owned()].into_iter().chain(unknown)).is_err());
}

#[test]
fn browsers_are_signed_for_with_a_key_of_your_own_where_one_is_named() {
    let cluster = Cluster::running();
    let own = ["dashboard.enabled=true", "dashboard.keySecret=ours", "dashboard.streams=40"];
    for (values, secret, made) in [(&own[..1], "k-dashboard-key", true), (&own, "ours", false)] {
        let deployment = rendered(&cluster, values);
        let volume = &deployment["spec"]["template"]["spec"]["volumes"][0];
        assert_eq!(volume["secret"]["secretName"], secret, "{volume}");
        let streams = if made { "--dashboard-streams=2000" } else { "--dashboard-streams=40" };
        let args = arguments(&deployment);
        assert!(args.iter().any(|arg| arg == streams), "{args:?}");
        let whole = ["kintsugi".to_owned()].into_iter().chain(args.clone());
        assert!(Cli::try_parse_from(whole).is_ok(), "{args:?}");
        let sets = values.iter().flat_map(|value| ["--set", value]);
        let all: Vec<&str> = ["template", "k", "charts/kintsugi"].into_iter().chain(sets).collect();
        let (ok, text) = helm(&cluster, &all);
        assert!(ok && text.contains("kind: Secret\n") == made, "{text}");
    }
}

#[test]
fn two_replicas_run_and_are_probed_where_they_listen() {
    let cluster = Cluster::running();
    let deployment = rendered(&cluster, &[]);
    assert_eq!(deployment["spec"]["replicas"], 2);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}));
    }
    let port = &container["ports"][0];
    assert_eq!(port["name"], "http");
    let listen = format!("--listen=0.0.0.0:{}", port["containerPort"]);
    assert!(arguments(&deployment).contains(&listen), "{listen}");
}

#[tokio::test]
async fn the_pod_is_admitted_where_pod_security_is_restricted() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "restricted").await;
    namespace.label("pod-security.kubernetes.io/enforce", Some("restricted")).await;
    let template = rendered(&cluster, &[])["spec"]["template"].clone();
    let account = template["spec"]["serviceAccountName"].as_str().unwrap();
    let mut owner = ServiceAccount::default();
    owner.metadata.name = Some(account.to_owned());
    namespace.api().create(&PostParams::default(), &owner).await.unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pod = |change: fn(&mut Value)| {
        let mut pod = template.clone();
        pod["metadata"]["name"] = json!("kintsugi");
        change(&mut pod);
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    let pods = namespace.api::<Pod>();
    pods.create(&dry_run, &pod(|_| {})).await.unwrap();
    let laxer = pod(|pod| pod["spec"]["securityContext"]["runAsNonRoot"] = json!(false));
    let refused = pods.create(&dry_run, &laxer).await.unwrap_err().to_string();
    assert!(refused.contains("PodSecurity"), "{refused}");
}

/// A document that the schema refuses, once a good one is served, and a policy that repairs it.
async fn break_one(namespace: &Namespace) {
    let policy = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "heal"},
        "spec": {"default": true, "steps": [{"name": "undo", "restoreRevision": {}}]},
    });
    namespace.apply(&policy.to_string()).await;
    namespace.apply(&storefinder("uk", &json!({"title": "good"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = json!({"title": 7, "stores": [{"id": 1}]});
    namespace.apply(&storefinder("uk", &broken)).await;
}

/// Repaired: the good title, and what was new in the broken document.
async fn is_healed(namespace: &Namespace) {
    let healed = |value: &Value| value["title"] == "good" && value["stores"][0]["id"] == 1;
    namespace.served_when("uk", healed).await;
}

/// Installs the chart with these values.
pub fn install(cluster: &Cluster, release: &str, namespace: &str, values: &[&str]) {
    let install = ["install", release, "charts/kintsugi", "--namespace", namespace];
    let sets = values.iter().flat_map(|value| ["--set", value]);
    let args: Vec<&str> = install.into_iter().chain(sets).collect();
    let (ok, output) = helm(cluster, &args);
    assert!(ok, "{output}");
}

/// A kubeconfig with the rights of a ServiceAccount, in `folder`.
pub fn kubeconfig_of(
    cluster: &Cluster,
    namespace: &str,
    account: &str,
    folder: &TempDir,
) -> PathBuf {
    let create_token = ["create", "token", account, "--namespace", namespace];
    let (ok, token) = program("kubectl", cluster, &create_token);
    assert!(ok, "{token}");
    let text = fs::read_to_string(cluster.operator_kubeconfig()).unwrap();
    let (before, _) = text.split_once("token: ").unwrap();
    let path = folder.path().join("kubeconfig");
    fs::write(&path, format!("{before}token: {}}}}}]\n", token.trim())).unwrap();
    path
}

/// The arguments of an installed Deployment, with addresses that are free and a key outside of a pod.
pub async fn installed(cluster: &Cluster, namespace: &str, name: &str) -> Vec<String> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.admin().await, namespace);
    let deployment = serde_json::to_value(deployments.get(name).await.unwrap()).unwrap();
    let key = concat!("--dashboard-key-file=", env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let own = ["--listen=127.0.0.1:0", "--dashboard-listen=127.0.0.1:0", key];
    let flag = |arg: &str| arg.split('=').next().unwrap().to_owned();
    let given = |arg: &String| own.iter().any(|own| flag(own) == flag(arg));
    let args = arguments(&deployment).into_iter().filter(|arg| !given(arg));
    args.chain(own.map(str::to_owned)).collect()
}

#[tokio::test]
async fn installed_by_default_it_heals_in_every_namespace() {
    let cluster = Cluster::alone("everywhere");
    let args = installed(&cluster, "kintsugi-system", "kintsugi").await;
    assert!(!args.iter().any(|arg| arg.starts_with("--namespaces")), "{args:?}");
    let _operator = Operator::run(&cluster.operator_kubeconfig(), &args);
    let (shop, news) =
        (Namespace::new(&cluster, "shop").await, Namespace::new(&cluster, "news").await);
    for namespace in [&shop, &news] {
        break_one(namespace).await;
    }
    for namespace in [&shop, &news] {
        is_healed(namespace).await;
    }
}

#[tokio::test]
async fn installed_for_two_namespaces_it_heals_in_both_and_may_not_read_a_third() {
    let cluster = Cluster::running();
    let (home, shop, news, third) = (
        Namespace::new(&cluster, "home").await,
        Namespace::new(&cluster, "shop").await,
        Namespace::new(&cluster, "news").await,
        Namespace::new(&cluster, "third").await,
    );
    let watched = format!("namespaces={{{},{}}}", shop.name, news.name);
    install(&cluster, "two", &home.name, &["replicas=0,crds.install=false", &watched]);

    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig_of(&cluster, &home.name, "two", &folder);
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let config = Kubeconfig::from_yaml(&text).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(config, &options).await.unwrap();
    let as_operator = Client::try_from(config).unwrap();
    let theirs: Api<ConfigMap> = Api::namespaced(as_operator, &third.name);
    let refused = theirs.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(refused.contains("forbidden"), "{refused}");

    let _operator = Operator::run(&kubeconfig, &installed(&cluster, &home.name, "two").await);
    third.apply(&storefinder("uk", &json!({"title": "good"}))).await;
    for namespace in [&shop, &news] {
        break_one(namespace).await;
        is_healed(namespace).await;
    }
    let untouched = third.contracts().get("uk").await.unwrap();
    assert_eq!(untouched.status, None);
    assert_eq!(third.config_map_key("uk-served", "contract.json").await, None);
}

#[test]
fn each_kind_of_log_is_asked_for_by_its_own_value() {
    let cluster = Cluster::running();
    for (values, job, diagnosis) in [
        ("effects.enabled=true", false, false),
        ("effects.enabled=true,effects.jobLogs=true", true, false),
        ("effects.enabled=true,diagnosis.logs=true", false, true),
        ("diagnosis.enabled=true,diagnosis.logs=true,effects.jobLogs=true", false, true),
    ] {
        let args = ["template", "logs", "charts/kintsugi", "--set", values];
        let (ok, output) = helm(&cluster, &args);
        assert!(ok, "{output}");
        let asks = |flag: &str| output.lines().any(|line| line.trim() == format!("- {flag}"));
        assert_eq!((asks("--job-logs"), asks("--diagnosis-logs")), (job, diagnosis), "{values}");
    }
}
