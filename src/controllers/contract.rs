//! The look at one contract: observe, decide, perform.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tracing::{debug, error, warn};

use kube::core::error_boundary::InvalidObject;

use super::{
    Ctx, Error, Key, Seen, measure, observe, parents, perform,
    queue::{LONGEST_BACKOFF, backoff},
};
use crate::{
    api::WidgetContractStatus,
    decide::{Stall, contract::Next, silence::Silence, status},
    domain::Span,
};

/// Looks in a row that may follow at once; more is a fight with somebody, and is slowed down.
const MOST_AGAIN: u32 = 5;
/// How long a look waits for the first list, which itself waits for room in the queue.
const FOR_THE_LIST: Duration = Duration::from_millis(200);

/// Works on contracts until the queue is closed.
pub async fn work(ctx: Arc<Ctx>) {
    while let Some(key) = ctx.queue.take().await {
        let began = Instant::now();
        let look = AssertUnwindSafe(Box::pin(look(&ctx, &key))).catch_unwind().await;
        measure::looked(&ctx, began.elapsed(), look.as_ref().ok());
        if let Ok(outcome) = look {
            schedule(&ctx, &key, outcome);
        } else {
            // One contract's fault must not stop the others.
            error!(contract = %key, "a look panicked; it is tried again later");
            ctx.index.rests_again(&key);
            ctx.queue.at(key.clone(), Instant::now() + LONGEST_BACKOFF);
        }
        ctx.queue.done(&key);
    }
}

async fn look(ctx: &Ctx, key: &Key) -> Result<Next, Error> {
    let Some(seen) = observe::contract(ctx, key).await? else { return Ok(Next::Changed) };
    let outcome = match Box::pin(reconcile(ctx, &seen)).await {
        Err(Error::Stalled(stall)) => stall_contract(ctx, &seen, &stall).await,
        outcome => outcome,
    };
    match outcome {
        Ok(Next::Again) => ctx.index.keep_object(key, seen.object),
        Ok(_) => {
            ctx.index.rests_again(key);
            ctx.index.rest(key, seen.object);
        }
        Err(_) => {
            // What it was about to repair it does not repair now: others may.
            ctx.index.rests_again(key);
            ctx.index.reread(key);
        }
    }
    outcome
}

async fn reconcile(ctx: &Ctx, seen: &Seen) -> Result<Next, Error> {
    let now = ctx.now();
    let mut view = observe::view(ctx, seen, now).await?;
    let mut decision = observe::until_decided(ctx, seen, &mut view, now).await?;
    let advances = decision.advances(&view);
    let silences = decision.silences.take();
    let next = perform::all(ctx, seen, &view, decision).await?;
    if advances {
        ctx.index.succeeded(&seen.key);
    }
    // Since when it has been so is on record by now.
    if let Some(silences) = silences {
        said_of_hosts(ctx, &seen.key, silences);
    }
    Ok(next)
}

fn said_of_hosts(ctx: &Ctx, contract: &Key, silences: Arc<[Silence]>) {
    if ctx.index.said_of_hosts(contract, silences) {
        parents::changed(ctx, &contract.namespace);
    }
}

/// Says in the contract's status what a person has to do, and looks again now and then: what is
/// missing may be created without any event on the contract itself.
async fn stall_contract(ctx: &Ctx, seen: &Seen, stall: &Stall) -> Result<Next, Error> {
    warn!(contract = %seen.key, reason = stall.reason, message = %stall.message, "stalled");
    let stored = seen.object.status.clone().unwrap_or_default();
    let generation = seen.object.metadata.generation.unwrap_or(0);
    let status = status::stalled(&stored, generation, stall, ctx.now());
    perform::write_status(ctx, seen, &status).await?;
    // What is not checked keeps no outage open.
    said_of_hosts(ctx, &seen.key, Arc::default());
    Ok(Next::At(Span::secs(60).after(ctx.now())))
}

/// Says of a contract that does not fit its type what is wrong with it, once for each generation.
pub async fn say_unreadable(ctx: &Ctx, invalid: &InvalidObject) {
    let metadata = &invalid.metadata;
    let key = Key::of_invalid(invalid);
    let uid = metadata.uid.clone().unwrap_or_default();
    let generation = metadata.generation.unwrap_or(0);
    ctx.queue.forget(&key);
    parents::changed(ctx, &key.namespace);
    // Our own write comes back as an event: without this it would be answered with another.
    if ctx.index.saw_unreadable(&key, &uid, generation) {
        return;
    }
    let message = format!("the spec cannot be read: {invalid}");
    let stall = Stall::new("SpecInvalid", &message);
    let status = status::stalled(&WidgetContractStatus::default(), generation, &stall, ctx.now());
    let version = metadata.resource_version.as_deref();
    match perform::say_stalled(ctx, &key, version, &status).await {
        Ok(()) => ctx.index.said_unreadable(&key, &uid, generation),
        // The next event, or the next list, says it again.
        Err(error) => warn!(contract = %key, %error, "the status could not be written"),
    }
}

fn schedule(ctx: &Ctx, key: &Key, outcome: Result<Next, Error>) {
    match outcome {
        Ok(Next::Again) if ctx.index.failed(key) <= MOST_AGAIN => ctx.queue.now(key.clone()),
        Ok(Next::Again) => {
            warn!(contract = %key, "what is written does not stay; slowing down");
            ctx.queue.at(key.clone(), Instant::now() + LONGEST_BACKOFF);
        }
        Ok(Next::At(at)) => {
            ctx.index.succeeded(key);
            let wait = Span::between(ctx.now(), at).to_std();
            ctx.queue.at(key.clone(), Instant::now() + wait);
        }
        Ok(Next::Changed) => ctx.index.succeeded(key),
        // The watch will bring what we have not seen; the pause is for when it is behind.
        Err(Error::Conflict { attempted }) => {
            debug!(contract = %key, attempted, "somebody else wrote in between; looking again");
            ctx.queue.at(key.clone(), Instant::now() + backoff(ctx.index.failed(key), 20));
        }
        Err(Error::Early { .. }) => ctx.queue.at(key.clone(), Instant::now() + FOR_THE_LIST),
        // The lease may only be late: when the spell is over, this queue is gone with it.
        Err(Error::NotLeader { .. }) => {
            ctx.queue.at(key.clone(), Instant::now() + Duration::from_secs(1));
        }
        Err(error) => {
            let wait = backoff(ctx.index.failed(key), 1000);
            warn!(contract = %key, %error, wait = ?wait, "a look failed; it is tried again");
            ctx.queue.at(key.clone(), Instant::now() + wait);
        }
    }
}
