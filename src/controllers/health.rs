//! What the operator says of itself to those who ask whether it is ready.
//!
//! Knows: the election, whether every first list is in, and whether the API server, each watch and the
//! collector have failed lately. Must not know: who asks.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::decide::platform::{Part, PartKind, State};

/// A failure of a request is news for so long.
const LATELY: Duration = Duration::from_secs(90);
/// So many of them in a row are no accident.
const MANY: usize = 3;
/// A watch that fails for so long does not break because the API server is started anew.
const LONG: Duration = Duration::from_secs(60);
/// The longest pause of a watch that broke, before it is opened again: 30 seconds and as much by chance.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How the last round of the election ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Election {
    /// There was none yet.
    #[default]
    Starting,
    /// The API server did not answer, or refused.
    Failed,
    /// Another replica leads.
    Follows,
    /// This one does.
    Leads,
}

/// What is sent to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Spans.
    Spans,
    /// Metrics.
    Metrics,
    /// Lines of the log.
    Logs,
}

/// What the operator says of itself.
#[derive(Debug, Default)]
pub struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    election: Election,
    listed: bool,
    /// Where the replica that leads is reached, when that is another one.
    leader_at: Option<SocketAddr>,
    /// When requests to the API server got no usable answer, since the last that did.
    unanswered: VecDeque<Instant>,
    /// The watches that there are.
    watches: BTreeMap<u64, Watched>,
    /// The number of the next one.
    next: u64,
    /// What the collector did not take; None without a collector.
    unsent: Option<Unsent>,
}

#[derive(Debug, Default)]
struct Unsent {
    /// When spans could not be sent, since the last that could: they are sent only when something
    /// happens, so after a while nobody knows any more.
    spans: VecDeque<Instant>,
    /// The same of lines of the log.
    logs: VecDeque<Instant>,
    /// How often in a row metrics, which are sent all the time, could not.
    metrics: usize,
}

#[derive(Debug)]
struct Watched {
    kind: String,
    /// After so long without an error it has been opened again.
    patience: Duration,
    failing: Option<Failing>,
}

/// Errors of one watch without a sign between them that it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failing {
    since: Instant,
    last: Instant,
    errors: usize,
}

impl Failing {
    /// After one more error.
    fn after(known: Option<Self>, patience: Duration, now: Instant) -> Self {
        match known {
            Some(known) if now.duration_since(known.last) < patience => {
                Self { last: now, errors: known.errors.saturating_add(1), ..known }
            }
            _ => Self { since: now, last: now, errors: 1 },
        }
    }

    /// A watch that was opened again says nothing of it until something happens: that it has said
    /// nothing worse for longer than until its next error tells that all is well.
    fn state(self, patience: Duration, now: Instant) -> State {
        if now.duration_since(self.last) >= patience {
            State::Healthy
        } else if self.errors >= MANY && self.last.duration_since(self.since) >= LONG {
            State::Critical
        } else {
            State::Degraded
        }
    }
}

/// A watch, for as long as there is one.
#[derive(Debug)]
pub struct Watch {
    health: Arc<Health>,
    number: u64,
}

impl Watch {
    /// It broke, or could not be opened.
    pub fn broke(&self) {
        self.note(true);
    }

    /// It brought something that a list or a watch brings which is answered.
    pub fn works(&self) {
        self.note(false);
    }

    fn note(&self, broke: bool) {
        let mut known = self.health.lock();
        if let Some(Watched { patience, failing, .. }) = known.watches.get_mut(&self.number) {
            *failing = broke.then(|| Failing::after(*failing, *patience, Instant::now()));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.health.lock().watches.remove(&self.number);
    }
}

impl Health {
    /// Whether every first list is in, while this replica leads.
    pub fn listed(&self, listed: bool) {
        self.lock().listed = listed;
    }

    /// How a round of the election ended.
    pub fn election(&self, election: Election) {
        self.lock().election = election;
    }

    /// Where the replica that leads is reached; None where it is this one, or is not known.
    pub fn leader_at(&self, at: Option<SocketAddr>) {
        self.lock().leader_at = at;
    }

    /// The same.
    pub fn leader_elsewhere(&self) -> Option<SocketAddr> {
        self.lock().leader_at
    }

    /// The API server gave an answer, or none that can be used.
    pub fn api_server(&self, answered: bool) {
        let mut known = self.lock();
        if answered {
            known.unanswered.clear();
        } else {
            note(&mut known.unanswered, Instant::now());
        }
    }

    /// There is a watch of this kind; what it asks is given up after `timeout`.
    pub fn watch(self: &Arc<Self>, kind: &str, timeout: Duration) -> Watch {
        let mut known = self.lock();
        let number = known.next;
        known.next += 1;
        let patience = LONGEST_PAUSE + timeout;
        known.watches.insert(number, Watched { kind: kind.to_owned(), patience, failing: None });
        drop(known);
        Watch { health: Arc::clone(self), number }
    }

