//! Where a Service of the contract's namespace is reached: the addresses of its endpoints that are
//! ready, by its `EndpointSlice`s. There is no other way out of the namespace than these.

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};

use crate::{
    api::contract::ServiceRef,
    domain::{Doubt, DoubtReason},
};

/// Most endpoints that are used: one answers.
const MOST: usize = 8;

/// The endpoints to ask, all of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The port that they listen on.
    pub port: u16,
    /// Their addresses; never empty.
    pub addresses: Vec<String>,
}

/// The endpoints of what `wanted` refers to.
///
/// # Errors
/// Why there is none.
pub fn ready(
    wanted: &ServiceRef,
    service: Option<&Service>,
    slices: &[EndpointSlice],
) -> Result<Endpoints, Doubt> {
    let (name, number) = (&wanted.name, wanted.port);
    let unusable = |message: String| {
        Doubt::new(
            DoubtReason::ReferenceUnavailable,
            &format!("spec.source.serviceRef: Service {name} {message}"),
        )
    };
    let Some(service) = service else {
        return Err(unusable("does not exist; create it, or name another".to_owned()));
    };
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let Some(port) = ports.into_iter().find(|port| port.port == i32::from(number)) else {
        return Err(unusable(format!("has no port {number}; name one that it has")));
    };
    let port_name = port.name.as_deref().unwrap_or_default();
    let mut found: Option<Endpoints> = None;
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let port = ports
            .filter(|port| port.name.as_deref().unwrap_or_default() == port_name)
            .find_map(|port| u16::try_from(port.port?).ok());
        let Some(port) = port.filter(|_| slice.address_type != "FQDN") else { continue };
        // A named port may be another one in other pods: those of the first are enough.
        let known = found.get_or_insert_with(|| Endpoints { port, addresses: Vec::new() });
        if known.port != port {
            continue;
        }
        let endpoints = slice.endpoints.iter().filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        known.addresses.extend(endpoints.filter_map(|e| e.addresses.first().cloned()));
        if known.addresses.is_empty() {
            found = None;
        }
    }
    let Some(mut endpoints) = found else {
        return Err(Doubt::new(
            DoubtReason::SourceDown,
            &format!(
                "spec.source.serviceRef: Service {name} has no endpoint that is ready; see its pods"
            ),
        ));
    };
    // Slices come in any order; one set of addresses shall be one key for whoever remembers them.
    endpoints.addresses.sort();
    endpoints.addresses.dedup();
    endpoints.addresses.truncate(MOST);
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(port: &Value, endpoints: &Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "a"}, "addressType": "IPv4",
            "ports": [port], "endpoints": endpoints,
        }))
        .unwrap()
    }

    #[test]
    fn a_service_is_reached_at_the_endpoints_that_are_ready_on_the_port_that_is_meant() {
        let service: Service = serde_json::from_value(json!({
            "spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"},
                               {"name": "metrics", "port": 9090}]},
        }))
        .unwrap();
        let web = |endpoints: Value| slice(&json!({"name": "web", "port": 8080}), &endpoints);
        let at = |address: &str, ready: Value| json!({"addresses": [address], "conditions": {"ready": ready}});
        let both = json!([
            at("10.0.0.2", json!(true)),
            at("10.0.0.1", Value::Null),
            at("10.0.0.3", json!(false))
        ]);
        let none_ready = json!([at("10.0.0.3", json!(false))]);
        let metrics = slice(&json!({"name": "metrics", "port": 9}), &both);
        let other_port =
            slice(&json!({"name": "web", "port": 8081}), &json!([at("10.0.0.9", json!(true))]));
        let ask = |port, service, slices: &[EndpointSlice]| {
            let wanted = ServiceRef { name: "catalog".to_owned(), port, path: None };
            ready(&wanted, service, slices).map_err(|doubt| (doubt.reason, doubt.message))
        };
        let slices = [metrics.clone(), web(none_ready.clone()), web(both), other_port];
        let expected =
            Endpoints { port: 8080, addresses: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()] };
        assert_eq!(ask(80, Some(&service), &slices), Ok(expected));
        for (port, service, slices, reason, says) in [
            (80, None, &[][..], DoubtReason::ReferenceUnavailable, "does not exist"),
            (81, Some(&service), &[], DoubtReason::ReferenceUnavailable, "has no port 81"),
            (80, Some(&service), &[], DoubtReason::SourceDown, "no endpoint that is ready"),
            (80, Some(&service), &[web(none_ready)], DoubtReason::SourceDown, "no endpoint"),
            (80, Some(&service), &[metrics], DoubtReason::SourceDown, "no endpoint"),
        ] {
            let (is, message) = ask(port, service, slices).unwrap_err();
            assert_eq!(is, reason, "{message}");
            assert!(message.contains("serviceRef") && message.contains(says), "{message}");
        }
    }
}
