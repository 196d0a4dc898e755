//! A Job from its template: what may stand in one, and what is put in.
//!
//! The template is its owner's, and what the Job may do in the cluster is bounded by its
//! ServiceAccount. What is refused here is what reaches beyond: the node, privileges, and rights of
//! others.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{
        AppArmorProfile, Container, HTTPGetAction, LifecycleHandler, PodSpec, Probe,
        SeccompProfile, SecurityContext, TCPSocketAction,
    },
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::{
    api::{CONTRACT_UID, DONE_FOR, PART},
    domain::Span,
};

/// The largest template.
const MOST_BYTES: usize = 64 * 1024;
/// The most pods of a Job at once, and in all.
const MOST_PODS: i32 = 10;
/// How annotations begin that set an `AppArmor` profile, as before there was a field.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What the Job is to be.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) service_account: &'a str,
    pub(super) key: &'a str,
    pub(super) contract_uid: &'a str,
    /// After what time it is ended.
    pub(super) deadline: Span,
    /// For how long it stays after its end.
    pub(super) kept: Span,
}

/// The Job that `template` describes, as it is wanted.
///
/// # Errors
/// The field that may not stand there, and the fix.
pub(super) fn of(template: &str, wanted: &Wanted<'_>) -> Result<Job, String> {
    let mut job = read(template)?;
    refuse(&job, wanted)?;
    let mut labels = job.metadata.labels.take().unwrap_or_default();
    labels.insert(PART.to_owned(), "job".to_owned());
    labels.insert(CONTRACT_UID.to_owned(), wanted.contract_uid.to_owned());
    let mut annotations = job.metadata.annotations.take().unwrap_or_default();
    annotations.insert(DONE_FOR.to_owned(), wanted.key.to_owned());
    // Nothing else of it: a template that was read from a cluster has a version, a UID and managers.
    job.metadata = ObjectMeta {
        name: Some(wanted.name.to_owned()),
        namespace: Some(wanted.namespace.to_owned()),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    job.status = None;
    let seconds = |span: Span| i64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
    let deadline = seconds(wanted.deadline).max(1);
    if let Some(spec) = &mut job.spec {
        let own = spec.active_deadline_seconds.unwrap_or(deadline);
        spec.active_deadline_seconds = Some(own.min(deadline));
        spec.ttl_seconds_after_finished =
            Some(i32::try_from(seconds(wanted.kept)).unwrap_or(i32::MAX));
        if let Some(pod) = &mut spec.template.spec {
            pod.service_account_name = Some(wanted.service_account.to_owned());
            pod.service_account = None;
            for container in
                pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten())
            {
                let context = container.security_context.get_or_insert_default();
                context.allow_privilege_escalation.get_or_insert(false);
            }
        }
    }
    Ok(job)
}

fn read(template: &str) -> Result<Job, String> {
    if template.len() > MOST_BYTES {
        return Err(format!("the template is larger than {MOST_BYTES} bytes; make it smaller"));
    }
    if template.trim().is_empty() {
        return Err("the template is empty; write a Job of batch/v1".to_owned());
    }
    // Its own text is not shown: it may quote what stands there.
    let value: Value = serde_saphyr::from_str(template)
        .map_err(|_| "the template is not YAML or JSON; write one Job of batch/v1".to_owned())?;
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("batch/v1", "Job") {
        return Err("kind: the template is no Job of batch/v1; write one".to_owned());
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        format!("{}: is not what a Job of batch/v1 has there; mend it", error.path())
    })
}

/// What may not stand in a template.
fn refuse(job: &Job, wanted: &Wanted<'_>) -> Result<(), String> {
    let beyond = |field: &str| Err(format!("{field} is not allowed; take it out"));
    let namespace = job.metadata.namespace.as_deref();
    if namespace.is_some_and(|namespace| namespace != wanted.namespace) {
        return Err("metadata.namespace is another namespace; take it out".to_owned());
    }
    let Some(spec) = &job.spec else { return Err("spec is missing; write one".to_owned()) };
    if spec.suspend == Some(true) {
        return beyond("spec.suspend");
    }
    if spec.manual_selector.is_some() || spec.selector.is_some() {
        return beyond("spec.selector");
    }
    if spec.managed_by.is_some() {
        return beyond("spec.managedBy");
    }
    for (field, pods) in [("parallelism", spec.parallelism), ("completions", spec.completions)] {
        if pods.is_some_and(|pods| pods > MOST_PODS) {
            return Err(format!("spec.{field} is more than {MOST_PODS}; write less"));
        }
    }
    let Some(pod) = &spec.template.spec else {
        return Err("spec.template.spec is missing; write one".to_owned());
    };
    let annotations = spec.template.metadata.iter().flat_map(|metadata| &metadata.annotations);
    if annotations.flatten().any(|(name, _)| name.starts_with(APP_ARMOR)) {
        return beyond(&format!("spec.template.metadata.annotations: {APP_ARMOR}"));
    }
    let at = "spec.template.spec";
    if !["Never", "OnFailure"].contains(&pod.restart_policy.as_deref().unwrap_or_default()) {
        return Err(format!("{at}.restartPolicy is not Never or OnFailure; write one of them"));
    }
    for named in [&pod.service_account_name, &pod.service_account] {
        if named.as_ref().is_some_and(|named| named != wanted.service_account) {
            return Err(format!(
                "{at}.serviceAccountName is not the policy's, {}; take it out",
                wanted.service_account
            ));
        }
    }
    pod_fault(pod).map_or(Ok(()), |field| beyond(&format!("{at}.{field}")))
}