    /// There is a collector.
    pub fn exports(&self) {
        self.lock().unsent.get_or_insert_default();
    }

    /// The collector took something, or did not.
    pub fn exported(&self, what: Export, sent: bool) {
        let mut known = self.lock();
        let Some(unsent) = &mut known.unsent else { return };
        match (what, sent) {
            (Export::Spans, true) => unsent.spans.clear(),
            (Export::Spans, false) => note(&mut unsent.spans, Instant::now()),
            (Export::Logs, true) => unsent.logs.clear(),
            (Export::Logs, false) => note(&mut unsent.logs, Instant::now()),
            (Export::Metrics, true) => unsent.metrics = 0,
            (Export::Metrics, false) => unsent.metrics = unsent.metrics.saturating_add(1),
        }
    }

    /// What nothing can be done without, and the collector where there is one.
    pub fn parts(&self) -> Vec<Part> {
        let known = self.lock();
        let now = Instant::now();
        let lease = match (known.election, known.listed) {
            (Election::Failed, _) => (State::Critical, "the lease cannot be claimed or renewed"),
            (Election::Starting, _) => (State::Recovering, "it is not known yet who leads"),
            (Election::Leads, false) => (State::Recovering, "the first lists are not in yet"),
            (Election::Follows | Election::Leads, _) => (State::Healthy, "somebody leads"),
        };
        let api_server = match lately(&known.unanswered, now) {
            0 => (State::Healthy, "the API server answers"),
            1..MANY => (State::Degraded, "the API server has not answered a request"),
            _ => (State::Critical, "the API server does not answer"),
        };
        let part = |kind, (state, message): (State, &str)| Part::fixed(kind, state, message);
        let exporter = known.unsent.as_ref().map(|unsent| {
            let (state, message) = exporter(unsent, now);
            Part::fixed(PartKind::OtlpExporter, state, message)
        });
        let (state, message) = watches(known.watches.values(), now);
        let all = [
            part(PartKind::ApiServer, api_server),
            Part::fixed(PartKind::Watches, state, message),
            part(PartKind::Lease, lease),
        ];
        all.into_iter().chain(exporter).collect()
    }

