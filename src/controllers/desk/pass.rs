//! A pass: what somebody carries who has shown a token once, so that the token need not be kept.
//!
//! ```text
//! <name, groups, end as JSON, base64url> . <HMAC-SHA-256 of that, base64url>
//! ```
//!
//! It says who somebody is, never what they may do: that is asked each time. It ends with the token it was
//! given for, and soon; until then a token that was revoked leaves its pass in force.
//!
//! Own code, for ring signs already: the usual crate for signed cookies brings second copies of four that are
//! here.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, Serialize};

use super::{Desk, Person, Refused, now};

/// How long a pass is good for at most.
pub const LASTS: Duration = Duration::from_secs(60 * 60);
/// The longest pass, in bytes: browsers keep cookies of four KiB.
const LONGEST: usize = 3_800;
/// Signs passes and nothing else, whatever else a key may be used for one day.
const PURPOSE: &str = "kintsugi pass 1\n";

/// Who signs passes.
pub struct Passes(hmac::Key);

#[derive(Serialize, Deserialize)]
struct Claims {
    who: Person,
    /// In seconds since 1970.
    until: i64,
}

impl Passes {
    /// Signed with `key`; with one of this process alone by default.
    ///
    /// # Errors
    /// Where the machine has no random numbers.
    pub fn new(key: Option<&[u8]>) -> anyhow::Result<Self> {
        let mut own = [0; 32];
        if key.is_none() {
            let filled = SystemRandom::new().fill(&mut own);
            filled
                .map_err(|_| anyhow::anyhow!("there are no random numbers to sign passes with"))?;
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.unwrap_or(&own))))
    }

    /// None where it would be too long.
    fn give(&self, who: &Person, until: Timestamp) -> Option<String> {
        let claims = Claims { who: who.clone(), until: until.as_second() };
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).ok()?);
        let tag = hmac::sign(&self.0, format!("{PURPOSE}{claims}").as_bytes());
        let pass = format!("{claims}.{}", URL_SAFE_NO_PAD.encode(tag));
        (pass.len() <= LONGEST).then_some(pass)
    }

    fn holder(&self, pass: &str, now: Timestamp) -> Option<Person> {
        let (claims, tag) = pass.split_once('.').filter(|_| pass.len() <= LONGEST)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, format!("{PURPOSE}{claims}").as_bytes(), &tag).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (now.as_second() < claims.until).then_some(claims.who)
    }
}

impl Desk {
    /// A pass for `person`, who has shown `token`, and how long it is good for.
    ///
    /// # Errors
    /// Where they are in so many groups that no browser would keep it.
    pub fn pass(&self, person: &Person, token: &str) -> Result<(String, Duration), Refused> {
        let now = now();
        let lasts = ends(token).map_or(LASTS, |end| {
            let left = end.saturating_sub(now.as_second());
            Duration::from_secs(u64::try_from(left).unwrap_or(0)).min(LASTS)
        });
        let until = now.checked_add(lasts).unwrap_or(now);
        let pass = self.passes.give(person, until).ok_or_else(|| {
            Refused::Forbidden(format!(
                "{} is in too many groups for a browser; send the token with each request instead",
                person.name
            ))
        })?;
        Ok((pass, lasts))
    }

    /// Who holds a pass that is good.
    #[must_use]
    pub fn holder(&self, pass: &str) -> Option<Arc<Person>> {
        self.passes.holder(pass, now()).map(Arc::new)
    }
}

/// When a token ends that was accepted, where it says so (RFC 7519).
fn ends(token: &str) -> Option<i64> {
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    // Any number is allowed; what is no whole one ends a moment early.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and a pass ends within an hour"
    )]
    claims["exp"].as_i64().or_else(|| claims["exp"].as_f64().map(|end| end as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Person {
        Person { name: "ann".to_owned(), groups: vec!["on-call".to_owned()], ..Person::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_pass_names_its_holder_until_it_ends() {
        let passes = Passes::new(None).unwrap();
        let pass = passes.give(&ann(), at(60)).unwrap();
        assert_eq!(passes.holder(&pass, at(0)), Some(ann()));
        assert_eq!(passes.holder(&pass, at(59)), Some(ann()));
        assert_eq!(passes.holder(&pass, at(60)), None);
    }

    #[test]
    fn a_pass_that_was_changed_or_signed_by_somebody_else_names_nobody() {
        let passes = Passes::new(Some(&[7; 32])).unwrap();
        let pass = passes.give(&ann(), at(60)).unwrap();
        let (claims, tag) = pass.split_once('.').unwrap();
        let root = Claims { who: Person { name: "root".to_owned(), ..ann() }, until: i64::MAX };
        let root = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&root).unwrap());
        let other = Passes::new(Some(&[8; 32])).unwrap().give(&ann(), at(60)).unwrap();
        let own = Passes::new(None).unwrap().give(&ann(), at(60)).unwrap();
        for bad in [
            format!("{root}.{tag}"),
            format!("{claims}."),
            format!("{claims}.{}", &tag[1..]),
            claims.to_owned(),
            String::new(),
            other,
            own,
        ] {
            assert_eq!(passes.holder(&bad, at(0)), None, "{bad}");
        }
        // Replicas with the same key know each other's.
        assert_eq!(Passes::new(Some(&[7; 32])).unwrap().holder(&pass, at(0)), Some(ann()));
    }

    #[test]
    fn who_is_in_more_groups_than_a_cookie_holds_gets_none() {
        let passes = Passes::new(None).unwrap();
        let groups = (0..500).map(|nth| format!("group-{nth}")).collect();
        assert_eq!(passes.give(&Person { groups, ..ann() }, at(60)), None);
    }

    #[test]
    fn a_pass_ends_no_later_than_the_token() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1800000060}"#);
        assert_eq!(ends(&format!("head.{claims}.tag")), Some(1_800_000_060));
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1800000060.5}"#);
        assert_eq!(ends(&format!("head.{claims}.tag")), Some(1_800_000_060));
        for token in ["opaque", "a.b.c", "head.e30.tag"] {
            assert_eq!(ends(token), None, "{token}");
        }
    }
}
