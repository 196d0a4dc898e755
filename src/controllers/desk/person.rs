//! Whose token is this? The API server says (`TokenReview`), and only for tokens that are meant for us:
//! one for another audience could have been passed on by whoever runs that one.
//!
//! A token is never kept: what is remembered for a while is its digest and whose it is.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, api::PostParams};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Desk, Refused, turns::For};

/// How long the API server's word on a token is taken: so long a token that was revoked still works.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Most tokens that are remembered.
const MOST: u64 = 1_000;
/// The longest token that is asked about, in bytes: those of Kubernetes have about one KiB.
const LONGEST: usize = 16 * 1024;

const NOBODY: Refused = Refused::Unknown(
    "the token is not accepted: it has expired, is for another audience, or is none",
);

/// The digest of a token.
pub type Fingerprint = [u8; 32];

/// Somebody, as the API server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Person {
    /// The name, such as `ann@example.com` or `system:serviceaccount:shop:ci`.
    pub name: String,
    /// The UID, where there is one.
    pub uid: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// What else an authorizer may want to know.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// How many tokens that nobody knows one address may show in a minute: each is a question to the API
/// server. What is in front of the operator, such as an Ingress, is one address.
const MOST_STRANGE: u32 = 30;
/// How long after its last use a token is known to have been good once.
const ACQUAINTED: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const MOST_ADDRESSES: u64 = 10_000;

pub(super) fn strangers() -> Cache<IpAddr, Arc<AtomicU32>> {
    Cache::builder().max_capacity(MOST_ADDRESSES).time_to_live(MINUTE).build()
}

/// Those whose token was good not long ago.
pub(super) fn acquaintances() -> Cache<Fingerprint, ()> {
    Cache::builder().max_capacity(MOST).time_to_idle(ACQUAINTED).build()
}

pub(super) fn memory<T: Clone + Send + Sync + 'static>() -> Cache<Fingerprint, T> {
    Cache::builder().max_capacity(MOST).time_to_live(REMEMBERED).build()
}

impl Desk {
    /// Whose token this is, which came from an address.
    ///
    /// # Errors
    /// [`Refused::Unknown`] where the API server does not accept it for our audience, and
    /// [`Refused::TooMany`] where too many such tokens came from there.
    pub async fn person(&self, token: &str, from: IpAddr) -> Result<Arc<Person>, Refused> {
        if token.is_empty() || token.len() > LONGEST || !token.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(NOBODY);
        }
        let fingerprint: Fingerprint = Sha256::digest(token).into();
        if let Some(known) = self.people.get(&fingerprint) {
            return Ok(known);
        }
        if self.nobodies.contains_key(&fingerprint) {
            return Err(NOBODY);
        }
        let strange = self.strangers.get_with(from, Arc::default);
        // Whose token was good a while ago is no stranger, whoever else comes from the same address.
        let is_strange = !self.acquainted.contains_key(&fingerprint);
        if is_strange && strange.load(Ordering::Relaxed) >= MOST_STRANGE {
            let why = "too many tokens that are not accepted; wait a minute";
            return Err(Refused::TooMany { why, after: MINUTE });
        }
        let asked = self.review(token, from).await;
        if matches!(asked, Err(Refused::Unknown(_))) {
            strange.fetch_add(1, Ordering::Relaxed);
            self.nobodies.insert(fingerprint, ());
        }
        let person = Arc::new(asked?);
        self.acquainted.insert(fingerprint, ());
        self.people.insert(fingerprint, Arc::clone(&person));
        Ok(person)
    }

    /// Whoever shows nothing at all, where that is allowed: to Kubernetes they are somebody, too.
    #[must_use]
    pub fn anybody(&self) -> Option<Arc<Person>> {
        self.anonymous.then(|| {
            Arc::new(Person {
                name: "system:anonymous".to_owned(),
                groups: vec!["system:unauthenticated".to_owned()],
                ..Person::default()
            })
        })
    }

    async fn review(&self, token: &str, from: IpAddr) -> Result<Person, Refused> {
        let audience = (!self.audience.is_empty()).then(|| self.audience.clone());
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: audience.clone().map(|audience| vec![audience]),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let asked = reviews.create(&params, &review);
        let asked = self.ask(For::Address(from), "asking whose token this is", asked);
        let status = asked.await?.status.unwrap_or_default();
        // An authenticator that knows nothing of audiences answers without one: that is no yes.
        let is_for_us = audience.is_none_or(|audience| {
            status.audiences.as_ref().is_some_and(|meant| meant.contains(&audience))
        });
        let user = status.user.filter(|_| status.authenticated == Some(true) && is_for_us);
        let Some((user, name)) = user.and_then(|mut user| {
            let name = user.username.take()?;
            (!name.is_empty()).then_some((user, name))
        }) else {
            return Err(NOBODY);
        };
        Ok(Person {
            name,
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        })
    }
}
