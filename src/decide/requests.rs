//! Requests by annotation: a new value on the contract, its class or a policy of its open Incident
//! asks for something once, and is echoed in the contract's status when that was done.
//!
//! A token is only compared. What asks for an attempt is on that attempt's record, too, so a crash
//! before the echo makes no second one.

use std::collections::BTreeMap;

use crate::{
    api::{
        HEAL, HEAL_BY, RECONCILE, RESET,
        contract::{HandledRequests, Mode, SharedRequests, WidgetContractStatus},
        incident::IncidentStatus,
    },
    domain::text,
};

use super::view::View;

/// Longest token, in bytes; what is longer is cut.
const TOKEN_MAX: usize = 63;

/// Longest name of who asks, in bytes.
const NAME_MAX: usize = 256;

/// Annotations by name.
pub type Annotations = BTreeMap<String, String>;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A look with fresh probes.
    Reconcile,
    /// An attempt now: past cooldown, budget, backoff and spent attempts, never past any other gate.
    Heal,
    /// A new series of attempts.
    Reset,
}

/// An object that may ask, and what it asked for before.
struct Asker<'a> {
    /// None: the contract itself.
    from: Option<String>,
    annotations: &'a Annotations,
    handled: SharedRequests,
    /// What is new on it is not news to this contract.
    is_past: bool,
}

impl Asker<'_> {
    fn token(&self, what: Request) -> Option<String> {
        let name = match what {
            Request::Reconcile => RECONCILE,
            Request::Heal => HEAL,
            Request::Reset => RESET,
        };
        let token = text::bounded(self.annotations.get(name)?, TOKEN_MAX);
        (!token.is_empty()).then_some(token)
    }

    fn handled(&self, what: Request) -> Option<&String> {
        match what {
            Request::Reconcile => self.handled.reconcile.as_ref(),
            Request::Heal => self.handled.heal.as_ref(),
            Request::Reset => self.handled.reset.as_ref(),
        }
    }

    /// The token of a request that is not handled, and its name in an attempt's record.
    fn pending(&self, what: Request) -> Option<String> {
        let token = self.token(what).filter(|token| self.handled(what) != Some(token))?;
        let named = match &self.from {
            None => token,
            Some(from) => format!("{from} {token}"),
        };
        (!self.is_past).then_some(named)
    }
}

/// What was handled of the requests on `from`; None is the contract itself.
fn handled(status: &WidgetContractStatus, from: Option<&str>) -> SharedRequests {
    let stored = status.handled_requests.clone().unwrap_or_default();
    let HandledRequests { heal, reset, reconcile, shared } = stored;
    match from {
        None => SharedRequests { from: String::new(), heal, reset, reconcile },
        Some(from) => shared.into_iter().find(|known| known.from == from).unwrap_or_default(),
    }
}

/// The contract and its class.
fn lasting<'a>(
    status: &WidgetContractStatus,
    annotations: &'a Annotations,
    class: Option<&'a (String, Annotations)>,
) -> Vec<Asker<'a>> {
    let class = class.map(|(name, shared)| (Some(format!("WidgetClass/{name}")), shared));
    let all = std::iter::once((None, annotations)).chain(class);
    let asker = |(from, annotations): (Option<String>, _)| {
        let handled = handled(status, from.as_deref());
        Asker { from, annotations, handled, is_past: false }
    };
    all.map(asker).collect()
}

/// Does the contract or its class ask for a look with fresh probes? An open Incident always gets one.
#[must_use]
pub fn is_look(
    status: &WidgetContractStatus,
    annotations: &Annotations,
    class: Option<&(String, Annotations)>,
) -> bool {
    lasting(status, annotations, class)
        .iter()
        .any(|asker| asker.pending(Request::Reconcile).is_some())
}

