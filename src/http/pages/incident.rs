//! One Incident: what failed, what was done about it, and what a person can do.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;

use super::{
    Frame, Or, Page, Part, Refusal,
    documents::{Compared, Planned, sign},
    incidents::{IncidentItem, in_short},
    mark::Mark,
    offers,
    said::Said,
    timeline::{self, Moment, Picture},
    when::When,
};
use crate::{
    api::incident::{Attempt, IncidentSpec, IncidentStatus, Outcome, Segment},
    controllers::desk::{
        Ask, Desk,
        act::About,
        shown::{IncidentRow, IncidentShown},
    },
    decide::gates::approval::AWAITING_APPROVAL,
    domain::patch::OpSummary,
    http::{api::Named, caller::Caller},
};

#[derive(Template)]
#[template(path = "incident.html")]
struct Shown {
    frame: Frame,
    name: Said,
    item: IncidentItem,
    message: Said,
    /// The contract that it is about.
    contract: Option<String>,
    trace: Option<Said>,
    /// Where that is looked at.
    trace_at: Option<String>,
    policies: Said,
    times: Vec<(&'static str, When)>,
    violations: Vec<Violation>,
    evidence: Vec<Finding>,
    plan: Plan,
    segments: Vec<Governed>,
    picture: Option<Picture>,
    moments: Vec<Moment>,
    /// Is there a plan to decide on, and may they?
    decide: Option<Part<()>>,
    /// Is there a repair to take back, and may they?
    undo: Option<Part<()>>,
    path: String,
    conditions: Vec<ConditionRow>,
    news: String,
}

/// One objection.
struct Violation {
    rule: Said,
    path: Said,
    keyword: Said,
    message: Said,
}

/// What a look at the source found.
struct Finding {
    check: String,
    mark: Mark,
    message: Said,
}

/// What would be done now.
struct Plan {
    changes: Vec<Change>,
    /// The same with its values, where a document is planned.
    values: Option<Part<Planned>>,
    digest: String,
    shown: Option<When>,
    expires: Option<When>,
    approved_by: Option<Said>,
    /// What the condition Approved says, with the command that decides.
    says: Said,
}

/// One place that changes.
pub struct Change {
    pub sign: &'static str,
    pub op: &'static str,
    pub path: Said,
    pub from: Said,
    pub digest: String,
}

/// The part of the plan that one policy governs.
struct Governed {
    policy: Said,
    why: Said,
    rules: Said,
    mode: String,
    steps: Vec<Said>,
}

/// A condition of a status.
pub struct ConditionRow {
    pub name: Said,
    pub status: Said,
    pub reason: Said,
    pub message: Said,
    pub since: When,
}

impl ConditionRow {
    pub fn all(
        conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
        now: Timestamp,
    ) -> Vec<Self> {
        let row = |one: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| Self {
            name: Said::of(&one.type_),
            status: Said::of(&one.status),
            reason: Said::of(&one.reason),
            message: Said::cut(&one.message, 600),
            since: When::of(one.last_transition_time.0, now),
        };
        conditions.iter().map(row).collect()
    }
}

impl Change {
    pub fn of(op: &OpSummary) -> Self {
        let (sign, word) = sign(op.op);
        Self {
            sign,
            op: word,
            // The empty JSON Pointer is the whole document.
            path: if op.path.is_empty() {
                Said::of("(the whole document)")
            } else {
                Said::of(&op.path)
            },
            from: Said::of(op.value_from.as_deref().unwrap_or_default()),
            digest: op.value_digest.as_ref().map(|is| is.short().to_owned()).unwrap_or_default(),
        }
    }
}

/// The page.
pub async fn page(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(Named(key)): Or<Named>,
) -> Result<Page<impl Template>, Refusal> {
    desk.shows(&person, Ask::of("get", "incidents", &key)).await?;
    let now = desk.now();
    let found = desk.incident(&person, &key).await?;
    let frame = Frame::of(format!("Incident {}", key.name), "incidents", &person, now);
    let mut page = shown(frame, &found, now);
    let id = found.row.trace_id.as_ref().filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit()));
    page.trace_at = desk.traces.as_ref().zip(id).map(|(at, id)| at.replace("{trace}", id));
    if found.status.candidate_digest.is_some() {
        let shown = desk.plan(&person, &key, &found).await;
        page.plan.values = Some(Planned::of(shown, &found.status.plan)?);
    }
    if found.status.waiting == AWAITING_APPROVAL && found.status.plan_digest.is_some() {
        page.decide = Some(offers(&desk, &person, About::Plan, &key).await?);
    }
    let is_done = |attempt: &Attempt| attempt.outcome == Outcome::Succeeded;
    if found.status.attempts.iter().any(is_done) && found.spec.undo.is_none() {
        page.undo = Some(offers(&desk, &person, About::Repair, &key).await?);
    }
    Ok(Page(page))
}

