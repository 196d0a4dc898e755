//! What all see who look at lists and at the whole, put together once for all of them.
//!
//! Nothing in it is for anybody yet: each is shown what their own rights, as [`Scope`]s, leave of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use url::Url;

use crate::{
    api::{Incident, contract::Health},
    controllers::{
        Ctx,
        desk::{Desk, Refused, rights::Scope},
        index::{Listed, Lists},
    },
    decide::{
        breakers::{self, Unanswered},
        platform::{self, Part},
    },
    outbound::LeftAlone,
};

/// What there was a moment ago.
#[derive(Debug, Default)]
pub struct Lately {
    lists: Lists,
    /// What did not answer last and is of a namespace.
    unanswered: Vec<Unanswered>,
    /// Servers of assets that did not, by their hosts.
    servers: Vec<(String, Unanswered)>,
    /// The parts of what the operator works with that are always there.
    parts: Vec<Part>,
}

impl Desk {
    /// What there is now, for all who look: whoever was told of something finds it there.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub async fn lately(&self) -> Result<Arc<Lately>, Refused> {
        let ctx = self.ctx()?;
        Ok(self.lately.get(|| ctx.live.so_far(), || Lately::of(self, &ctx)).await)
    }
}

impl Lately {
    fn of(desk: &Desk, ctx: &Ctx) -> Self {
        let now = ctx.now();
        let server = |left: LeftAlone| {
            let host =
                Url::parse(&left.server).ok().and_then(|url| Some(url.host_str()?.to_owned()));
            let of = Unanswered {
                namespace: None,
                dependency: breakers::assets(&left.server),
                state: left.state,
                failures: left.failures,
                since: left.since.before(now),
                next_probe: left.opens_in.map(|opens_in| opens_in.after(now)),
                policies: Vec::new(),
            };
            (host.unwrap_or_default(), of)
        };
        let mut parts = desk.health.parts();
        parts.push(platform::network(&ctx.outbound.heard(), ctx.outbound.reached_again()));
        parts.push(platform::dns(&ctx.outbound.named()));
        Self {
            lists: ctx.index.lists(),
            unanswered: ctx.index.unanswered(now),
            servers: ctx.outbound.left_alone().into_iter().map(server).collect(),
            parts,
        }
    }

    /// The open Incidents of these namespaces.
    pub(super) fn open<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Incident> {
        let of = |object: &&Incident| {
            object.metadata.namespace.as_deref().is_some_and(|namespace| scope.has(namespace))
        };
        self.lists.open.iter().map(|object| &**object).filter(of)
    }

    /// How many contracts of these namespaces there are, by their health.
    pub(super) fn health(&self, scope: &Scope) -> BTreeMap<Health, usize> {
        let mut counts = BTreeMap::new();
        let here = self.lists.health.iter().filter(|(namespace, _)| scope.has(namespace));
        for (health, count) in here.flat_map(|(_, counts)| counts) {
            *counts.entry(*health).or_default() += count;
        }
        counts
    }

    /// The contracts of these namespaces that are not as they should be, and that no Incident speaks for.
    pub(super) fn unspoken<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Listed> {
        self.lists.unspoken.iter().filter(|listed| scope.has(&listed.key.namespace))
    }

