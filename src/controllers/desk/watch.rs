//! What happens, as it happens: of the namespaces whose Incidents a person may list, for as long as they
//! may.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Ask, Desk, Person, Refused,
    rights::{MOST_NAMESPACES, Scope},
    shares::Share,
};
use crate::{
    controllers::live::{News, Place, Said},
    metrics::Metrics,
};

/// When to ask again for room to follow.
const LATER: Duration = Duration::from_secs(30);

/// What a right to follow is asked about.
const INCIDENTS: &str = "incidents";

/// What a person follows.
#[derive(Debug)]
pub struct Watching {
    place: Place,
    sight: Sight,
    /// What happened where nobody has asked yet whether they may see it.
    unjudged: Option<Arc<Said>>,
    _seat: Seat,
}

/// What they may see, as of when it was asked.
#[derive(Debug)]
struct Sight {
    scope: Scope,
    /// The namespaces that were asked about. What happens in another one is not passed over: it may have
    /// had nothing in it then.
    judged: BTreeSet<Arc<str>>,
    /// The only one, where they name one.
    namespace: Option<String>,
}

impl Sight {
    /// Of these namespaces, or of the only one.
    async fn of(
        desk: &Desk,
        person: &Arc<Person>,
        namespace: Option<String>,
        known: BTreeSet<Arc<str>>,
    ) -> Result<Self, Refused> {
        let scope = match &namespace {
            Some(_) => desk.scope(person, INCIDENTS, namespace.as_deref()).await?,
            None => desk.scope_among(person, INCIDENTS, known.clone()).await?,
        };
        Ok(Self { scope, judged: known, namespace })
    }

    /// Is it known whether they may see what is in it?
    fn judges(&self, namespace: &str) -> bool {
        self.namespace.is_some() || self.scope.has(namespace) || self.judged.contains(namespace)
    }

    /// They may see what is in it, or not.
    fn judge(&mut self, namespace: &Arc<str>, may: bool) {
        self.judged.insert(Arc::clone(namespace));
        if let Scope::Only(some) = &mut self.scope
            && may
        {
            some.insert(Arc::clone(namespace));
        }
    }

    /// The namespaces to ask about anew: what is known by now, and what they saw before, which may hold
    /// nothing at the moment. Who may still look into it is not sent away for that.
    fn known(&self, mut by_now: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        if let Scope::Only(some) = &self.scope {
            let room = MOST_NAMESPACES.saturating_sub(by_now.len());
            by_now.extend(some.iter().take(room).cloned());
        }
        by_now
    }
}

/// One stream of all that may be open, counted until it is dropped.
#[derive(Debug)]
struct Seat {
    metrics: Arc<Metrics>,
    _own: Share<String>,
    _one: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.follows_no_more();
    }
}

impl Desk {
    /// What happens from now on, or after what somebody has seen whose id is `last`: all that `person` may
    /// see of it.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] where that is nothing, [`Refused::TooMany`] where they follow by as many streams as
    /// they may, and [`Refused::Unavailable`] where all together do or this replica does not lead.
    pub async fn watch(
        &self,
        person: &Arc<Person>,
        namespace: Option<&str>,
        last: Option<&str>,
    ) -> Result<Watching, Refused> {
        let known = self.known_namespaces()?;
        let sight = Sight::of(self, person, namespace.map(str::to_owned), known).await?;
        let place = self.ctx()?.live.place(last);
        let seat = self.seat(person)?;
        Ok(Watching { place, sight, unjudged: None, _seat: seat })
    }

    fn seat(&self, person: &Person) -> Result<Seat, Refused> {
        let why = "you follow what happens by as many streams as one person may have open \
                   (--dashboard-streams-per-person)";
        let too_many = || Refused::TooMany { why, after: LATER };
        let own = self.followers.take_now(person.name.clone()).ok_or_else(too_many)?;
        let one = Arc::clone(&self.streams).try_acquire_owned();
        let one = one.map_err(|_| Refused::Unavailable {
            why: "as many follow what happens as --dashboard-streams allows".to_owned(),
            after: LATER,
        })?;
        self.metrics.follows();
        Ok(Seat { metrics: Arc::clone(&self.metrics), _own: own, _one: one })
    }
}

impl Watching {
    /// What comes next; None where [`Self::judge`] has to say first whether it may be seen. Nothing is lost
    /// when it is asked again without having been waited for.
    pub async fn next(&mut self) -> Option<News> {
        if self.unjudged.is_some() {
            return None;
        }
        let sight = &self.sight;
        let is_wanted = |namespace: &str| sight.scope.has(namespace) || !sight.judges(namespace);
        match self.place.next(is_wanted).await {
            News::Said(said) if !sight.judges(&said.namespace) => {
                self.unjudged = Some(said);
                None
            }
            news => Some(news),
        }
    }

    /// Asks whether `person` may see what happened where nobody has asked yet, and returns it if so.
    ///
    /// # Errors
    /// As of [`Desk::watch`]; then nothing more is to be shown.
    pub async fn judge(
        &mut self,
        desk: &Desk,
        person: &Arc<Person>,
    ) -> Result<Option<News>, Refused> {
        let Some(said) = self.unjudged.clone() else { return Ok(None) };
        let ask = Ask::list(INCIDENTS, Some(&said.namespace));
        let may = desk.may_see(person, &ask).await?;
        self.sight.judge(&said.namespace, may);
        self.unjudged = None;
        Ok(may.then_some(News::Said(said)))
    }

    /// Looks anew at what `person` may see.
    ///
    /// # Errors
    /// As of [`Desk::watch`]; then nothing more is to be shown.
    pub async fn look_again(&mut self, desk: &Desk, person: &Arc<Person>) -> Result<(), Refused> {
        let known = self.sight.known(desk.known_namespaces()?);
        self.sight = Sight::of(desk, person, self.sight.namespace.clone(), known).await?;
        Ok(())
    }

    /// The id of what was seen last.
    #[must_use]
    pub fn id(&self) -> String {
        self.place.id()
    }

    /// Ends when nothing more happens here.
    pub async fn ended(&self) {
        self.place.ended().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn sight(namespace: Option<&str>) -> Sight {
        let scope = Scope::Only(names(&["shop"]));
        let namespace = namespace.map(str::to_owned);
        Sight { scope, judged: names(&["news", "shop"]), namespace }
    }

    #[test]
    fn what_happens_in_a_namespace_that_nobody_asked_about_is_not_passed_over() {
        let mut sight = sight(None);
        let judged = |sight: &Sight| ["shop", "news", "later"].map(|name| sight.judges(name));
        assert_eq!(judged(&sight), [true, true, false]);
        sight.judge(&"later".into(), true);
        assert_eq!(judged(&sight), [true; 3]);
        assert!(sight.scope.has("later") && !sight.scope.has("news"));
        sight.judge(&"never".into(), false);
        assert!(sight.judges("never") && !sight.scope.has("never"));
    }

    #[test]
    fn whoever_names_one_namespace_is_asked_about_no_other() {
        assert!(sight(Some("shop")).judges("later"));
    }

    #[test]
    fn a_namespace_that_holds_nothing_any_more_is_asked_about_as_before() {
        assert_eq!(sight(None).known(names(&["news"])), names(&["news", "shop"]));
        assert_eq!(sight(None).known(names(&[])), names(&["shop"]));
    }
}
