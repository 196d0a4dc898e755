//! What somebody on call has to know in five seconds: what needs a person, what is broken, what is being
//! healed.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Frame, Or, Page, Part, Refusal,
    contracts::ContractItem,
    incidents::IncidentItem,
    mark::{Mark, Tone},
    name_in,
    said::Said,
};
use crate::{
    api::{contract::Health, incident::State as IncidentState},
    controllers::desk::{
        Desk,
        shown::{ContractRow, IncidentFilter, IncidentRow, Platform},
    },
    decide::platform::{self, PartKind},
    http::{api::Asked, caller::Caller, name::Name},
};

/// Most Incidents that are looked through.
const MOST: usize = 500;
/// Most of them that are shown in each group.
const SHOWN: usize = 30;

/// Which namespace.
#[derive(Deserialize)]
pub struct Query {
    #[serde(default)]
    namespace: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    namespace: Said,
    standing: Part<Standing>,
    groups: Part<Vec<Group>>,
    others: Part<Others>,
    news: String,
}

/// How all of it stands.
struct Standing {
    mark: Mark,
    why: Vec<Said>,
    /// Where they are not, no count of them is shown: it would be 0.
    knows_incidents: bool,
    needs: usize,
    /// Contracts that serve nothing valid.
    broken: usize,
    /// Contracts that serve something good, but not what was asked for, or could not be checked.
    lessened: usize,
    /// Incidents at which something is being done.
    healing: usize,
    health: Vec<Tile>,
    parts: Vec<Tile>,
}

/// A state of something, with how many there are of it or what is to be said of it.
struct Tile {
    mark: Mark,
    name: Said,
    count: usize,
    said: Said,
}

/// Incidents that ask for the same attention.
struct Group {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    none: &'static str,
    items: Vec<IncidentItem>,
    count: usize,
}

/// Contracts that are not as they should be and have no Incident.
struct Others {
    items: Vec<ContractItem>,
    count: usize,
}

/// The page.
pub async fn page(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(Asked(query)): Or<Asked<Query>>,
) -> Result<Page<impl Template>, Refusal> {
    let now = desk.now();
    let only = name_in("namespace", &query.namespace)?;
    let only = only.as_ref().map(Name::as_str);
    let contracts = Part::of(desk.scope(&person, "widgetcontracts", only).await)?;
    let incidents = Part::of(desk.scope(&person, "incidents", only).await)?;
    let lately = desk.lately().await?;
    let sight = incidents.seen();
    let standing = contracts.as_ref().map(|scope| standing(&lately.platform(scope, sight)));
    let others = contracts.map(|scope| others(&lately.others(&scope)));
    let groups = incidents.map(|scope| {
        let open = lately.incidents(&scope, &IncidentFilter::default(), None, MOST);
        grouped(&open.items, now)
    });
    let frame = Frame::of("Overview", "overview", &person, now);
    let news = news(&standing);
    Ok(Page(Overview {
        frame,
        namespace: Said::of(&query.namespace),
        standing,
        groups,
        others,
        news,
    }))
}

/// What a screen reader is told when it changes.
fn news(standing: &Part<Standing>) -> String {
    match standing {
        Part::Missing(_) => String::new(),
        Part::Seen(all) => format!(
            "{}: {} for a person, {} broken, {} not as asked for, {} being healed",
            all.mark.word, all.needs, all.broken, all.lessened, all.healing
        ),
    }
}

fn standing(all: &Platform) -> Standing {
    let contracts =
        |health: Health| all.contracts.get(health.as_ref()).copied().unwrap_or_default();
    let incidents = |states: &[IncidentState]| -> usize {
        let known = all.incidents.iter();
        known.flat_map(|all| states.iter().filter_map(|state| all.get(state.as_ref()))).sum()
    };
    let tile = |health: Health| Tile {
        mark: health.into(),
        name: Said::default(),
        count: contracts(health),
        said: Said::default(),
    };
    let part = |part: &platform::Part| Tile {
        mark: part.state.into(),
        name: Said::of(part_name(part)),
        count: 0,
        said: Said::of(&part.message),
    };
    Standing {
        mark: all.state.into(),
        why: all.why.iter().map(Said::of).collect(),
        needs: all.waiting_for_people.unwrap_or_default(),
        knows_incidents: all.incidents.is_some(),
        broken: contracts(Health::Critical),
        lessened: contracts(Health::Degraded) + contracts(Health::Unknown),
        healing: incidents(&[
            IncidentState::Open,
            IncidentState::Remediating,
            IncidentState::Verifying,
        ]),
        health: super::contracts::HEALTHS.map(tile).into(),
        parts: all.parts.iter().map(part).collect(),
    }
}

