//! An episode as a picture and as a list of what happened, which say the same.

use jiff::Timestamp;

use super::{
    incident::Change,
    mark::{Mark, Tone},
    said::Said,
    when::{When, length},
};
use crate::api::incident::{Attempt, IncidentSpec, IncidentStatus, StepEffect};

/// Something that happened, or that is about to.
pub struct Moment {
    at: Timestamp,
    pub when: When,
    /// How long after the one before.
    pub after: String,
    pub mark: Mark,
    pub title: Said,
    pub detail: Said,
    /// The number of an attempt.
    pub number: Option<u32>,
    pub steps: Vec<Step>,
    pub changes: Vec<Change>,
    /// What a Job logged.
    pub log: Vec<Said>,
}

/// A step of an attempt.
pub struct Step {
    pub name: Said,
    pub policy: Said,
    pub mark: Mark,
    pub took: String,
}

/// The picture: a strip of time, what was served in it, and a mark for each moment.
pub struct Picture {
    pub bands: Vec<Band>,
    pub pins: Vec<Pin>,
    /// The same in a sentence.
    pub summary: String,
}

/// A span of the strip.
pub struct Band {
    pub x: i64,
    pub width: i64,
    pub tone: Tone,
}

/// A mark, which stands a little beside its moment where there are others.
pub struct Pin {
    pub x: i64,
    /// Where its moment is on the strip.
    pub at: i64,
    pub tone: Tone,
    pub label: String,
}

/// Where the strip begins and ends, and how far apart the marks are at least; `incident.html` has the
/// same in its `viewBox`.
const LEFT: i64 = 16;
const RIGHT: i64 = 704;
const APART: i64 = 22;

/// What happened, the oldest first.
pub fn moments(spec: &IncidentSpec, status: &IncidentStatus, now: Timestamp) -> Vec<Moment> {
    let event = |at: Timestamp, tone: Tone, word: &str, title: &str, detail: &str| Moment {
        at,
        when: When::of(at, now),
        after: String::new(),
        mark: Mark::new(tone, word),
        title: Said::of(title),
        detail: Said::of(detail),
        number: None,
        steps: Vec::new(),
        changes: Vec::new(),
        log: Vec::new(),
    };
    let mut all = vec![event(spec.opened_at.0, Tone::Bad, "Failed", "The first check failed", "")];
    all.extend(status.effects.iter().map(|effect| of_effect(effect, now)));
    all.extend(status.attempts.iter().map(|attempt| of_attempt(attempt, now)));
    let times = [
        (&status.plan_shown_at, Tone::Warn, "Shown", "The plan was shown"),
        (&status.called_at, Tone::Bad, "Called", "A person was called"),
        (&status.mitigated_at, Tone::Good, "Mitigated", "A good document is served"),
        (&status.resolved_at, Tone::Good, "Resolved", "What was asked for is good, too"),
    ];
    for (at, tone, word, title) in times {
        all.extend(at.as_ref().map(|at| event(at.0, tone, word, title, "")));
    }
    if let Some(undone) = &status.undone {
        let title = match undone.attempt {
            0 => "Taken back; there was nothing to take back".to_owned(),
            number => format!("Attempt {number} was taken back"),
        };
        all.push(event(undone.at.0, Tone::Warn, "Undone", &title, &undone.message));
    }
    let due = status.next_attempt_time.as_ref().filter(|_| !status.is_over());
    all.extend(due.map(|at| event(at.0, Tone::Quiet, "Due", "The next look or attempt", "")));
    // Stable: an attempt comes after its effects.
    all.sort_by_key(|moment| moment.at);
    let mut before = None;
    for moment in &mut all {
        let gap = before.map_or(0, |before| moment.at.as_second() - before);
        moment.after = if gap > 0 { format!("+{}", length(gap)) } else { String::new() };
        before = Some(moment.at.as_second());
    }
    all
}

fn of_attempt(attempt: &Attempt, now: Timestamp) -> Moment {
    let approved = match &attempt.approved_by {
        Some(by) => format!(", approved by {by}"),
        None => String::new(),
    };
    let asked = match &attempt.asked_by {
        Some(by) => format!(", asked for by {by}"),
        None => String::new(),
    };
    Moment {
        at: attempt.at.0,
        when: When::of(attempt.at.0, now),
        after: String::new(),
        mark: attempt.outcome.into(),
        title: Said::of(format!("Attempt {}: {}{asked}{approved}", attempt.number, attempt.step)),
        detail: Said::of(&attempt.message),
        number: Some(attempt.number),
        steps: attempt
            .steps
            .iter()
            .map(|step| Step {
                name: Said::of(&step.name),
                policy: Said::of(&step.policy),
                mark: step.outcome.into(),
                took: step.took.map(|took| took.to_string()).unwrap_or_default(),
            })
            .collect(),
        changes: attempt.ops.iter().map(Change::of).collect(),
        log: Vec::new(),
    }
}