/// The first field of a pod that reaches beyond it.
fn pod_fault(pod: &PodSpec) -> Option<String> {
    let host =
        [("hostNetwork", pod.host_network), ("hostPID", pod.host_pid), ("hostIPC", pod.host_ipc)];
    if let Some((field, _)) = host.into_iter().find(|(_, is)| *is == Some(true)) {
        return Some(field.to_owned());
    }
    if pod.node_name.is_some() {
        return Some("nodeName".to_owned());
    }
    if pod.priority_class_name.as_ref().is_some_and(|name| name.starts_with("system-")) {
        return Some("priorityClassName".to_owned());
    }
    let volumes = pod.volumes.iter().flatten().enumerate();
    if let Some((nth, _)) = volumes.into_iter().find(|(_, volume)| volume.host_path.is_some()) {
        return Some(format!("volumes[{nth}].hostPath"));
    }
    if let Some(context) = &pod.security_context {
        let windows = context.windows_options.as_ref();
        if windows.is_some_and(|options| options.host_process == Some(true)) {
            return Some("securityContext.windowsOptions.hostProcess".to_owned());
        }
        if context.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()) {
            return Some("securityContext.sysctls".to_owned());
        }
        let (seccomp, app_armor) = (&context.seccomp_profile, &context.app_armor_profile);
        if let Some(field) =
            unconfined(context.se_linux_options.is_some(), seccomp.as_ref(), app_armor.as_ref())
        {
            return Some(format!("securityContext.{field}"));
        }
    }
    if pod.ephemeral_containers.as_ref().is_some_and(|some| !some.is_empty()) {
        return Some("ephemeralContainers".to_owned());
    }
    let init = pod.init_containers.iter().flatten().enumerate();
    let init = init.map(|(nth, container)| (format!("initContainers[{nth}]"), container));
    let main = pod.containers.iter().enumerate();
    let main = main.map(|(nth, container)| (format!("containers[{nth}]"), container));
    init.chain(main)
        .find_map(|(at, container)| container_fault(container).map(|field| format!("{at}.{field}")))
}

fn container_fault(container: &Container) -> Option<String> {
    let ports = container.ports.iter().flatten().enumerate();
    let on_host = |port: Option<i32>| port.is_some_and(|port| port != 0);
    if let Some((nth, _)) = ports.into_iter().find(|(_, port)| on_host(port.host_port)) {
        return Some(format!("ports[{nth}].hostPort"));
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    let of_probe = |probe: &Probe| host(probe.http_get.as_ref(), probe.tcp_socket.as_ref());
    let probes = probes.into_iter().map(|(at, probe)| (at, probe.as_ref().and_then(of_probe)));
    let hooks = container.lifecycle.as_ref().map(|lifecycle| {
        [("lifecycle.postStart", &lifecycle.post_start), ("lifecycle.preStop", &lifecycle.pre_stop)]
    });
    let of_hook = |hook: &LifecycleHandler| host(hook.http_get.as_ref(), hook.tcp_socket.as_ref());
    let hooks = hooks.into_iter().flatten();
    let hooks = hooks.map(|(at, hook)| (at, hook.as_ref().and_then(of_hook)));
    if let Some((at, field)) = probes.chain(hooks).find_map(|(at, field)| Some((at, field?))) {
        return Some(format!("{at}.{field}"));
    }
    let field = privilege(container.security_context.as_ref()?)?;
    Some(format!("securityContext.{field}"))
}

/// A host that the kubelet would ask from its own network.
fn host(http: Option<&HTTPGetAction>, tcp: Option<&TCPSocketAction>) -> Option<&'static str> {
    if http.is_some_and(|http| http.host.is_some()) {
        Some("httpGet.host")
    } else {
        tcp.is_some_and(|tcp| tcp.host.is_some()).then_some("tcpSocket.host")
    }
}