fn askers(view: &View) -> Vec<Asker<'_>> {
    let mut askers = lasting(&view.status, &view.annotations, view.class.as_ref());
    let Some(open) = &view.incident else { return askers };
    for named in open.spec.plan.iter().filter_map(|segment| segment.policy_ref.as_ref()) {
        let Some(policy) = view.policies.iter().find(|policy| policy.name == named.name) else {
            continue;
        };
        let from = format!("RemediationPolicy/{}", policy.name);
        // What a policy was annotated with before the Incident asks nothing of it.
        let is_past = open.status.state.is_none();
        let (handled, annotations) = (handled(&view.status, Some(&from)), &policy.annotations);
        askers.push(Asker { from: Some(from), annotations, handled, is_past });
    }
    askers
}

/// What has to be written down as handled before anything is of a new Incident, if it is not yet: what
/// its policies were annotated with before it would be news to it otherwise, after a crash.
#[must_use]
pub fn past(view: &View) -> Option<HandledRequests> {
    let stored = view.status.handled_requests.clone().unwrap_or_default();
    let mut echo = stored.clone();
    for asker in askers(view).iter().filter(|asker| asker.is_past) {
        let Some(from) = &asker.from else { continue };
        let [heal, reset, reconcile] =
            [Request::Heal, Request::Reset, Request::Reconcile].map(|what| asker.token(what));
        if heal.is_some() || reset.is_some() || reconcile.is_some() {
            echo.shared.retain(|known| known.from != *from);
            echo.shared.push(SharedRequests { from: from.clone(), heal, reset, reconcile });
        }
    }
    (echo != stored).then_some(echo)
}

/// The requests of this kind that are to be done, as an attempt's record names them.
#[must_use]
pub fn pending(view: &View, what: Request) -> Vec<String> {
    let mut pending: Vec<String> =
        askers(view).iter().filter_map(|asker| asker.pending(what)).collect();
    if let (Request::Heal, Some(open)) = (what, &view.incident) {
        pending.retain(|named| !is_on_record(&open.status, named));
    }
    pending
}

/// Who asks for an attempt by the request on the contract itself, where that is one of `requests`.
#[must_use]
pub fn asked_by(view: &View, requests: &[String]) -> Option<String> {
    let token = requests.iter().find(|named| {
        view.annotations.get(HEAL).is_some_and(|own| text::bounded(own, TOKEN_MAX) == **named)
    })?;
    let by = view.annotations.get(HEAL_BY)?.strip_prefix(token.as_str())?.strip_prefix(' ')?;
    Some(text::bounded(by, NAME_MAX))
}

/// Does a person ask for an attempt now?
#[must_use]
pub fn is_forced(view: &View) -> bool {
    !pending(view, Request::Heal).is_empty()
}

fn is_on_record(incident: &IncidentStatus, named: &String) -> bool {
    incident.attempts.iter().any(|attempt| attempt.requests.contains(named))
}

/// The echo after a look: a request to heal is done when it is on record, or there is nothing to
/// heal; the others by the look itself, unless nothing may be done to an open Incident.
#[must_use]
pub fn echo(
    view: &View,
    incident: Option<&IncidentStatus>,
    nothing_to_heal: bool,
) -> Option<HandledRequests> {
    let still = view.effective.suspend || view.effective.mode == Mode::Off;
    let is_done = |asker: &Asker<'_>, what| {
        let Some(named) = asker.pending(what) else { return true };
        match what {
            Request::Reconcile => true,
            Request::Reset => view.incident.is_none() || !still,
            Request::Heal => {
                nothing_to_heal || incident.is_some_and(|status| is_on_record(status, &named))
            }
        }
    };
    let mut echo = HandledRequests::default();
    for asker in askers(view) {
        let latest = |what| {
            let new = asker.token(what).filter(|_| is_done(&asker, what));
            new.or_else(|| asker.handled(what).cloned())
        };
        let (heal, reset) = (latest(Request::Heal), latest(Request::Reset));
        let reconcile = latest(Request::Reconcile);
        match &asker.from {
            None => (echo.heal, echo.reset, echo.reconcile) = (heal, reset, reconcile),
            Some(_) if heal.is_none() && reset.is_none() && reconcile.is_none() => {}
            Some(from) => {
                echo.shared.push(SharedRequests { from: from.clone(), heal, reset, reconcile });
            }
        }
    }
    (echo != HandledRequests::default()).then_some(echo)
}