    /// What did not answer last, in these namespaces.
    pub(super) fn unanswered<'a>(
        &'a self,
        scope: &'a Scope,
    ) -> impl Iterator<Item = &'a Unanswered> {
        let of = |of: &&Unanswered| of.namespace.as_ref().is_some_and(|name| scope.has(name));
        self.unanswered.iter().filter(of)
    }

    /// The servers of assets that did not answer last. They are of no namespace, so of some namespaces are shown
    /// those whose host their contracts had no answer from: the others are names that other people gave.
    pub(super) fn servers<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Unanswered> {
        let silent = self.lists.silent.iter().filter(|(namespace, _)| scope.has(namespace));
        let silent: BTreeSet<&str> =
            silent.flat_map(|(_, hosts)| hosts).map(|host| &**host).collect();
        let is_shown = move |host: &str| *scope == Scope::All || silent.contains(host);
        self.servers.iter().filter(move |(host, _)| is_shown(host)).map(|(_, of)| of)
    }

    /// The parts of what the operator works with that are always there.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.parts.clone()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        api::WidgetContract,
        controllers::{Key, desk::shown::IncidentFilter, index::Index},
        decide::silence::Silence,
        domain::{Digest, Severity, breaker::State},
    };

    fn contract(namespace: &str, name: &str, health: &str) -> WidgetContract {
        let object = json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
            "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"},
            "spec": {"widget": "finder", "document": {"inline": {}}},
            "status": {"health": health},
        });
        serde_json::from_value(object).unwrap()
    }

    fn incident(namespace: &str, contract: &str) -> Incident {
        let digest = Digest::of_bytes(b"a");
        let object = json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": format!("{contract}-1"), "namespace": namespace, "uid": contract,
                "resourceVersion": "1"},
            "spec": {
                "contractName": contract, "contractUID": contract, "widget": "finder",
                "ordinal": 1, "openedAt": "2026-01-01T00:00:00Z", "cause": "DocumentChanged",
                "severity": "Critical", "rulesSummary": "a", "subject": contract,
                "documentDigest": digest, "fingerprint": digest,
            },
            "status": {"state": "Held", "tries": 0},
        });
        serde_json::from_value(object).unwrap()
    }

    fn silence(host: &str) -> Silence {
        Silence {
            host: host.into(),
            rule: "images".into(),
            reason: "AssetHostDown".into(),
            severity: Severity::Critical,
            since: Timestamp::UNIX_EPOCH,
            call_every: None,
        }
    }

    fn server(host: &str) -> (String, Unanswered) {
        let of = Unanswered {
            namespace: None,
            dependency: format!("assets https://{host}"),
            state: State::Closed,
            failures: 1,
            since: Timestamp::UNIX_EPOCH,
            next_probe: None,
            policies: Vec::new(),
        };
        (host.to_owned(), of)
    }

    fn lately() -> Lately {
        let index = Index::default();
        for namespace in ["news", "shop"] {
            for (name, health) in
                [("a", "Degraded"), ("b", "Degraded"), ("c", "Critical"), ("d", "Healthy")]
            {
                index.saw_contract(contract(namespace, name, health));
            }
            index.saw_incident(&incident(namespace, "a"));
        }
        index.saw_contract(contract("shop", "e", "Unknown"));
        index.said_of_hosts(&Key::new("shop", "e"), [silence("cdn.shop")].into());
        index.said_of_hosts(&Key::new("news", "d"), [silence("cdn.news")].into());
        let source = Unanswered { namespace: Some("news".into()), ..server("x").1 };
        let unanswered = vec![Unanswered { dependency: "source https://cms".to_owned(), ..source }];
        let servers = ["cdn.news", "cdn.shop", "cdn.else"].map(server).into();
        Lately { lists: index.lists(), unanswered, servers, ..Lately::default() }
    }

    fn only(namespaces: &[&str]) -> Scope {
        Scope::Only(namespaces.iter().map(|name| (*name).into()).collect())
    }

    #[test]
    fn everybody_is_shown_what_is_of_their_namespaces_out_of_what_is_there_for_all() {
        let lately = lately();
        let (shop, nowhere) = (only(&["shop"]), only(&[]));
        let of = |scope: &Scope, incidents: Option<&Scope>| {
            let platform = lately.platform(scope, incidents);
            (platform.contracts.values().sum::<usize>(), platform.waiting_for_people)
        };
        assert_eq!(of(&Scope::All, Some(&Scope::All)), (9, Some(0)));
        assert_eq!(of(&shop, Some(&nowhere)), (5, Some(0)));
        assert_eq!(of(&nowhere, None), (0, None));
        let incidents = |scope: &Scope| {
            let found = lately.incidents(scope, &IncidentFilter::default(), None, 9).items;
            found.into_iter().map(|row| row.namespace).collect::<Vec<_>>()
        };
        assert_eq!(incidents(&Scope::All), ["news", "shop"]);
        assert_eq!(incidents(&shop), ["shop"]);
        let others = |scope: &Scope| {
            let found = lately.others(scope).into_iter();
            found.map(|row| format!("{}/{}", row.namespace, row.name)).collect::<Vec<_>>()
        };
        assert_eq!(others(&Scope::All), ["news/c", "shop/c", "news/b", "shop/b", "shop/e"]);
        assert_eq!(others(&shop), ["shop/c", "shop/b", "shop/e"]);
    }

    #[test]
    fn of_servers_of_assets_the_viewer_of_some_namespaces_is_shown_those_that_these_had_no_answer_from()
     {
        let lately = lately();
        let shown = |policies: &Scope, contracts: Option<&Scope>| {
            let found = lately.breakers(policies, contracts, 0, 9).items;
            found.into_iter().map(|row| row.dependency).collect::<Vec<_>>()
        };
        let (shop, news) = (only(&["shop"]), only(&["news"]));
        assert_eq!(shown(&shop, None), Vec::<String>::new());
        assert_eq!(shown(&shop, Some(&shop)), ["assets https://cdn.shop"]);
        assert_eq!(shown(&news, Some(&news)), ["assets https://cdn.news", "source https://cms"]);
        assert_eq!(shown(&Scope::All, Some(&Scope::All)).len(), 4);
        let parts = lately.platform(&shop, Some(&shop)).parts;
        let names: Vec<_> = parts.iter().filter_map(|part| part.name.as_deref()).collect();
        assert_eq!(names, ["https://cdn.shop"]);
    }
}