/// What keeps a process in its bounds, and is chosen or taken away.
fn unconfined(
    has_se_linux: bool,
    seccomp: Option<&SeccompProfile>,
    app_armor: Option<&AppArmorProfile>,
) -> Option<&'static str> {
    if has_se_linux {
        Some("seLinuxOptions")
    } else if seccomp.is_some_and(|profile| profile.type_ == "Unconfined") {
        Some("seccompProfile")
    } else {
        let is_off = app_armor.is_some_and(|profile| profile.type_ == "Unconfined");
        is_off.then_some("appArmorProfile")
    }
}

fn privilege(context: &SecurityContext) -> Option<&'static str> {
    let adds = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
    let windows = context.windows_options.as_ref();
    if context.privileged == Some(true) {
        Some("privileged")
    } else if adds.is_some_and(|add| !add.is_empty()) {
        Some("capabilities.add")
    } else if context.allow_privilege_escalation == Some(true) {
        Some("allowPrivilegeEscalation")
    } else if context.proc_mount.as_deref().is_some_and(|mount| mount != "Default") {
        Some("procMount")
    } else if windows.is_some_and(|options| options.host_process == Some(true)) {
        Some("windowsOptions.hostProcess")
    } else {
        let (seccomp, app_armor) = (&context.seccomp_profile, &context.app_armor_profile);
        unconfined(context.se_linux_options.is_some(), seccomp.as_ref(), app_armor.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WANTED: Wanted<'_> = Wanted {
        name: "uk-1-abc",
        namespace: "shop",
        service_account: "healer",
        key: "uk-1/1/heal/run",
        contract_uid: "0123",
        deadline: Span::mins(2),
        kept: Span::mins(60),
    };

    fn template() -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "generateName": "mine-", "uid": "u",
                "labels": {"app": "catalog", CONTRACT_UID: "another"},
                "resourceVersion": "7", "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "catalog:1"}],
            }}},
        })
    }

    #[test]
    fn a_template_becomes_a_job_of_our_name_account_and_bounds() {
        let yaml = serde_saphyr::to_string(&template()).unwrap();
        let job = of(&yaml, &WANTED).unwrap();
        assert_eq!(job, of(&template().to_string(), &WANTED).unwrap(), "JSON is as good");
        assert_eq!(job.metadata.name.as_deref(), Some("uk-1-abc"));
        assert_eq!(job.metadata.namespace.as_deref(), Some("shop"));
        let metadata = job.metadata.clone();
        assert_eq!(
            (metadata.generate_name, metadata.uid, metadata.resource_version),
            (None, None, None)
        );
        assert_eq!(metadata.managed_fields, None);
        let labels = job.metadata.labels.unwrap();
        assert_eq!((labels["app"].as_str(), labels[PART].as_str()), ("catalog", "job"));
        assert_eq!(labels[CONTRACT_UID], "0123", "whatever the template says");
        assert_eq!(job.metadata.annotations.unwrap()[DONE_FOR], "uk-1/1/heal/run");
        let spec = job.spec.unwrap();
        assert_eq!(spec.active_deadline_seconds, Some(120));
        assert_eq!(spec.ttl_seconds_after_finished, Some(3600));
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some("healer"));
        let context = pod.containers[0].security_context.clone().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        let mut short = template();
        short["spec"]["activeDeadlineSeconds"] = json!(5);
        let spec = of(&short.to_string(), &WANTED).unwrap().spec.unwrap();
        assert_eq!(spec.active_deadline_seconds, Some(5));
    }

    #[test]
    fn what_reaches_beyond_the_job_is_refused_by_the_name_of_its_field() {
        let pod = "/spec/template/spec";
        let context = "/spec/template/spec/containers/0/securityContext";
        let table = [
            ("/kind", json!("CronJob"), "kind: the template is no Job"),
            ("/apiVersion", json!("batch/v1beta1"), "no Job of batch/v1"),
            ("/metadata/namespace", json!("other"), "metadata.namespace is another namespace"),
            ("/spec/suspend", json!(true), "spec.suspend is not allowed"),
            ("/spec/manualSelector", json!(true), "spec.selector is not allowed"),
            ("/spec/managedBy", json!("me"), "spec.managedBy is not allowed"),
            ("/spec/parallelism", json!(11), "spec.parallelism is more than 10"),
            ("/spec/completions", json!(100), "spec.completions is more than 10"),
            ("/spec/backoffLimit", json!("canary"), "spec.backoffLimit: is not what a Job"),
            ("/spec/template/spec", json!(null), "spec.template.spec is missing"),
            (&format!("{pod}/serviceAccountName"), json!("admin"), "is not the policy's, healer"),
            (&format!("{pod}/serviceAccount"), json!("admin"), "is not the policy's, healer"),
            (&format!("{pod}/hostNetwork"), json!(true), "hostNetwork is not allowed"),
            (&format!("{pod}/hostPID"), json!(true), "hostPID is not allowed"),
            (&format!("{pod}/hostIPC"), json!(true), "hostIPC is not allowed"),
            (&format!("{pod}/nodeName"), json!("node-0"), "nodeName is not allowed"),
            (
                &format!("{pod}/volumes"),
                json!([{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]),
                "spec.template.spec.volumes[1].hostPath is not allowed",
            ),
            (
                &format!("{pod}/containers/0/ports"),
                json!([{"containerPort": 80, "hostPort": 80}]),
                "containers[0].ports[0].hostPort is not allowed",
            ),
            (context, json!({"privileged": true}), "securityContext.privileged is not allowed"),
            (context, json!({"capabilities": {"add": ["SYS_ADMIN"]}}), "capabilities.add"),
            (context, json!({"allowPrivilegeEscalation": true}), "allowPrivilegeEscalation"),
            (context, json!({"procMount": "Unmasked"}), "procMount"),
            (
                &format!("{pod}/restartPolicy"),
                json!(null),
                "restartPolicy is not Never or OnFailure",
            ),
            (&format!("{pod}/restartPolicy"), json!("Always"), "restartPolicy is not Never or On"),
            (
                &format!("{pod}/priorityClassName"),
                json!("system-node-critical"),
                "priorityClassName",
            ),
            (
                "/spec/template/metadata",
                json!({"annotations": {format!("{APP_ARMOR}main"): "unconfined"}}),
                "spec.template.metadata.annotations: container.apparmor",
            ),
            (
                &format!("{pod}/securityContext"),
                json!({"seLinuxOptions": {"type": "spc_t"}}),
                "spec.template.spec.securityContext.seLinuxOptions",
            ),
            (
                &format!("{pod}/securityContext"),
                json!({"seccompProfile": {"type": "Unconfined"}}),
                "spec.template.spec.securityContext.seccompProfile",
            ),
            (
                context,
                json!({"seLinuxOptions": {"level": "s0"}}),
                "containers[0].securityContext.seLinuxOptions",
            ),
            (context, json!({"seccompProfile": {"type": "Unconfined"}}), "seccompProfile"),
            (context, json!({"appArmorProfile": {"type": "Unconfined"}}), "appArmorProfile"),
            (
                &format!("{pod}/containers/0/livenessProbe"),
                json!({"httpGet": {"host": "169.254.169.254", "port": 80}}),
                "containers[0].livenessProbe.httpGet.host",
            ),
            (
                &format!("{pod}/containers/0/startupProbe"),
                json!({"tcpSocket": {"host": "10.0.0.1", "port": 80}}),
                "containers[0].startupProbe.tcpSocket.host",
            ),
            (
                &format!("{pod}/containers/0/lifecycle"),
                json!({"postStart": {"httpGet": {"host": "10.0.0.1", "port": 80}}}),
                "containers[0].lifecycle.postStart.httpGet.host",
            ),
            (
                &format!("{pod}/initContainers"),
                json!([{"name": "a", "securityContext": {"privileged": true}}]),
                "initContainers[0].securityContext.privileged",
            ),
        ];
        for (place, value, says) in table {
            let bad = with(&template(), place, &value);
            let why = of(&bad.to_string(), &WANTED).unwrap_err();
            assert!(why.contains(says) && !why.contains("canary"), "{place}: {why}");
        }
    }

    #[test]
    fn what_is_no_job_at_all_is_refused() {
        for (text, says) in [
            ("", "the template is empty"),
            ("a: [", "is not YAML or JSON"),
            ("[]", "no Job of batch/v1"),
            (&" ".repeat(MOST_BYTES + 1), "larger than 65536 bytes"),
        ] {
            let why = of(text, &WANTED).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn what_is_named_and_stays_within_bounds_is_taken() {
        let pod = "/spec/template/spec";
        for (place, value) in [
            ("/metadata/namespace".to_owned(), json!("shop")),
            (format!("{pod}/serviceAccountName"), json!("healer")),
            (format!("{pod}/hostNetwork"), json!(false)),
            (format!("{pod}/restartPolicy"), json!("OnFailure")),
            (
                format!("{pod}/securityContext"),
                json!({"seccompProfile": {"type": "RuntimeDefault"}}),
            ),
            (
                format!("{pod}/containers/0/securityContext"),
                json!({"privileged": false, "capabilities": {"drop": ["ALL"]}}),
            ),
        ] {
            of(&with(&template(), &place, &value).to_string(), &WANTED).unwrap();
        }
    }

    /// `base` with `value` at `place`.
    fn with(base: &Value, place: &str, value: &Value) -> Value {
        let mut changed = base.clone();
        let (parent, name) = place.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[name] = value.clone();
        changed
    }
}
