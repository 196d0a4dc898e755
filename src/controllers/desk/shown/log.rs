//! The healing log: the last actions, newest first.
//!
//! Open Incidents are in memory. Of those that are over only their end is, so they are read, newest
//! first and few at a time; what was read is kept for a while, since they rarely change.

use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt as _;
use moka::sync::Cache;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    api::Incident,
    controllers::{
        Ctx, Key,
        desk::{Desk, Person, Refused, rights::Scope},
        index::Ended,
    },
    decide::log::{self, Action, Filter},
};

/// Most actions that are shown.
pub const MOST_ACTIONS: usize = 200;
/// Most Incidents that are over that one answer is made from.
const MOST_INCIDENTS: usize = 400;
/// Most of them that are read for one answer.
const MOST_READS: usize = 48;
/// How many at the same time.
const AT_A_TIME: usize = 8;
/// How many bytes of actions are kept.
const KEPT_BYTES: u64 = 4 * 1024 * 1024;

/// The actions of Incidents that are over, by name and version.
pub type Kept = Cache<(Key, u64), Arc<[Action]>>;

/// Where they are kept.
pub fn memory() -> Kept {
    let weight = |_: &(Key, u64), actions: &Arc<[Action]>| {
        let of = |action: &Action| {
            size_of::<Action>() + 256 + action.message.len() + 128 * action.steps.len()
        };
        u32::try_from(actions.iter().map(of).sum::<usize>()).unwrap_or(u32::MAX)
    };
    Cache::builder().weigher(weight).max_capacity(KEPT_BYTES).build()
}

/// The last actions.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Log {
    /// The newest first.
    pub items: Vec<Action>,
    /// Is none of the last ones missing? Of Incidents that are over only so many are read for one
    /// answer: when it is false, the next answer knows more.
    pub complete: bool,
}

impl Desk {
    /// The last `limit` actions that `filter` wants.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub async fn log(
        &self,
        person: &Person,
        scope: &Scope,
        filter: &Filter,
        limit: usize,
    ) -> Result<Log, Refused> {
        let ctx = self.ctx()?;
        let in_memory = ctx.index.whole_incidents(|namespace| scope.has(namespace));
        let mut items: Vec<Action> = in_memory.iter().flat_map(|object| actions(object)).collect();
        items.retain(|action| filter.wants(action));
        log::keep_newest(&mut items, limit);
        let mut ended =
            ctx.index.ended_incidents(MOST_INCIDENTS + 1, |contract, name, policies| {
                scope.has(&contract.namespace) && filter.may_want(&contract.name, name, policies)
            });
        let mut complete = ended.len() <= MOST_INCIDENTS;
        ended.truncate(MOST_INCIDENTS);
        let (mut reads, mut all_read) = (0, true);
        for some in ended.chunks(AT_A_TIME) {
            let oldest = items.last().filter(|_| items.len() >= limit).map(|action| action.at);
            // All that happened in one happened before its end.
            if some.first().is_some_and(|newest| newest.ended_at < oldest) {
                complete = true;
                break;
            }
            let unread = some.iter().filter(|one| !self.log.contains_key(&one.place())).count();
            if reads + unread > MOST_READS {
                complete = false;
                break;
            }
            reads += unread;
            let read = some.iter().map(|one| self.actions_of_ended(&ctx, person, one));
            // One that cannot be read just now does not hide the others.
            let read: Vec<Arc<[Action]>> =
                join_all(read).await.into_iter().filter_map(Result::ok).collect();
            all_read &= read.len() == some.len();
            let found = read.iter().flat_map(|actions| actions.iter());
            items.extend(found.filter(|action| filter.wants(action)).cloned());
            log::keep_newest(&mut items, limit);
        }
        Ok(Log { items, complete: complete && all_read })
    }

    async fn actions_of_ended(
        &self,
        ctx: &Ctx,
        person: &Person,
        one: &Ended,
    ) -> Result<Arc<[Action]>, Refused> {
        if let Some(known) = self.log.get(&one.place()) {
            return Ok(known);
        }
        let read: Arc<[Action]> = match self.incident_itself(ctx, person, &one.key).await {
            Ok(object) => actions(&object).into(),
            // It was pruned a moment ago.
            Err(Refused::NotFound(_)) => return Ok(Arc::default()),
            Err(refused) => return Err(refused),
        };
        self.log.insert(one.place(), Arc::clone(&read));
        Ok(read)
    }
}

impl Ended {
    fn place(&self) -> (Key, u64) {
        (self.key.clone(), self.version)
    }
}

fn actions(object: &Incident) -> Vec<Action> {
    let namespace = object.namespace().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    log::actions(&namespace, &object.name_any(), &object.spec, &status)
}
