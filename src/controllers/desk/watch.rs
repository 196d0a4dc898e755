//! What happens, as it happens: of the namespaces whose Incidents a person may list, for as long as they
//! may.

use std::{sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use super::{Desk, Person, Refused, rights::Scope, shares::Share};
use crate::{
    controllers::live::{News, Place},
    metrics::Metrics,
};

/// When to ask again for room to follow.
const LATER: Duration = Duration::from_secs(30);

/// What a person follows.
#[derive(Debug)]
pub struct Watching {
    place: Place,
    scope: Scope,
    namespace: Option<String>,
    _seat: Seat,
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
        let scope = self.scope(person, "incidents", namespace).await?;
        let place = self.ctx()?.live.place(last);
        let seat = self.seat(person)?;
        let namespace = namespace.map(str::to_owned);
        Ok(Watching { place, scope, namespace, _seat: seat })
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
    /// What comes next. Nothing is lost when it is asked again without having been waited for.
    pub async fn next(&mut self) -> News {
        let scope = &self.scope;
        self.place.next(|namespace| scope.has(namespace)).await
    }

    /// Looks anew at what `person` may see.
    ///
    /// # Errors
    /// As of [`Desk::watch`]; then nothing more is to be shown.
    pub async fn look_again(&mut self, desk: &Desk, person: &Arc<Person>) -> Result<(), Refused> {
        self.scope = desk.scope(person, "incidents", self.namespace.as_deref()).await?;
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
