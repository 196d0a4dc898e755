//! How well a policy does: what is open under it, and what each of its steps came to.
//!
//! All of it is counted from the Incidents that exist, and nothing is kept beside them: a crash can
//! neither lose nor double a count, and an Incident that is deleted is not counted any more.

use crate::{
    api::{
        incident::{IncidentSpec, IncidentStatus, Outcome, State, StepOutcome},
        policy::{BreakerShown, Step, StepMeasured},
    },
    domain::Span,
};

use super::limits;

/// What one Incident says of the policies of its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    policies: Box<[Box<str>]>,
    state: State,
    /// It waits for a storm to end.
    in_storm: bool,
    steps: Box<[Taken]>,
}

/// One step of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    policy: Box<str>,
    step: Box<str>,
    /// It had its part in an attempt that led to a document that passes.
    succeeded: bool,
    took: Option<Span>,
}

/// What all Incidents say of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Contracts that it is for.
    pub matched: u32,
    /// Incidents of it that are open.
    pub unhealthy: u32,
    /// Those of them whose repair is under way.
    pub in_flight: u32,
    /// Does any of them wait for a storm to end?
    pub storm: bool,
    /// Incidents in which a step of it had its part in a repair that passes.
    pub healed: u32,
    /// Each of its steps.
    pub steps: Vec<StepMeasured>,
    /// What its steps depend on and what did not answer last.
    pub breakers: Vec<BreakerShown>,
}

impl Account {
    /// Of an Incident.
    #[must_use]
    pub fn of(spec: &IncidentSpec, status: &IncidentStatus) -> Self {
        let named = spec.plan.iter().filter_map(|segment| segment.policy_ref.as_ref());
        let taken = status.attempts.iter().flat_map(|attempt| {
            let succeeded = attempt.outcome == Outcome::Succeeded;
            let had_turn = attempt.steps.iter().filter(|s| s.outcome != StepOutcome::Skipped);
            had_turn.map(move |step| Taken {
                policy: step.policy.as_str().into(),
                step: step.name.as_str().into(),
                succeeded: succeeded && !step.outcome.is_failure(),
                took: step.took,
            })
        });
        Self {
            policies: named.map(|policy| policy.name.as_str().into()).collect(),
            state: status.state.unwrap_or_default(),
            in_storm: limits::is_storm(&status.waiting),
            steps: taken.filter(|taken| !taken.policy.is_empty()).collect(),
        }
    }

    /// Is it the policy's?
    #[must_use]
    pub fn is_of(&self, policy: &str) -> bool {
        self.policies.iter().any(|name| **name == *policy)
    }
}

/// What `accounts` say of the policy with this name and these steps, which is for `matched` contracts.
#[must_use]
pub fn count<'a>(
    policy: &str,
    steps: &[Step],
    matched: usize,
    accounts: impl Iterator<Item = &'a Account>,
) -> Measured {
    let mut measured = Measured { matched: number(matched), ..Measured::default() };
    let mut counts: Vec<(u32, u32, Vec<Span>)> = vec![(0, 0, Vec::new()); steps.len()];
    for account in accounts.filter(|account| account.is_of(policy)) {
        if !account.state.is_over() {
            measured.unhealthy += 1;
            let is_under_way = matches!(account.state, State::Remediating | State::Verifying);
            measured.in_flight += u32::from(is_under_way);
            measured.storm |= account.in_storm;
        }
        let own = || account.steps.iter().filter(|taken| *taken.policy == *policy);
        measured.healed += u32::from(own().any(|taken| taken.succeeded));
        for taken in own() {
            let nth = steps.iter().position(|step| *step.name == *taken.step);
            let Some((tried, succeeded, times)) = nth.and_then(|nth| counts.get_mut(nth)) else {
                continue;
            };
            *tried += 1;
            *succeeded += u32::from(taken.succeeded);
            times.extend(taken.took.filter(|_| taken.succeeded));
        }
    }
    let of_step =
        |(step, (tried, succeeded, times)): (&Step, (u32, u32, Vec<Span>))| StepMeasured {
            name: step.name.clone(),
            kind: step.kind.name().to_owned(),
            tried,
            succeeded,
            median_time: median(times),
        };
    measured.steps = steps.iter().zip(counts).map(of_step).collect();
    measured
}

/// The time that as many are shorter than as are longer; of an even number the shorter of the two.
fn median(mut times: Vec<Span>) -> Option<Span> {
    times.sort_unstable();
    times.get(times.len().checked_sub(1)? / 2).copied()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(policies: &str, state: State, steps: &[(&str, &str, bool, Option<u32>)]) -> Account {
        Account {
            policies: policies.split(',').map(Into::into).collect(),
            state,
            in_storm: false,
            steps: steps
                .iter()
                .map(|(policy, step, succeeded, millis)| Taken {
                    policy: (*policy).into(),
                    step: (*step).into(),
                    succeeded: *succeeded,
                    took: millis.map(Span::millis),
                })
                .collect(),
        }
    }

    fn steps() -> Vec<Step> {
        let steps = "[{name: restore, restoreRevision: {}}, {name: asset, replaceAsset: {}}]";
        serde_saphyr::from_str(steps).unwrap()
    }

    #[test]
    fn a_policy_counts_its_own_steps_and_nobody_elses() {
        let accounts = [
            account(
                "heal,other",
                State::Mitigated,
                &[
                    ("heal", "restore", true, Some(40)),
                    ("heal", "asset", false, None),
                    ("other", "restore", true, Some(9_000)),
                ],
            ),
            account("heal", State::Resolved, &[("heal", "restore", true, Some(60))]),
            account("heal", State::Resolved, &[("heal", "restore", true, Some(20))]),
            account("heal", State::Verifying, &[("heal", "gone", true, Some(1))]),
            account("other", State::Open, &[]),
            Account { in_storm: true, ..account("heal", State::Held, &[]) },
        ];
        let heal = count("heal", &steps(), 7, accounts.iter());
        assert_eq!((heal.matched, heal.unhealthy, heal.in_flight, heal.healed), (7, 3, 1, 4));
        assert!(heal.storm);
        let [restore, asset] = &heal.steps[..] else { panic!("{:?}", heal.steps) };
        assert_eq!(
            (restore.kind.as_str(), restore.tried, restore.succeeded),
            ("restoreRevision", 3, 3)
        );
        assert_eq!(restore.median_time, Some(Span::millis(40)));
        assert_eq!((asset.tried, asset.succeeded, asset.median_time), (1, 0, None));
        let other = count("other", &steps(), 0, accounts.iter());
        assert_eq!((other.unhealthy, other.healed, other.storm), (2, 1, false));
        assert_eq!(other.steps[0].median_time, Some(Span::secs(9)));
    }
}
