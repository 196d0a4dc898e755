//! Turns: the API server is to serve the operator first, and people by so many requests at a time; nobody
//! has more of them than a share, so that whoever asks for much makes nobody else wait.

use std::net::IpAddr;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Person,
    shares::{Share, Shares},
};

/// Requests to the API server for people, under way at the same time.
const AT_A_TIME: usize = 16;
/// So many of them for one person, by their name: it is the same with each of their tokens. All who bring
/// none are one.
const EACH: usize = AT_A_TIME / 4;
/// So many of them to learn whose a token is that comes from one address, behind which may be many.
const EACH_ADDRESS: usize = AT_A_TIME / 2;

/// For whom the API server is asked.
#[derive(Clone, Copy, Debug)]
pub enum For<'a> {
    /// Somebody who is known.
    Person(&'a Person),
    /// Whoever sends something from this address.
    Address(IpAddr),
}

/// All turns.
#[derive(Debug)]
pub struct Turns {
    all: Semaphore,
    people: Shares<String>,
    addresses: Shares<IpAddr>,
}

/// One turn, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _of_person: Option<Share<String>>,
    _of_address: Option<Share<IpAddr>>,
    _one: Option<SemaphorePermit<'a>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            all: Semaphore::new(AT_A_TIME),
            people: Shares::new(EACH),
            addresses: Shares::new(EACH_ADDRESS),
        }
    }
}

impl Turns {
    /// A turn, once there is one; who waits longest is first among those who have something left.
    pub async fn take(&self, of: For<'_>) -> Turn<'_> {
        let (of_person, of_address) = match of {
            For::Person(person) => (Some(self.people.take(person.name.clone()).await), None),
            For::Address(address) => (None, Some(self.addresses.take(address).await)),
        };
        // It is never closed.
        let one = self.all.acquire().await.ok();
        Turn { _of_person: of_person, _of_address: of_address, _one: one }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn person(name: &str, uid: &str) -> Person {
        Person { name: name.to_owned(), uid: Some(uid.to_owned()), ..Person::default() }
    }

    #[test]
    fn one_person_has_a_quarter_of_all_turns_with_whatever_token_and_the_others_have_the_rest() {
        let turns = Turns::default();
        let ann = [person("ann", "1"), person("ann", "2")];
        let now = |of: For<'_>| turns.take(of).now_or_never();
        let held: Vec<_> =
            (0..EACH).map(|nth| now(For::Person(&ann[nth % 2])).expect("hers")).collect();
        assert!(ann.iter().all(|ann| now(For::Person(ann)).is_none()));
        let names = ["bob", "eve", "dan"].map(|name| person(name, "3"));
        let others: Vec<_> = names
            .iter()
            .flat_map(|other| (0..EACH).map(move |_| other))
            .map(|other| now(For::Person(other)).expect("theirs"))
            .collect();
        assert_eq!(held.len() + others.len(), AT_A_TIME);
        assert!(now(For::Person(&person("ada", "4"))).is_none(), "there are no more");
        drop(held);
        assert!(now(For::Person(&ann[0])).is_some());
    }

    #[test]
    fn tokens_from_one_address_take_half_of_all_turns() {
        let turns = Turns::default();
        let now = |of: For<'_>| turns.take(of).now_or_never();
        let address = |last: u8| For::Address([10, 0, 0, last].into());
        let held: Vec<_> = std::iter::from_fn(|| now(address(1))).collect();
        assert_eq!(held.len(), AT_A_TIME / 2);
        assert!(now(address(2)).is_some() && now(For::Person(&person("ann", "1"))).is_some());
    }
}
