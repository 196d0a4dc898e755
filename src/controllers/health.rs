//! What the operator says of itself to those who ask whether it is ready.
//!
//! Knows: the election, whether every first list is in, and whether the API server and the watches have
//! failed lately. Must not know: who asks.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::decide::platform::{Part, PartKind, State};

/// A failure is news for so long.
const LATELY: Duration = Duration::from_secs(90);
/// So many of them in a row are no accident.
const MANY: usize = 3;

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

/// What the operator says of itself.
#[derive(Debug, Default)]
pub struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    election: Election,
    listed: bool,
    /// When requests to the API server got no usable answer, since the last that did.
    unanswered: VecDeque<Instant>,
    /// When watches broke.
    broken: VecDeque<Instant>,
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

    /// The API server gave an answer, or none that can be used.
    pub fn api_server(&self, answered: bool) {
        let mut known = self.lock();
        if answered {
            known.unanswered.clear();
        } else {
            note(&mut known.unanswered, Instant::now());
        }
    }

    /// A watch broke. One that is opened again says nothing of it until something happens, so only
    /// time tells that all is well.
    pub fn watch_broke(&self) {
        note(&mut self.lock().broken, Instant::now());
    }

    /// What nothing can be done without.
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
        let watches = match lately(&known.broken, now) {
            0 => (State::Healthy, "every watch is open"),
            1..MANY => (State::Degraded, "a watch broke lately, and was opened again"),
            _ => (State::Critical, "watches break one after the other"),
        };
        let all = [
            (PartKind::ApiServer, api_server),
            (PartKind::Watches, watches),
            (PartKind::Lease, lease),
        ];
        all.map(|(kind, (state, message))| Part { kind, state, message: message.to_owned() }).into()
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
    fn a_watch_that_broke_is_news_for_a_while() {
        let now = Instant::now();
        let mut broken = VecDeque::new();
        for nth in 0..5 {
            note(&mut broken, now + Duration::from_secs(nth));
        }
        let after = |seconds| lately(&broken, now + Duration::from_secs(seconds));
        assert_eq!((after(5), after(93), after(95)), (MANY, 1, 0));
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