    /// Why it is ready.
    ///
    /// # Errors
    /// Why it is not.
    pub fn ready(&self) -> Result<&'static str, &'static str> {
        let Known { election, listed, .. } = *self.lock();
        match (election, listed) {
            (Election::Starting, _) => Err("starting"),
            (Election::Failed, _) => Err("the lease cannot be claimed or renewed; see the log"),
            (Election::Follows, _) => Ok("standing by: another replica leads"),
            (Election::Leads, false) => Err("leading: the first lists are not in yet"),
            (Election::Leads, true) => Ok("leading: every list is in"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worst of them, without the namespace that it is of: not everybody who asks may know it.
fn watches<'a>(all: impl Iterator<Item = &'a Watched>, now: Instant) -> (State, String) {
    let failing = all.filter_map(|watch| Some((watch.failing?.state(watch.patience, now), watch)));
    match failing.max_by_key(|(state, _)| *state) {
        Some((State::Critical, watch)) => {
            (State::Critical, format!("the watch of {} fails again and again", watch.kind))
        }
        Some((State::Degraded, watch)) => {
            (State::Degraded, format!("the watch of {} broke lately", watch.kind))
        }
        _ => (State::Healthy, "every watch is open".to_owned()),
    }
}

/// What is to be said of the collector that did not take all of it.
fn exporter(unsent: &Unsent, now: Instant) -> (State, String) {
    let all = [
        ("spans", lately(&unsent.spans, now)),
        ("metrics", unsent.metrics),
        ("logs", lately(&unsent.logs, now)),
    ];
    let failing: Vec<&str> =
        all.iter().filter(|(_, many)| *many > 0).map(|(what, _)| *what).collect();
    let state = match all.iter().map(|(_, many)| *many).max().unwrap_or_default() {
        0 => return (State::Healthy, "the collector takes what is sent to it".to_owned()),
        1..MANY => State::Degraded,
        _ => State::Critical,
    };
    (state, format!("could not be sent to the collector: {}", failing.join(", ")))
}

fn note(times: &mut VecDeque<Instant>, now: Instant) {
    times.push_back(now);
    if times.len() > MANY {
        times.pop_front();
    }
}

fn lately(times: &VecDeque<Instant>, now: Instant) -> usize {
    times.iter().filter(|at| now.duration_since(**at) < LATELY).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(health: &Health, kind: PartKind) -> State {
        health.parts().into_iter().find(|part| part.kind == kind).unwrap().state
    }

    #[test]
    fn failures_in_a_row_make_the_api_server_critical_and_an_answer_makes_it_healthy() {
        use State::{Critical, Degraded, Healthy};
        let health = Health::default();
        let mut seen = Vec::new();
        for answered in [true, false, false, false, true] {
            health.api_server(answered);
            seen.push(state(&health, PartKind::ApiServer));
        }
        assert_eq!(seen, [Healthy, Degraded, Degraded, Critical, Healthy]);
    }

    #[test]
    fn a_collector_that_takes_nothing_is_told_of_and_none_that_is_not_there() {
        use State::{Critical, Degraded, Healthy};
        let health = Health::default();
        health.exported(Export::Metrics, false);
        assert!(health.parts().iter().all(|part| part.kind != PartKind::OtlpExporter));
        health.exports();
        let mut seen = vec![state(&health, PartKind::OtlpExporter)];
        for (what, sent) in [
            (Export::Metrics, false),
            (Export::Spans, true),
            (Export::Metrics, false),
            (Export::Metrics, false),
            (Export::Metrics, true),
            (Export::Spans, false),
            (Export::Logs, false),
            (Export::Spans, true),
            (Export::Logs, true),
        ] {
            health.exported(what, sent);
            seen.push(state(&health, PartKind::OtlpExporter));
        }
        let one = [Degraded; 3];
        assert_eq!(seen[..5], [Healthy, Degraded, Degraded, Degraded, Critical]);
        assert_eq!((seen[5], &seen[6..9], seen[9]), (Healthy, &one[..], Healthy));
    }

    #[test]
    fn a_failed_request_is_news_for_a_while() {
        let now = Instant::now();
        let mut failed = VecDeque::new();
        for nth in 0..5 {
            note(&mut failed, now + Duration::from_secs(nth));
        }
        let after = |seconds| lately(&failed, now + Duration::from_secs(seconds));
        assert_eq!((after(5), after(93), after(95)), (MANY, 1, 0));
    }

    #[test]
    fn a_watch_is_critical_when_it_alone_goes_on_failing_and_healthy_when_it_is_quiet() {
        use State::{Critical, Degraded, Healthy};
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        let patience = Duration::from_secs(120);
        let cases: [(&str, &[u64], u64, State); 8] = [
            ("one connection is dropped", &[0], 0, Degraded),
            ("it is opened again and says nothing", &[0], 120, Healthy),
            ("the API server is started anew", &[0, 1, 3, 7, 15, 31], 31, Degraded),
            ("and is there again", &[0, 1, 3, 7, 15, 31], 151, Healthy),
            ("it is refused for long", &[0, 1, 3, 7, 15, 31, 61], 61, Critical),
            ("two in a long time are few", &[0, 100], 100, Degraded),
            ("it was open in between", &[0, 1, 2, 130, 131], 131, Degraded),
            (
                "which goes on from the first error after that",
                &[0, 1, 130, 131, 190],
                190,
                Critical,
            ),
        ];
        for (what, errors, now, expected) in cases {
            let failing = errors
                .iter()
                .fold(None, |known, second| Some(Failing::after(known, patience, at(*second))));
            assert_eq!(failing.unwrap().state(patience, at(now)), expected, "{what}");
        }
    }

    #[test]
    fn a_dropped_connection_breaks_all_watches_at_once_and_is_not_critical() {
        let health = Arc::new(Health::default());
        let kinds = ["ConfigMap", "ConfigMap", "WidgetClass", "RemediationPolicy", "Incident"];
        let all = kinds.map(|kind| health.watch(kind, Duration::from_secs(60)));
        assert_eq!(state(&health, PartKind::Watches), State::Healthy);
        all.iter().for_each(Watch::broke);
        assert_eq!(state(&health, PartKind::Watches), State::Degraded);
        all.iter().skip(1).for_each(Watch::works);
        assert_eq!(state(&health, PartKind::Watches), State::Degraded, "one is still not heard of");
        all[0].works();
        assert_eq!(state(&health, PartKind::Watches), State::Healthy);
        all[0].broke();
        drop(all);
        assert_eq!(state(&health, PartKind::Watches), State::Healthy, "there is none");
    }

    #[test]
    fn it_is_ready_when_another_leads_or_when_it_leads_with_every_list_in() {
        let cases = [
            (Election::Starting, false, false),
            (Election::Failed, false, false),
            (Election::Failed, true, false),
            (Election::Follows, false, true),
            (Election::Leads, false, false),
            (Election::Leads, true, true),
        ];
        for (election, listed, is_ready) in cases {
            let health = Health::default();
            health.election(election);
            health.listed(listed);
            assert_eq!(health.ready().is_ok(), is_ready, "{election:?} {listed}");
        }
    }
}
