//! What happens, as it happens: of the namespaces whose Incidents a person may list, for as long as they
//! may.

use std::{sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use super::{Desk, Person, Refused, rights::Scope};
use crate::controllers::live::{News, Place};

/// What a person follows.
#[derive(Debug)]
pub struct Watching {
    place: Place,
    scope: Scope,
    namespace: Option<String>,
    _one_of: OwnedSemaphorePermit,
}

impl Desk {
    /// What happens from now on, or after what somebody has seen whose id is `last`: all that `person` may
    /// see of it.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] where that is nothing, and [`Refused::Unavailable`] where too many follow
    /// already or this replica does not lead.
    pub async fn watch(
        &self,
        person: &Arc<Person>,
        namespace: Option<&str>,
        last: Option<&str>,
    ) -> Result<Watching, Refused> {
        let scope = self.scope(person, "incidents", namespace).await?;
        let place = self.ctx()?.live.place(last);
        let one_of = Arc::clone(&self.streams).try_acquire_owned();
        let one_of = one_of.map_err(|_| Refused::Unavailable {
            why: "as many follow what happens as --dashboard-streams allows".to_owned(),
            after: Duration::from_secs(30),
        })?;
        let namespace = namespace.map(str::to_owned);
        Ok(Watching { place, scope, namespace, _one_of: one_of })
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