fn shown(frame: Frame, found: &IncidentShown, now: Timestamp) -> Shown {
    let IncidentShown { row, spec, status } = found;
    let item = IncidentItem::of(row, now);
    let moments = timeline::moments(spec, status, now);
    let news = format!("Incident of {}: {}, {}", row.subject, item.state.word, row.waiting);
    Shown {
        name: Said::of(&row.name),
        message: Said::cut(lead(row), 600),
        contract: (!row.contract.is_empty())
            .then(|| format!("/namespaces/{}/contracts/{}", row.namespace, row.contract)),
        trace_at: None,
        trace: row.trace_id.as_ref().map(Said::of),
        policies: Said::of(&spec.policies_summary),
        times: times(spec, status, now),
        violations: spec
            .violations
            .iter()
            .map(|one| Violation {
                rule: Said::of(&one.rule),
                path: Said::of(&one.path),
                keyword: Said::of(&one.keyword),
                message: Said::cut(&one.message, 600),
            })
            .collect(),
        evidence: evidence(status),
        plan: plan(status, now),
        segments: spec.plan.iter().map(Governed::of).collect(),
        picture: timeline::picture(&moments, status, now),
        moments,
        decide: None,
        undo: None,
        path: format!("/namespaces/{}/incidents/{}", row.namespace, row.name),
        conditions: ConditionRow::all(&status.conditions, now),
        news: Said::of(news).to_string(),
        item,
        frame,
    }
}

fn times(
    spec: &IncidentSpec,
    status: &IncidentStatus,
    now: Timestamp,
) -> Vec<(&'static str, When)> {
    let all = [
        ("Opened", Some(&spec.opened_at)),
        ("Mitigated", status.mitigated_at.as_ref()),
        ("Resolved", status.resolved_at.as_ref()),
        ("A person was called", status.called_at.as_ref()),
        ("Next", status.next_attempt_time.as_ref()),
        ("Looks again", status.held_until.as_ref().filter(|until| until.0 > now)),
    ];
    all.into_iter().filter_map(|(name, at)| Some((name, When::of(at?.0, now)))).collect()
}

fn evidence(status: &IncidentStatus) -> Vec<Finding> {
    let all = status.diagnosis.iter().flat_map(|diagnosis| &diagnosis.evidence);
    all.map(|one| Finding {
        check: one.check.to_string(),
        mark: one.result.into(),
        message: Said::cut(&one.message, 600),
    })
    .collect()
}

/// What it says first. The command that approves a plan is with the plan, and its buttons are nearer.
fn lead(row: &IncidentRow) -> &str {
    if row.waiting == AWAITING_APPROVAL { in_short(&row.message) } else { &row.message }
}

fn plan(status: &IncidentStatus, now: Timestamp) -> Plan {
    let approved = status.conditions.iter().find(|condition| condition.type_ == "Approved");
    Plan {
        changes: status.plan.iter().map(Change::of).collect(),
        values: None,
        digest: status.plan_digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        shown: status.plan_shown_at.as_ref().map(|at| When::of(at.0, now)),
        expires: status.plan_expires_at.as_ref().map(|at| When::of(at.0, now)),
        approved_by: status.approved_by.as_ref().map(Said::of),
        says: approved.map(|condition| Said::cut(&condition.message, 800)).unwrap_or_default(),
    }
}

impl Governed {
    fn of(segment: &Segment) -> Self {
        let policy = segment.policy_ref.as_ref();
        Self {
            policy: policy
                .map_or_else(|| Said::of("built-in behaviour"), |one| Said::of(&one.name)),
            why: Said::cut(&segment.why, 1024),
            rules: Said::of(segment.rules.join(", ")),
            mode: segment.mode.to_string(),
            steps: segment.steps.iter().map(|step| Said::of(&step.name)).collect(),
        }
    }
}
