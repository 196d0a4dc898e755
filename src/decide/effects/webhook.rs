//! A call of somebody's service.
//!
//! Nobody but the receiver can tell whether a call arrived, so an answer that was lost is made good
//! by the same call with the same key: this is the one effect that is sent again, and its receiver is
//! the one that sees to it that it is done once.
//!
//! ```text
//! on record    answer to this try       what happens
//! nothing                               the intent is stored
//! intent       none is known            it is sent
//! intent       2xx                      outcome Done
//! intent       no room to send it yet   it is sent after a wait, and no try is spent
//! intent       to be tried again        one try more is stored; it is sent after a wait
//! intent       the same, no try left    outcome NoAnswer
//! intent       anything else            outcome Failed
//! intent       it may not be sent       outcome NotDone, or NoAnswer where it was sent before
//! ```

use serde_json::json;
use url::Url;

use crate::{
    api::incident::{EffectOutcome, StepEffect},
    domain::Span,
    steps::{
        Webhook,
        webhook::{Means, means},
    },
};

use super::{Then, Turn, Turning};
use crate::decide::{
    busy,
    moves::{Call, Doing},
    view::Need,
};

/// The longest wait before a call is sent again.
pub(super) const LONGEST_WAIT: Span = Span::secs(30);

pub(super) fn turn(at: &Turning<'_>, webhook: &Webhook) -> Turn {
    let Some(effect) = at.stored() else {
        return Turn::Intend(at.intent(&origin(&webhook.url)));
    };
    match effect.outcome {
        Some(EffectOutcome::Done) => return Turn::Over,
        Some(EffectOutcome::NotDone | EffectOutcome::Unknown | EffectOutcome::Failed) => {
            return Turn::Failed(effect.message.clone());
        }
        Some(EffectOutcome::NoAnswer) => return Turn::Unavailable(effect.message.clone()),
        None => {}
    }
    let call = call(at, webhook, effect);
    let tries = effect.tries.unwrap_or(0);
    // Another one for each try; an Incident of the same name that came after this one has another time.
    let id = format!("{}#{tries}@{}", call.key, effect.intended_at.0);
    match at.view.told.get(&id) {
        None => Turn::Ask(Need::Told(id)),
        Some(None) => Turn::Send { id, doing: Doing::Call(Box::new(call)) },
        Some(Some(told)) => match means(told) {
            Means::NoRoom { why, at: then } => {
                let held = busy::held(at.view, &why, then);
                if held.until.is_some_and(|until| until > at.now) {
                    return Turn::Held(held);
                }
                Turn::Send { id, doing: Doing::Call(Box::new(call)) }
            }
            Means::Taken => Turn::Settle {
                effect: at.outcome(effect, EffectOutcome::Done, ""),
                then: Then::GoOn,
            },
            Means::Again { why, wait } if tries < at.step.retries.unwrap_or(0) => {
                let doublings = i32::try_from(tries).unwrap_or(i32::MAX);
                let backoff = Span::secs(1).times(2_f64.powi(doublings), LONGEST_WAIT);
                let message = format!("{why}; it is sent again");
                let effect = StepEffect {
                    tries: Some(tries.saturating_add(1)),
                    message: crate::domain::text::message(&message),
                    ..effect.clone()
                };
                Turn::Settle { effect, then: Then::Retry(backoff.max(wait).min(LONGEST_WAIT)) }
            }
            Means::Refused(why) => at.not_done(effect, EffectOutcome::Failed, &sent(effect, &why)),
            Means::NotSent(why) if tries == 0 => at.not_done(effect, EffectOutcome::NotDone, &why),
            // It may have arrived before.
            Means::NotSent(why) | Means::Again { why, .. } => {
                at.not_done(effect, EffectOutcome::NoAnswer, &sent(effect, &why))
            }
        },
    }
}

/// What went wrong with a call that is not sent any more, for people.
fn sent(effect: &StepEffect, why: &str) -> String {
    let times = effect.tries.unwrap_or(0).saturating_add(1);
    let sent = if times > 1 { format!(" (sent {times} times)") } else { String::new() };
    format!("{}{sent}: {why}", effect.target)
}

/// The same for each of its tries, but for what tells the tries apart here.
fn call(at: &Turning<'_>, webhook: &Webhook, effect: &StepEffect) -> Call {
    let (incident, key) = (at.incident, at.own_key());
    let rules: Vec<&String> = incident.spec.plan.iter().flat_map(|part| &part.rules).collect();
    let body = json!({
        "type": "incident.remediation",
        "timestamp": effect.intended_at,
        "data": {
            "key": key,
            "namespace": at.view.subject.namespace,
            "contract": incident.spec.contract_name,
            "widget": incident.spec.widget,
            "incident": incident.name,
            "policy": at.policy,
            "step": at.step.name,
            "attempt": at.number,
            "cause": incident.spec.cause,
            "severity": incident.spec.severity,
            "rules": rules,
        },
    });
    Call {
        key,
        url: webhook.url.clone(),
        headers: webhook.headers_secret_ref.as_ref().map(|named| named.name.clone()),
        signing_key: webhook.signing_key_ref.clone(),
        body: body.to_string(),
        timeout: at.step.timeout,
    }
}

/// What may be shown of a URL: paths of webhooks hold tokens.
fn origin(url: &str) -> String {
    let parsed = Url::parse(url).ok().map(|url| url.origin().ascii_serialization());
    parsed.unwrap_or_else(|| "a URL".to_owned())
}