/// What a part is, and which one where there are several.
fn part_name(part: &platform::Part) -> String {
    let kind = match part.kind {
        PartKind::ApiServer => "API server",
        PartKind::Watches => "Watches",
        PartKind::Lease => "Leader",
        PartKind::Network => "Network",
        PartKind::Dns => "DNS",
        PartKind::OtlpExporter => "Telemetry",
        PartKind::Webhooks => "Webhooks",
        PartKind::Source => "Source",
        PartKind::Workload => "Workload",
        PartKind::AssetHost => "Asset host",
    };
    let named = [&part.namespace, &part.name].into_iter().flatten();
    named.fold(kind.to_owned(), |name, more| format!("{name} {more}"))
}

/// The Incidents in the order in which somebody should look at them.
fn grouped(rows: &[IncidentRow], now: Timestamp) -> Vec<Group> {
    let group = |id, title, about, none, wanted: &dyn Fn(&IncidentRow) -> bool| {
        let all: Vec<&IncidentRow> = rows.iter().filter(|row| wanted(row)).collect();
        let items = all.iter().take(SHOWN).map(|row| IncidentItem::of(row, now)).collect();
        Group { id, title, about, none, items, count: all.len() }
    };
    let is_worked_on = |row: &IncidentRow| {
        let busy = [IncidentState::Open, IncidentState::Remediating, IncidentState::Verifying];
        busy.contains(&row.state)
    };
    vec![
        group(
            "needs",
            "Needs a person",
            "Goes on only when somebody decides or mends.",
            "Nothing waits for a person.",
            &|row| row.waits_for_people,
        ),
        group(
            "healing",
            "Being healed",
            "An attempt is under way, or the next one comes by itself.",
            "Nothing is being healed just now.",
            &|row| !row.waits_for_people && is_worked_on(row),
        ),
        group(
            "held",
            "Held, or waiting for its owner",
            "A good document is served where there is one; nothing is done just now.",
            "Nothing is held.",
            &|row| !row.waits_for_people && !is_worked_on(row),
        ),
    ]
}

/// Contracts that no Incident speaks for: below a threshold, not checked, or of a Warning.
fn others(rows: &[ContractRow]) -> Others {
    Others { items: rows.iter().take(SHOWN).map(ContractItem::of).collect(), count: rows.len() }
}

impl Tile {
    fn is_there(&self) -> bool {
        self.count > 0 || self.mark.tone == Tone::Good
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn platform(contracts: &[(&str, usize)], incidents: &[(&str, usize)]) -> Platform {
        let counts = |all: &[(&str, usize)]| {
            all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>()
        };
        Platform {
            state: platform::State::Critical,
            why: vec![],
            contracts: counts(contracts),
            incidents: Some(counts(incidents)),
            waiting_for_people: Some(1),
            parts: vec![],
        }
    }

    #[test]
    fn what_is_broken_and_what_is_healed_is_counted_from_the_states() {
        let contracts =
            [("Critical", 1), ("Degraded", 2), ("Unknown", 4), ("Healthy", 8), ("Pending", 16)];
        let incidents = [("Open", 1), ("Verifying", 2), ("Held", 4), ("Mitigated", 8)];
        let all = standing(&platform(&contracts, &incidents));
        assert_eq!((all.needs, all.broken, all.lessened, all.healing), (1, 1, 6, 3));
        let shown: Vec<_> = all.health.iter().filter(|tile| tile.is_there()).collect();
        let words: Vec<_> = shown.iter().map(|tile| (&*tile.mark.word, tile.count)).collect();
        let expected =
            [("Critical", 1), ("Degraded", 2), ("Unknown", 4), ("Healthy", 8), ("Pending", 16)];
        assert_eq!(words, expected);
    }
}
