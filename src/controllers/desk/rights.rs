//! May they do that? The API server says (`SubjectAccessReview`), as of whoever asks with `kubectl`.
//!
//! What may be seen is remembered for a few seconds, since a page is many questions; what is done is
//! asked about each time.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};
use moka::sync::Cache;

use super::{Desk, Person, Refused, turns::For};
use crate::controllers::Key;

const REMEMBERED: Duration = Duration::from_secs(5);
const MOST: u64 = 10_000;
/// Most namespaces that are asked about one by one, for somebody who may not see all of them.
pub(super) const MOST_NAMESPACES: usize = 200;
/// How many of them at the same time.
const AT_A_TIME: usize = 8;

/// Our API group.
pub const OURS: &str = "kintsugi.dev";

/// What somebody would do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The verb, as in a Role.
    pub verb: &'static str,
    /// The API group, [`OURS`] or the core one, which has no name.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The namespace; all of them by default.
    pub namespace: Option<Arc<str>>,
    /// The object; all of them by default.
    pub name: Option<Arc<str>>,
}

/// Who would do what.
pub type Question = (Arc<Person>, Ask);

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Something is done by it.
    Now,
    /// Something is shown by it: a few seconds old will do.
    Lately,
}

/// The namespaces of which somebody may see something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// These.
    Only(BTreeSet<Arc<str>>),
}

impl Scope {
    /// Is `namespace` one of them?
    #[must_use]
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(namespace),
        }
    }
}

impl Ask {
    /// To do `verb` to that very object of ours.
    #[must_use]
    pub fn of(verb: &'static str, resource: &'static str, key: &Key) -> Self {
        Self {
            verb,
            group: OURS,
            resource,
            namespace: Some(Arc::clone(&key.namespace)),
            name: Some(Arc::clone(&key.name)),
        }
    }

    /// To list what there is of a resource of ours in a namespace, or in all.
    pub(super) fn list(resource: &'static str, namespace: Option<&Arc<str>>) -> Self {
        Self { verb: "list", group: OURS, resource, namespace: namespace.cloned(), name: None }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => write!(f, " in all namespaces"),
        }
    }
}

pub(super) fn memory() -> Cache<Question, bool> {
    Cache::builder().max_capacity(MOST).time_to_live(REMEMBERED).build()
}

impl Desk {
    /// Sees to it that `person` may see what `ask` says.
    ///
    /// # Errors
    /// [`Refused::Forbidden`], by the right that is missing.
    pub async fn shows(&self, person: &Arc<Person>, ask: Ask) -> Result<(), Refused> {
        self.may_act(person, ask, AsOf::Lately).await
    }

    /// Sees to it that `person` may do what `ask` says.
    ///
    /// # Errors
    /// [`Refused::Forbidden`], by the right that is missing.
    pub(super) async fn may_act(
        &self,
        person: &Arc<Person>,
        ask: Ask,
        as_of: AsOf,
    ) -> Result<(), Refused> {
        let may = match as_of {
            AsOf::Now => self.may(person, &ask).await?,
            AsOf::Lately => self.may_see(person, &ask).await?,
        };
        if may { Ok(()) } else { Err(forbidden(person, &ask)) }
    }

    /// The namespaces of which `person` may list `resource`: the one that they name, or of those in
    /// which there is anything at all.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] where there is none.
    pub async fn scope(
        &self,
        person: &Arc<Person>,
        resource: &'static str,
        namespace: Option<&str>,
    ) -> Result<Scope, Refused> {
        if let Some(namespace) = namespace {
            let namespace: Arc<str> = namespace.into();
            self.shows(person, Ask::list(resource, Some(&namespace))).await?;
            if !self.ctx()?.config.watches(&namespace) {
                return Err(Refused::NotFound(format!("the operator does not watch {namespace}")));
            }
            return Ok(Scope::Only([namespace].into()));
        }
        let known = self.known_namespaces()?;
        self.scope_among(person, resource, known).await
    }

    /// The namespaces that somebody who names none is asked about: those in which there is anything, and
    /// those of the flag. Others there may be, but to list namespaces is a right that the operator has not.
    pub(super) fn known_namespaces(&self) -> Result<BTreeSet<Arc<str>>, Refused> {
        let ctx = self.ctx()?;
        let mut known = ctx.index.namespaces();
        known.extend(ctx.policies.namespaces());
        known.extend(ctx.config.namespaces.iter().map(|name| name.as_str().into()));
        Ok(known)
    }

    /// The namespaces of which `person` may list `resource`: all, or of these.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] where there is none.
    pub(super) async fn scope_among(
        &self,
        person: &Arc<Person>,
        resource: &'static str,
        known: BTreeSet<Arc<str>>,
    ) -> Result<Scope, Refused> {
        let all = Ask::list(resource, None);
        if self.may_see(person, &all).await? {
            return Ok(Scope::All);
        }
        let refused = |why: &str| Refused::Forbidden(format!("{} may not {all}{why}", person.name));
        if known.len() > MOST_NAMESPACES {
            return Err(refused(&format!(
                "; name a namespace by ?namespace=NAME, for there are more than {MOST_NAMESPACES} to ask about"
            )));
        }
        let asked = stream::iter(known).map(|namespace| async {
            let may = self.may_see(person, &Ask::list(resource, Some(&namespace))).await?;
            Ok::<_, Refused>(may.then_some(namespace))
        });
        let some: Vec<Option<Arc<str>>> = asked.buffered(AT_A_TIME).try_collect().await?;
        let some: BTreeSet<Arc<str>> = some.into_iter().flatten().collect();
        if some.is_empty() {
            let why =
                ", nor in any that is known to hold something; ?namespace=NAME asks about one";
            return Err(refused(why));
        }
        Ok(Scope::Only(some))
    }

    pub(super) async fn may_see(&self, person: &Arc<Person>, ask: &Ask) -> Result<bool, Refused> {
        let question = (Arc::clone(person), ask.clone());
        if let Some(known) = self.rights.get(&question) {
            return Ok(known);
        }
        let may = self.may(person, ask).await?;
        self.rights.insert(question, may);
        Ok(may)
    }

    /// May `person` do it, as of now?
    async fn may(&self, person: &Person, ask: &Ask) -> Result<bool, Refused> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(person.name.clone()),
                uid: person.uid.clone(),
                groups: Some(person.groups.clone()),
                extra: Some(person.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(ask.group.to_owned()),
                    resource: Some(ask.resource.to_owned()),
                    verb: Some(ask.verb.to_owned()),
                    namespace: ask.namespace.as_deref().map(str::to_owned),
                    name: ask.name.as_deref().map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let asked = reviews.create(&params, &review);
        let asked = self.ask(For::Person(person), "asking for somebody's rights", asked);
        let status = asked.await?.status;
        Ok(status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }
}

fn forbidden(person: &Person, ask: &Ask) -> Refused {
    Refused::Forbidden(format!("{} may not {ask}", person.name))
}
