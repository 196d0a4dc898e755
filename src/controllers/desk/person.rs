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

const ASKING: &str = "asking whose token this is";

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
        if let Some(known) = self.known(&fingerprint, from) {
            return known;
        }
        let _turn = self.turn(For::Address(from), ASKING).await?;
        // Those who had their turn before may have shown what is enough. Each is counted before the next one
        // has the turn: so no more are asked about than may be and have a turn at the same time.
        if let Some(known) = self.known(&fingerprint, from) {
            return known;
        }
        let asked = self.review(token).await;
        if matches!(asked, Err(Refused::Unknown(_))) {
            self.strange(from).fetch_add(1, Ordering::Relaxed);
            self.nobodies.insert(fingerprint, ());
        }
        let person = Arc::new(asked?);
        self.acquainted.insert(fingerprint, ());
        self.people.insert(fingerprint, Arc::clone(&person));
        Ok(person)
    }

    /// What is answered without asking anybody, if something is.
    fn known(
        &self,
        fingerprint: &Fingerprint,
        from: IpAddr,
    ) -> Option<Result<Arc<Person>, Refused>> {
        if let Some(known) = self.people.get(fingerprint) {
            return Some(Ok(known));
        }
        if self.nobodies.contains_key(fingerprint) {
            return Some(Err(NOBODY));
        }
        // Whose token was good a while ago is no stranger, whoever else comes from the same address.
        let is_strange = !self.acquainted.contains_key(fingerprint);
        let is_enough = is_strange && self.strange(from).load(Ordering::Relaxed) >= MOST_STRANGE;
        let why = "too many tokens that are not accepted; wait a minute";
        is_enough.then_some(Err(Refused::TooMany { why, after: MINUTE }))
    }

    /// How many tokens that nobody knows came from there.
    fn strange(&self, from: IpAddr) -> Arc<AtomicU32> {
        self.strangers.get_with(from, Arc::default)
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

    async fn review(&self, token: &str) -> Result<Person, Refused> {
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
        let asked = self.asked(ASKING, reviews.create(&params, &review));
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

#[cfg(test)]
mod tests {
    use std::{iter, net::Ipv4Addr, pin::pin};

    use futures::FutureExt as _;

    use super::*;
    use crate::controllers::desk::tests::desk;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    #[tokio::test]
    async fn who_waits_for_a_turn_with_a_token_is_refused_unasked_once_enough_were_shown_from_there()
     {
        let desk = desk(&[]);
        let turn = || desk.turns.take(For::Address(FROM)).now_or_never();
        let held: Vec<_> = iter::from_fn(turn).collect();
        let good: Fingerprint = Sha256::digest("good").into();
        desk.acquainted.insert(good, ());
        let (mut guess, mut again) =
            (pin!(desk.person("guess", FROM)), pin!(desk.person("good", FROM)));
        assert!(guess.as_mut().now_or_never().is_none(), "there is no turn left");
        assert!(again.as_mut().now_or_never().is_none(), "there is no turn left");
        desk.strange(FROM).fetch_add(MOST_STRANGE, Ordering::Relaxed);
        drop(held);
        assert!(matches!(guess.await, Err(Refused::TooMany { .. })));
        // Who was good a while ago is asked about: here nobody answers.
        assert!(matches!(again.await, Err(Refused::Unavailable { .. })));
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_is_known_by_what_was_said_of_their_token_meanwhile() {
        let desk = desk(&[]);
        let turn = || desk.turns.take(For::Address(FROM)).now_or_never();
        let held: Vec<_> = iter::from_fn(turn).collect();
        let mut ann = pin!(desk.person("ann", FROM));
        assert!(ann.as_mut().now_or_never().is_none(), "there is no turn left");
        desk.people.insert(Sha256::digest("ann").into(), Arc::default());
        drop(held);
        assert_eq!(ann.await.unwrap(), Arc::default());
    }
}