fn of_effect(effect: &StepEffect, now: Timestamp) -> Moment {
    let at = effect.seen_at.as_ref().unwrap_or(&effect.intended_at).0;
    let approved = match &effect.approved_by {
        Some(by) => format!(", approved by {by}"),
        None => String::new(),
    };
    Moment {
        at,
        when: When::of(at, now),
        after: String::new(),
        mark: effect.outcome.map_or(Mark::new(Tone::Busy, "UnderWay"), Mark::from),
        title: Said::of(format!("{}: {}{approved}", effect.step, effect.target)),
        detail: Said::of(&effect.message),
        number: None,
        steps: Vec::new(),
        changes: Vec::new(),
        log: effect.log.lines().map(Said::of).collect(),
    }
}

/// The picture of these moments, which are in order.
pub fn picture(moments: &[Moment], status: &IncidentStatus, now: Timestamp) -> Option<Picture> {
    let (first, last) = (moments.first()?.at, moments.last()?.at);
    let end = if status.is_over() { last } else { last.max(now) };
    let length_of = |at: Timestamp| (at.as_millisecond() - first.as_millisecond()).max(0);
    let whole = length_of(end).max(1);
    let x = |at: Timestamp| LEFT + (RIGHT - LEFT) * length_of(at).min(whole) / whole;
    let mitigated = status.mitigated_at.as_ref().map(|at| at.0);
    let resolved = status.resolved_at.as_ref().map(|at| at.0);
    let broken_until = mitigated.or(resolved).unwrap_or(end.min(now.max(first)));
    let band = |from: Timestamp, to: Timestamp, tone| Band {
        x: x(from),
        width: (x(to) - x(from)).max(0),
        tone,
    };
    let mut bands = vec![band(first, broken_until, Tone::Bad)];
    if let Some(from) = mitigated {
        bands.push(band(from, resolved.unwrap_or(end.min(now.max(from))), Tone::Warn));
    }
    bands.extend(resolved.map(|at| band(at, end, Tone::Good)));
    bands.retain(|band| band.width > 0);
    let at: Vec<i64> = moments.iter().map(|moment| x(moment.at)).collect();
    let pins = moments.iter().zip(apart(&at)).map(|(moment, place)| Pin {
        x: place,
        at: x(moment.at),
        tone: moment.mark.tone,
        label: moment.number.map(|number| number.to_string()).unwrap_or_default(),
    });
    Some(Picture { bands, pins: pins.collect(), summary: summary(moments, first, status) })
}

/// The same places, moved as little as keeps them apart and inside, in their order.
fn apart(at: &[i64]) -> Vec<i64> {
    let gaps = i64::try_from(at.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
    let apart = APART.min((RIGHT - LEFT) / gaps);
    let mut places = at.to_vec();
    for next in 1..places.len() {
        places[next] = places[next].max(places[next - 1] + apart);
    }
    let mut limit = RIGHT;
    for place in places.iter_mut().rev() {
        *place = (*place).min(limit);
        limit = *place - apart;
    }
    places
}

fn summary(moments: &[Moment], first: Timestamp, status: &IncidentStatus) -> String {
    let of = |tone: Tone| {
        let attempts = moments.iter().filter(|moment| moment.number.is_some());
        attempts.filter(|moment| moment.mark.tone == tone).count()
    };
    let after = |at: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        at.as_ref().map(|at| length((at.0.as_second() - first.as_second()).max(0)))
    };
    let attempts = |count| if count == 1 { "attempt" } else { "attempts" };
    let (good, bad) = (of(Tone::Good), of(Tone::Bad));
    let mut parts = vec![format!("{good} {} succeeded, {bad} failed", attempts(good))];
    parts.extend(after(&status.mitigated_at).map(|took| format!("mitigated after {took}")));
    parts.extend(after(&status.resolved_at).map(|took| format!("resolved after {took}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_in_order_apart_and_inside_whatever_the_times_are() {
        for at in [
            vec![],
            vec![16],
            vec![16, 16, 17, 704],
            vec![16, 700, 701, 702, 703, 704],
            vec![704; 60],
            (0..40).map(|n| 16 + n).collect(),
        ] {
            let places = apart(&at);
            assert!(places.iter().all(|place| (LEFT..=RIGHT).contains(place)), "{places:?}");
            let least = APART.min((RIGHT - LEFT) / (i64::try_from(at.len().max(2)).unwrap() - 1));
            let is_apart = |pair: &[i64]| pair[1] - pair[0] >= least;
            assert!(places.windows(2).all(is_apart), "{places:?}");
        }
        assert_eq!(apart(&[16, 300, 704]), [16, 300, 704], "no need to move");
    }
}
