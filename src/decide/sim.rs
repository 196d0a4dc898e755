//! A world in memory that the production `decide` runs in: its writes are applied one by one, so a
//! crash can be put between any two, and the laws of the core are tested without a cluster.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

mod approvals;
mod blame;
mod breakers;
mod busy;
mod choices;
mod delivered;
mod effects;
mod episodes;
mod gates;
mod holds;
mod jobs;
mod kept;
mod model;
mod pin;
mod repairs;
mod requests;
mod served;
mod undo;

use super::{
    contract::{Decision, Next, Write, decide},
    effective::Effective,
    fleet::Fleet,
    held,
    history::{Worth, worth},
    moves::{Doing, Plan},
    ownership::{self, ServedIn, whose},
    requests::Annotations,
    select::Policy,
    signal::{Reason, Signal},
    silence::Silence,
    validate::Rulebook,
    view::{
        Assigned, Effect, EndedIncident, Holder, Need, Note, OpenIncident, Served, ServedKey,
        Subject, View, WrittenBack,
    },
};
use crate::{
    api::{
        DONE_FOR, PIN,
        contract::{EffectiveRef, Mode, WidgetContractStatus},
        incident::{
            About, Approval, ApprovalDecision, IncidentSpec, IncidentStatus, Never, State,
            StepEffect,
        },
    },
    domain::{
        Answer, Digest, Document, Doubt, DoubtReason, FailedPod, Heard, JobEnd, JobSeen, Probe,
        Probes, SourceState, Span, Symptoms, Told, Unseen, Warning, Workload, breaker::Call,
    },
    rules::schema,
    steps::Change,
};

#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct World {
    now: Timestamp,
    contract: Value,
    annotations: Annotations,
    class: Annotations,
    policies: Vec<Policy>,
    /// What each asset answers: a status, or none at all.
    assets: BTreeMap<String, Option<u16>>,
    status: WidgetContractStatus,
    served: Option<(Vec<u8>, Option<Note>, String)>,
    served_in: ServedIn,
    incidents: Vec<(String, IncidentSpec, IncidentStatus)>,
    revisions: BTreeMap<u32, Arc<Document>>,
    max_mode: Mode,
    each_calls: bool,
    shared: Vec<About>,
    fleet: Fleet,
    gitops: Option<String>,
    written_back: Option<WrittenBack>,
    /// Does admission see to who approves?
    guard: Result<(), String>,
    /// What people can read of the plan: its digest, its patch and the document.
    candidate: Option<Plan>,
    /// The source's workload, and what it answers with while a pod of it is available.
    workload: Option<Workload>,
    source: Option<Value>,
    /// What the edge shows, and how often it was asked.
    edge: Option<Value>,
    asked_edge: usize,
    /// How often the source was asked.
    asked_source: usize,
    /// Is too much else under way for anything outside to be asked?
    no_room: bool,
    /// The asset that there is no room to ask for.
    no_room_for: Option<&'static str>,
    /// Is the contract the one that tries what did not answer?
    tries_first: bool,
    /// What came of asking other hosts last.
    heard: Vec<Heard>,
    /// How often what is seen around the workload was asked for.
    asked_symptoms: usize,
    /// May the policy's ServiceAccount act on it?
    may_act: bool,
    /// May the operator itself, by the values of its chart?
    operator_may: bool,
    may_list: bool,
    acts: Vec<(Change, String)>,
    /// Its pods that have failed, and the UIDs of those that were deleted.
    failed: Vec<FailedPod>,
    deleted: Vec<String>,
    /// Are there more of its pods than are looked at?
    more_pods: bool,
    /// What a webhook answers, one after the other; the last one stays.
    answers: Vec<Told>,
    /// The calls of it, by their key and what they say; and what this process knows of them.
    calls: Vec<(String, String)>,
    told: BTreeMap<String, Told>,
    /// Why the API server refuses whatever is to be done to the cluster, and how often it did.
    refuses: Option<String>,
    /// Looks in a row that followed at once without any progress, and the most there ever were.
    again: u32,
    most_again: u32,
    refusals: usize,
    /// The template of a Job, the Jobs by name, and those that were made, by their key.
    template: Option<String>,
    jobs: BTreeMap<String, JobSeen>,
    made: Vec<String>,
    /// Writes so far, and after which one the process dies.
    writes: usize,
    dies_after: Option<usize>,
    /// How often the served bytes changed.
    published: usize,
    /// What was said; of one name the first only, as of an Event.
    said: Vec<(String, Signal)>,
    next: Option<Timestamp>,
    /// What the last look had to say of hosts that give no answer.
    silences: Arc<[Silence]>,
}

impl World {
    fn new(document: &Value) -> Self {
        let policy = "default: true\nsteps: [{name: restore, restoreRevision: {}}, {name: asset, replaceAsset: {}}]\n\
                      retry: {maxAttempts: 2, minHealthyPeriod: 5m, backoff: {initial: 10s}}";
        let contract = json!({
            "widget": "w", "document": {"inline": document},
            "schema": {"inline": {"required": ["title"], "properties": {"title": {"type": "string"}}}},
            "rules": [{"name": "images", "asset": {"paths": ["$.hero"]}}],
            "fallbackAssets": [{"url": "https://cdn.test/fallback.png"}],
        });
        let mut world = Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            contract,
            annotations: Annotations::new(),
            class: Annotations::new(),
            policies: vec![Policy {
                name: "heal".to_owned(),
                generation: 1,
                created: Timestamp::UNIX_EPOCH,
                annotations: Annotations::new(),
                spec: serde_saphyr::from_str(policy).unwrap(),
            }],
            assets: BTreeMap::new(),
            status: WidgetContractStatus::default(),
            served: None,
            served_in: ServedIn::default(),
            incidents: Vec::new(),
            revisions: BTreeMap::new(),
            max_mode: Mode::Auto,
            each_calls: false,
            shared: Vec::new(),
            fleet: Fleet::default(),
            gitops: None,
            written_back: None,
            guard: Ok(()),
            candidate: None,
            workload: None,
            source: None,
            edge: None,
            asked_edge: 0,
            asked_source: 0,
            no_room: false,
            no_room_for: None,
            tries_first: true,
            heard: Vec::new(),
            asked_symptoms: 0,
            may_act: true,
            operator_may: true,
            may_list: true,
            acts: Vec::new(),
            failed: Vec::new(),
            deleted: Vec::new(),
            more_pods: false,
            answers: vec![Told::Answered { status: 200, retry_after: None }],
            calls: Vec::new(),
            told: BTreeMap::new(),
            refuses: None,
            again: 0,
            most_again: 0,
            refusals: 0,
            template: None,
            jobs: BTreeMap::new(),
            made: Vec::new(),
            writes: 0,
            dies_after: None,
            published: 0,
            said: Vec::new(),
            next: None,
            silences: Arc::default(),
        };
        for name in ["hero", "other", "fallback"] {
            world.assets.insert(format!("https://cdn.test/{name}.png"), Some(200));
        }
        world
    }

    fn assign(&mut self, document: &Value) {
        self.contract["document"]["inline"] = document.clone();
    }

    fn asset(&mut self, name: &str, status: Option<u16>) {
        self.assets.insert(format!("https://cdn.test/{name}.png"), status);
    }

    fn probes(&self) -> Probes {
        let probe = |status: &Option<u16>| match status {
            Some(status) => Probe::Answered(Answer { status: *status, ..Answer::default() }),
            None => Probe::Failed {
                reason: DoubtReason::DnsFailed,
                message: "no host".to_owned(),
                host: Some("cdn.test".to_owned()),
            },
        };
        let mut probes: Probes =
            self.assets.iter().map(|(url, status)| (url.clone(), probe(status))).collect();
        if let Some(name) = self.no_room_for {
            let Doubt { reason, message, host, .. } = busy::no_room();
            let url = format!("https://cdn.test/{name}.png");
            probes.insert(url, Probe::Failed { reason, message, host });
        }
        probes
    }

    fn served(&self, subject: &Subject, effective: &Effective) -> Served {
        let Some(target) = &effective.serve else { return Served::NotServed };
        let Some((bytes, note, manager)) = &self.served else { return Served::Absent };
        let key = ServedKey {
            raw_digest: Digest::of_bytes(bytes),
            written_by_us: manager == "kintsugi",
            manager: manager.clone(),
            note: note.clone(),
        };
        whose(subject, Some(&self.status), target, &self.served_in, Some(key))
    }

    fn served_in(&self) -> Option<ServedIn> {
        let size = self.served.as_ref().map(|(bytes, ..)| bytes.len());
        let exists = size.is_some() || self.served_in.is_labelled;
        exists.then(|| ServedIn { size, ..self.served_in.clone() })
    }

    fn view(&self) -> View {
        let Merged { effective, digest, compiled, book, document } = merged(&self.contract);
        let probes = self.probes();
        let judged = book.judge(&effective.rules, document, &probes, self.now);
        let open = self.incidents.iter().find(|(_, _, status)| !is_over(status));
        let mut ended: Vec<EndedIncident> = self
            .incidents
            .iter()
            .filter(|(_, _, status)| is_over(status))
            .map(|(name, spec, status)| EndedIncident::of(name, name, spec, status))
            .collect();
        ended.reverse();
        let subject = Subject {
            namespace: "ns".to_owned(),
            name: "uk".to_owned(),
            uid: "0123".to_owned(),
            generation: 1,
            labels: BTreeMap::new(),
        };
        View {
            served: self.served(&subject, &effective),
            served_in: self.served_in(),
            subject,
            status: self.status.clone(),
            annotations: self.annotations.clone(),
            class: Some(("shared".to_owned(), self.class.clone())),
            effective_ref: EffectiveRef { digest, class_generation: None },
            effective,
            assigned: Assigned::Judged(judged),
            holder: Some(Holder {
                version: "1".to_owned(),
                gitops: self.gitops.clone(),
                written_back: self.written_back.clone(),
                is_binary: false,
                written_at: None,
            }),
            served_document: None,
            revisions: BTreeMap::new(),
            book,
            schema: Some(compiled),
            probes,
            policies: self.policies.clone(),
            strictest: Mode::Auto,
            each_calls: self.each_calls,
            shared: self.shared.clone(),
            max_mode: None,
            fleet: None,
            approval_guard: None,
            incident: open.map(|(name, spec, status)| OpenIncident {
                name: name.clone(),
                spec: spec.clone(),
                status: status.clone(),
                generation: 1,
                version: "1".to_owned(),
            }),
            ended,
            history: None,
            source: None,
            state: None,
            symptoms: None,
            edge: None,
            rights: BTreeMap::new(),
            told: BTreeMap::new(),
            heard: None,
            probing: BTreeMap::new(),
            templates: BTreeMap::new(),
            jobs: BTreeMap::new(),
            running_jobs: None,
        }
    }

    fn is_up(&self) -> bool {
        self.workload.as_ref().is_some_and(|workload| workload.available > 0)
    }

    fn running_jobs(&self) -> Result<BTreeMap<String, JobSeen>, String> {
        let running = self.jobs.iter().filter(|(_, job)| job.end.is_none());
        let running = running.map(|(name, job)| (name.clone(), job.clone())).collect();
        if self.may_list { Ok(running) } else { Err("listing Jobs in ns: not allowed".to_owned()) }
    }

    fn gather(&self, view: &mut View, need: Need) {
        let judge = |document: Arc<Document>| {
            view.book.judge(&view.effective.rules, document, &view.probes, self.now)
        };
        match need {
            Need::ServedDocument => {
                let bytes = self.served.as_ref().unwrap().0.clone();
                view.served_document = Some(judge(Arc::new(Document::parse(bytes).unwrap())));
            }
            Need::Revision(number) => {
                let stored = self.revisions.get(&number).cloned();
                let lost = Doubt::new(DoubtReason::ReferenceUnavailable, "gone");
                view.revisions.insert(number, stored.ok_or(lost));
            }
            Need::History => {
                let listed = self.status.document.iter().flat_map(|d| &d.revisions);
                let mut worths = listed.filter_map(|listed| {
                    let document = self.revisions.get(&listed.number)?;
                    Some(worth(listed.number, &judge(Arc::clone(document))))
                });
                let passing = match worths.find(|worth| *worth != Worth::Bad) {
                    Some(Worth::Good(revision)) => Ok(vec![revision]),
                    Some(Worth::Unasked(doubt)) => Err(doubt),
                    _ => Ok(Vec::new()),
                };
                view.history = Some(passing);
            }
            Need::MaxMode => view.max_mode = Some(self.max_mode),
            Need::Fleet(_) => {
                let mut fleet = self.fleet.clone();
                let calls = Arc::make_mut(&mut fleet.calls);
                for call in self.incidents.iter().flat_map(|(_, _, status)| &status.calls) {
                    let known = calls.entry(call.dependency.clone()).or_default();
                    known.push(Call { at: call.at.0, answered: call.answered });
                }
                view.fleet = Some(fleet);
            }
            Need::Heard => view.heard = Some(self.heard.clone()),
            Need::Probe(dependency) => drop(view.probing.insert(dependency, self.tries_first)),
            Need::ApprovalGuard => view.approval_guard = Some(self.guard.clone()),
            Need::Source => {
                let answer = self.source.clone().filter(|_| self.is_up());
                let answer = answer.map(|value| Arc::new(Document::from_value(value).unwrap()));
                let silent = Doubt::new(DoubtReason::ConnectionFailed, "none");
                view.source = Some(answer.ok_or(silent));
                if self.no_room {
                    view.source = Some(Err(busy::no_room()));
                }
            }
            Need::State => {
                let down = "Service catalog has no endpoint that is ready".to_owned();
                view.state = Some(SourceState {
                    workload: self.workload.clone().map(Ok),
                    pods: self.workload.is_some().then(|| Ok(Vec::new())),
                    failed: self.failed.clone(),
                    more_pods: self.more_pods,
                    endpoints: Some(if self.is_up() { Ok(1) } else { Err(down) }),
                });
            }
            Need::Symptoms => {
                let warning = Warning { reason: "BackOff".to_owned(), times: 3, last: self.now };
                view.symptoms = Some(Box::new(Symptoms {
                    limits: Ok(Vec::new()),
                    shields: Ok(Vec::new()),
                    warnings: Ok(vec![warning]),
                    log: Err("not allowed".to_owned()),
                    unseen: Unseen::default(),
                }));
            }
            Need::Edge => {
                let silent = Doubt::new(DoubtReason::ReferenceUnavailable, "it is silent");
                view.edge = Some(self.edge.as_ref().map(Digest::of_value).ok_or(silent));
                if self.no_room {
                    view.edge = Some(Err(busy::no_room()));
                }
            }
            Need::Right(right) => {
                let is_own = right.service_account.is_none();
                view.rights.insert(right, if is_own { self.operator_may } else { self.may_act });
            }
            Need::Told(id) => {
                let told = self.told.get(&id).cloned();
                view.told.insert(id, told);
            }
            Need::Template(wanted) => {
                let none = || "ConfigMap jobs does not exist".to_owned();
                view.templates.insert(wanted, self.template.clone().ok_or_else(none));
            }
            Need::Job(name) => {
                let job = self.jobs.get(&name).cloned();
                view.jobs.insert(name, Ok(job));
            }
            Need::RunningJobs => view.running_jobs = Some(self.running_jobs()),
            Need::Assets(assets) => {
                for (url, _) in assets {
                    let gone = Probe::Answered(Answer { status: 404, ..Answer::default() });
                    view.probes.entry(url).or_insert(gone);
                }
            }
        }
    }

    /// What is decided on this world, on what it was decided, and what was asked for on the way.
    fn decided(&self) -> (View, Decision, Vec<Need>) {
        let (mut view, mut asked) = (self.view(), Vec::new());
        while asked.len() < 16 {
            match decide(&view, self.now) {
                Err(need) => {
                    self.gather(&mut view, need.clone());
                    asked.push(need);
                }
                Ok(decision) => return (view, decision, asked),
            }
        }
        panic!("a look that asks without end: {asked:?}");
    }

    /// One look; None when the process died in it, else what comes next as the worker would see it.
    fn look(&mut self) -> Option<Next> {
        let (view, decision, asked) = self.decided();
        let times = |need| asked.iter().filter(|known| **known == need).count();
        self.asked_edge += times(Need::Edge);
        self.asked_source += if self.no_room { 0 } else { times(Need::Source) };
        self.asked_symptoms += times(Need::Symptoms);
        self.again = if decision.advances(&view) { 0 } else { self.again };
        self.again = if decision.next == Next::Again { self.again + 1 } else { 0 };
        self.most_again = self.most_again.max(self.again);
        for write in decision.stages.into_iter().flatten() {
            self.apply(write);
            if self.dies_after == Some(self.writes) {
                self.dies_after = None;
                self.told.clear();
                return None;
            }
        }
        decision.signals.into_iter().for_each(|signal| self.hear(signal));
        self.silences = decision.silences.unwrap_or(Arc::clone(&self.silences));
        Some(decision.next)
    }

    fn hear(&mut self, signal: Signal) {
        let (attempt, after) = (signal.attempt, signal.after);
        let which = signal.incident.clone().unwrap_or_else(|| self.writes.to_string());
        let name = format!("{which}/{}/{attempt}/{after:?}", signal.reason);
        if !self.said.iter().any(|(known, _)| *known == name) {
            self.said.push((name, signal));
        }
    }

    /// How often it was said.
    fn times(&self, reason: Reason) -> usize {
        self.said.iter().filter(|(_, signal)| signal.reason == reason).count()
    }

    fn apply(&mut self, write: Write) {
        self.writes += 1;
        match write {
            Write::Revision { number, document } => {
                let old = self.revisions.insert(number, Arc::clone(&document));
                assert!(
                    old.is_none_or(|old| old.digest() == document.digest()),
                    "revision {number} is overwritten"
                );
            }
            Write::Serve { document, note, instead_of } => {
                // To take back what was done is asked of nobody: it is a person who asked for it, or a
                // repair that failed its verification.
                if let (Some(effect), None, false) = (&note.effect, instead_of, note.undoes) {
                    self.assert_approved(&document, effect);
                }
                self.published += 1;
                self.served = Some((document.bytes().to_vec(), Some(note), "kintsugi".to_owned()));
                self.mark();
            }
            Write::Mark { note } => {
                self.served.as_mut().unwrap().1 = Some(note);
                self.mark();
            }
            Write::Back { document, effect } => {
                self.assert_approved(&document, &effect);
                self.published += 1;
                assert!(document.value()["title"].is_string(), "what fails is written back");
                let digest = document.digest().clone();
                self.contract["document"]["inline"] = document.value().clone();
                self.written_back = Some(WrittenBack { digest, effect });
            }
            Write::Act(act) => match &self.refuses {
                Some(why) if !matches!(act.doing(), Doing::Call(_)) => {
                    self.refusals += 1;
                    self.told.insert(act.id().to_owned(), Told::NotSent(why.clone()));
                }
                _ => self.act(act.id(), act.doing()),
            },
            Write::Open { name, spec } => {
                if !self.incidents.iter().any(|(known, ..)| *known == name) {
                    self.incidents.push((name, *spec, IncidentStatus::default()));
                }
            }
            Write::Candidate { plan, .. } => self.candidate = Some(*plan),
            Write::IncidentStatus { name, status } => {
                approvals::assert_asks_about_what_can_be_read(&status, self.candidate.as_ref());
                holds::assert_said_only_while_held(&status);
                let known = self.incidents.iter_mut().find(|(known, ..)| *known == name);
                known.unwrap().2 = *status;
            }
            Write::Status(status) => self.status = *status,
            Write::Prune(number) => drop(self.revisions.remove(&number)),
            Write::Forget(ended) => {
                self.incidents.retain(|(name, ..)| *name != ended.name);
                // The garbage collector does that.
                let of_it = format!("{}/", ended.name);
                self.jobs.retain(|_, job| !job.made_for.starts_with(&of_it));
            }
        }
    }

    fn act(&mut self, id: &str, doing: &Doing) {
        if self.policies[0].spec.mode == Some(Mode::Approve) {
            let mut effects = self.incidents.iter().flat_map(|(_, _, status)| &status.effects);
            let is_approved = |e: &StepEffect| e.outcome.is_none() && e.approved_by.is_some();
            assert!(effects.any(is_approved), "nobody approved it");
        }
        match doing {
            Doing::Change { change, workload, key } => {
                let stored = self.workload.as_mut().unwrap();
                assert_eq!(stored.version, workload.version, "not the version that was seen");
                match change {
                    Change::Restart => stored.restarted_for.clone_from(key),
                    Change::Scale(replicas) => {
                        stored.wanted = *replicas;
                        stored.scaled_for.clone_from(key);
                    }
                }
                stored.generation += 1;
                stored.version = stored.generation.to_string();
                self.acts.push((*change, key.clone()));
            }
            Doing::Call(call) => {
                let mut answer = self.answers[0].clone();
                if self.answers.len() > 1 {
                    self.answers.remove(0);
                }
                match &mut answer {
                    Told::NoRoom { at, .. } => *at = self.now,
                    _ => self.calls.push((call.key.clone(), call.body.clone())),
                }
                self.told.insert(id.to_owned(), answer);
            }
            Doing::RunJob(job) => {
                let name = job.metadata.name.clone().unwrap();
                let key = job.metadata.annotations.clone().unwrap_or_default()[DONE_FOR].clone();
                if !self.jobs.contains_key(&name) {
                    self.made.push(key.clone());
                    let deadline = job.spec.as_ref().unwrap().active_deadline_seconds.unwrap();
                    let ends_by = Span::secs(deadline.try_into().unwrap()).after(self.now);
                    let seen = JobSeen { made_for: key, ends_by, ..JobSeen::default() };
                    self.jobs.insert(name, seen);
                }
            }
            Doing::DeletePods(pods) => {
                for pod in pods {
                    assert!(self.failed.contains(pod), "not as it was seen");
                    self.failed.retain(|there| there != pod);
                    self.deleted.push(pod.uid.clone());
                }
            }
        }
    }

    /// Where a person has to approve, what is written is exactly what one has approved.
    fn assert_approved(&self, document: &Document, effect: &Effect) {
        if self.contract["healing"]["mode"] != "Approve" {
            return;
        }
        let incident = self.incidents.iter().find(|(name, ..)| *name == effect.incident);
        let (_, spec, status) = incident.expect("it is asked before it is done");
        let given = spec.approval.as_ref().expect("nobody approved it");
        let shown = self.candidate.as_ref().expect("nobody could read it");
        assert_eq!(given.decision, ApprovalDecision::Approve);
        assert_eq!(Some(&given.plan_digest), status.plan_digest.as_ref());
        assert_eq!(
            (&given.plan_digest, document.digest()),
            (&shown.digest, shown.document.digest())
        );
    }

    /// Looks until there is nothing more to do now; a look that died is simply begun anew.
    fn settle(&mut self) -> &mut Self {
        for _ in 0..20 {
            match self.look() {
                None | Some(Next::Again) => {}
                Some(Next::At(at)) => {
                    self.next = Some(at);
                    return self;
                }
                Some(Next::Changed) => {
                    self.next = None;
                    return self;
                }
            }
        }
        panic!("it does not come to rest: {:?}", self.status);
    }

    fn later(&mut self, span: Span) -> &mut Self {
        self.now = span.after(self.now);
        self
    }

    /// How `story` ends, and for each of its writes how it ends where the process is killed right after it.
    fn killed_after_each_write(&self, story: impl Fn(&mut Self)) -> (Self, Vec<(usize, Self)>) {
        let mut smooth = self.clone();
        story(&mut smooth);
        let killed = (self.writes + 1..=smooth.writes).map(|nth| {
            let mut crashing = Self { dies_after: Some(nth), ..self.clone() };
            story(&mut crashing);
            (nth, crashing)
        });
        let killed = killed.collect();
        (smooth, killed)
    }

    /// Lets time pass, as the timers ask, until `span` is over.
    fn run_for(&mut self, span: Span) -> &mut Self {
        let end = span.after(self.now);
        for _ in 0..500 {
            match self.next.filter(|at| *at <= end) {
                Some(at) => {
                    self.now = at.max(Span::secs(1).after(self.now));
                    self.settle();
                }
                None => break,
            }
        }
        self.now = end;
        self
    }

    fn served_value(&self) -> Value {
        serde_json::from_slice(&self.served.as_ref().unwrap().0).unwrap()
    }

    fn mark(&mut self) {
        self.served_in.is_labelled = true;
        self.served_in.owner = ownership::owner("0123", "uk");
    }

    /// As `kubectl replace` does it, with a manifest that knows nothing of marks.
    fn replace(&mut self, value: &Value) {
        let bytes = crate::domain::digest::canonical(value);
        self.served = Some((bytes, None, "vandal".to_owned()));
        self.served_in = ServedIn::default();
    }

    fn vandal(&mut self, value: &Value) {
        let bytes = crate::domain::digest::canonical(value);
        let note = self.served.as_ref().and_then(|(_, note, _)| note.clone());
        self.served = Some((bytes, note, "vandal".to_owned()));
    }

    fn undo(&mut self, never: Never) {
        if let Some((_, spec, _)) = self.incidents.last_mut() {
            spec.undo.get_or_insert_default().never = Some(never);
        }
    }

    fn state(&self) -> State {
        self.incidents.last().unwrap().2.state.unwrap_or_default()
    }

    fn tries(&self) -> u32 {
        self.incidents.last().unwrap().2.tries.unwrap_or(0)
    }
}

/// What a contract comes to.
#[derive(Clone)]
struct Merged {
    effective: Effective,
    digest: Digest,
    compiled: Arc<schema::CompiledSchema>,
    book: Arc<Rulebook>,
    document: Arc<Document>,
}

/// Merged and compiled once, as in production: the model looks at the same few a million times.
fn merged(contract: &Value) -> Merged {
    thread_local! {
        static KNOWN: RefCell<HashMap<Value, Merged>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        known.entry(contract.clone()).or_insert_with(|| merge(contract)).clone()
    })
}

fn merge(contract: &Value) -> Merged {
    let spec = serde_json::from_value(contract.clone()).unwrap();
    let effective = Effective::merge("uk", None, &spec).unwrap();
    let schema = &contract["schema"]["inline"];
    let compiled = Arc::new(schema::compile(schema).unwrap());
    let digest = effective.rules_digest(Some(&Digest::of_value(schema)));
    let book = Arc::new(Rulebook::compile(&effective, Some(&Ok(Arc::clone(&compiled)))));
    let document = Document::from_value(contract["document"]["inline"].clone()).unwrap();
    Merged { effective, digest, compiled, book, document: Arc::new(document) }
}

fn is_over(status: &IncidentStatus) -> bool {
    status.is_over()
}

fn good() -> Value {
    json!({"title": "one", "hero": "https://cdn.test/hero.png"})
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = good();
    change(&mut document);
    document
}

fn fallback() -> Value {
    with(|document| document["hero"] = json!("https://cdn.test/fallback.png"))
}

#[test]
fn a_healthy_contract_at_rest_is_not_written() {
    let mut world = World::new(&good());
    let writes = world.settle().writes;
    assert_eq!(world.later(Span::secs(60)).settle().writes, writes);
}

#[test]
fn a_contract_in_trouble_at_rest_is_not_written() {
    let mut world = World::new(&good());
    world.settle();
    world.assign(&broken());
    world.later(Span::secs(10)).settle();
    let writes = world.writes;
    for _ in 0..3 {
        world.later(Span::secs(60)).settle();
    }
    assert_eq!((world.writes, world.state()), (writes, State::Mitigated));
}

#[test]
fn a_heal_costs_four_writes_and_a_fifth_for_its_revision() {
    let mut world = World::new(&good());
    world.settle().later(Span::secs(10));
    let before = world.writes;
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.settle();
    assert_eq!((world.writes - before, world.state()), (5, State::Mitigated));
}

#[test]
fn a_look_between_two_attempts_keeps_the_time_of_the_next() {
    let mut world = World::new(&json!({"hero": "https://cdn.test/hero.png"}));
    world.settle();
    assert_eq!((world.state(), world.tries()), (State::Remediating, 1));
    let due = world.next.unwrap();
    // As after a restart, or any event: the look comes early, and nothing is tried.
    world.later(Span::secs(1)).settle();
    assert_eq!(world.tries(), 1);
    assert!(world.next.unwrap() <= due, "{:?} is later than {due}", world.next);
    world.run_for(Span::mins(2));
    assert_eq!((world.state(), world.tries()), (State::Escalated, 2));
    assert!(world.next.is_some(), "a slow probe goes on");
}

#[test]
fn a_repair_is_not_replaced_by_what_it_repairs_when_all_hosts_fall_silent() {
    let mut world = World::new(&good());
    world.settle().asset("hero", Some(404));
    world.later(Span::secs(60)).settle();
    assert_eq!(world.served_value(), fallback());
    for name in ["hero", "fallback"] {
        world.asset(name, None);
    }
    world.later(Span::secs(60)).settle();
    assert_eq!(world.served_value(), fallback(), "Unknown is no reason to change anything");
    assert_eq!(world.incidents.len(), 1);
}

#[test]
fn two_quick_edits_do_not_lose_the_first_one() {
    let mut world = World::new(&good());
    world.settle().later(Span::secs(10));
    let second = with(|document| document["title"] = json!("two"));
    world.assign(&second);
    // Published, and then the process dies before it is written down.
    world.dies_after = Some(world.writes + 2);
    assert_eq!(world.look(), None);
    assert_eq!(world.served_value(), second);
    world.assign(&with(|document| document["title"] = json!(3)));
    world.settle();
    assert_eq!(world.served_value()["title"], "two", "restored from the newest good document");
    assert_eq!(world.revisions[&2].value(), &second);
}

#[test]
fn an_asset_that_dies_again_is_healed_again_in_the_same_incident() {
    let mut world = World::new(&good());
    world.settle().asset("hero", Some(404));
    world.later(Span::secs(60)).settle().asset("hero", Some(200));
    world.later(Span::secs(60)).settle();
    assert_eq!(world.served_value(), good(), "the owner's document is back");
    world.asset("hero", Some(404));
    world.later(Span::secs(60)).settle();
    assert_eq!(world.served_value(), fallback());
    assert_eq!((world.incidents.len(), world.tries()), (1, 2));
    world.asset("hero", Some(200));
    world.later(Span::secs(60)).settle().run_for(Span::mins(10));
    assert_eq!(world.state(), State::Resolved);
}

#[test]
fn what_cannot_be_checked_after_publishing_spends_no_attempt() {
    let mut world = World::new(&good());
    world.settle().asset("hero", Some(404));
    world.later(Span::secs(60));
    // Published, and in the same moment its host falls silent.
    assert_eq!(world.look(), Some(Next::Again));
    world.asset("fallback", None);
    world.settle();
    assert_eq!((world.state(), world.tries()), (State::Verifying, 0));
    assert!(world.next.is_some());
    world.asset("fallback", Some(200));
    world.later(Span::secs(60)).settle();
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
}

#[test]
fn a_rule_that_turns_unknown_does_not_begin_another_episode() {
    let mut world = World::new(&good());
    world.settle().asset("hero", Some(404));
    world.assign(&with(|document| document["title"] = json!(7)));
    world.later(Span::secs(60)).settle();
    for status in [None, Some(404), None, Some(404)] {
        world.asset("hero", status);
        world.later(Span::secs(60)).settle();
    }
    assert_eq!(world.incidents.len(), 1);
}

#[test]
fn somebody_elses_bytes_are_put_back_even_if_they_are_the_withheld_document() {
    let mut world = World::new(&good());
    world.contract["healing"] = json!({"mode": "Off"});
    world.settle();
    let broken = with(|document| document["title"] = json!(7));
    world.assign(&broken);
    world.later(Span::secs(10)).settle();
    world.vandal(&broken);
    world.later(Span::secs(10)).settle();
    assert_eq!(world.served_value(), good());
    assert_eq!(world.status.document.as_ref().unwrap().served.as_ref().unwrap().revision, Some(1));
}

#[test]
fn a_document_that_its_owner_went_back_to_is_the_one_that_is_restored() {
    let mut world = World::new(&good());
    world.settle();
    world.assign(&with(|document| document["title"] = json!("wrong, but valid")));
    world.later(Span::secs(10)).settle();
    world.assign(&good());
    world.later(Span::secs(10)).settle();
    world.assign(&with(|document| document["title"] = json!(7)));
    world.later(Span::secs(10)).settle();
    assert_eq!(world.served_value(), good());
}

#[test]
fn a_policy_that_comes_after_the_incident_still_heals_it() {
    let mut world = World::new(&good());
    let policies = std::mem::take(&mut world.policies);
    world.contract["fallbackAssets"] = json!([]);
    world.settle();
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.later(Span::secs(10)).settle();
    assert_eq!(world.served_value(), good());
    world.policies = policies;
    world.later(Span::secs(10)).settle();
    assert_eq!(world.served_value()["new"], "good");
}

#[test]
fn the_third_overwrite_within_ten_minutes_is_left_to_people_and_put_back_later() {
    let mut world = World::new(&good());
    world.settle();
    for _ in 0..2 {
        world.vandal(&with(|document| document["title"] = json!("vandal")));
        world.later(Span::secs(10)).settle();
        assert_eq!(world.served_value(), good());
    }
    let published = world.published;
    for _ in 0..5 {
        world.vandal(&with(|document| document["title"] = json!("vandal")));
        world.later(Span::secs(10)).settle();
    }
    assert_eq!((world.published, world.state()), (published, State::Escalated));
    assert_eq!((world.status.reason.as_str(), world.incidents.len()), ("Contended", 3));
    world.run_for(Span::mins(11));
    assert_eq!((world.served_value(), world.state()), (good(), State::Resolved));
}

/// What can happen to a contract from outside.
#[derive(Clone, Debug)]
enum Happens {
    Assign(Value),
    Asset(&'static str, Option<u16>),
    Vandal(Value),
    Replace(Value),
    Time(u32),
    /// A person decides on the plan that is shown.
    Approve(bool),
    /// A person takes back what the open Incident did.
    Undo(Never),
    /// The good document is pinned for so many seconds; none takes the pin away.
    Pin(u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    let document = prop_oneof![
        Just(good()),
        Just(with(|document| document["title"] = json!("two"))),
        Just(with(|document| document["title"] = json!(7))),
        Just(with(|document| document["hero"] = json!("https://cdn.test/other.png"))),
        Just(json!({"hero": "https://cdn.test/hero.png", "new": true})),
    ];
    let status = prop_oneof![Just(Some(200)), Just(Some(404)), Just(None)];
    let name = prop_oneof![Just("hero"), Just("other"), Just("fallback")];
    prop_oneof![
        document.clone().prop_map(Happens::Assign),
        (name, status).prop_map(|(name, status)| Happens::Asset(name, status)),
        document.clone().prop_map(Happens::Vandal),
        document.prop_map(Happens::Replace),
        (1..400_u32).prop_map(Happens::Time),
        any::<bool>().prop_map(Happens::Approve),
        prop_oneof![Just(0), 1..400_u32].prop_map(Happens::Pin),
        prop_oneof![Just(Never::Candidate), Just(Never::Step), Just(Never::Rule)]
            .prop_map(Happens::Undo),
    ]
}

fn healing() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"writeBack": "Document"})),
        Just(json!({"mode": "Approve"})),
        Just(json!({"mode": "Approve", "writeBack": "Document"})),
    ]
}

fn happen(world: &mut World, what: &Happens) {
    match what {
        Happens::Assign(document) => world.assign(document),
        Happens::Asset(name, status) => world.asset(name, *status),
        Happens::Vandal(document) => {
            if world.served.is_some() {
                world.vandal(document);
            }
        }
        Happens::Replace(document) => {
            if world.served.is_some() {
                world.replace(document);
            }
        }
        Happens::Undo(never) => world.undo(*never),
        Happens::Pin(0) => drop(world.annotations.remove(PIN)),
        Happens::Pin(seconds) => {
            let until = Span::secs(*seconds).after(world.now);
            let pin = format!("{}/{until}", Digest::of_value(&good()));
            world.annotations.insert(PIN.to_owned(), pin);
        }
        Happens::Time(seconds) => {
            world.later(Span::secs(*seconds));
        }
        Happens::Approve(is_good) => {
            let open = world.incidents.iter_mut().find(|(_, _, status)| !is_over(status));
            let Some((_, spec, status)) = open else { return };
            let Some(plan_digest) = status.plan_digest.clone() else { return };
            let decision =
                if *is_good { ApprovalDecision::Approve } else { ApprovalDecision::Reject };
            let reason = Some("because".to_owned());
            spec.approval = Some(Approval { plan_digest, decision, by: "ann".to_owned(), reason });
        }
    }
}

/// What must hold whenever the world has come to rest.
fn check_laws(world: &World) -> Result<(), TestCaseError> {
    let open = world.incidents.iter().filter(|(_, _, status)| !is_over(status)).count();
    prop_assert!(open <= 1, "{open} open Incidents");
    if open == 1 {
        prop_assert!(world.next.is_some(), "an open Incident without a next look");
    }
    // A fight over the key is the one thing that leaves somebody else's bytes there.
    let theirs = world.status.reason == "Contended";
    if let Some((bytes, ..)) = world.served.as_ref().filter(|_| !theirs) {
        let served: Value = serde_json::from_slice(bytes).unwrap();
        prop_assert!(
            served["title"].is_string(),
            "a document that fails its schema is served: {served}"
        );
    }
    for (_, spec, status) in &world.incidents {
        let attempts = status.attempts.len();
        prop_assert!(attempts <= 20 && spec.violations.len() <= 20);
        prop_assert!(status.tries.unwrap_or(0) >= u32::try_from(attempts).unwrap());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn from_the_same_facts_the_same_is_decided_with_the_same_questions(
        story in prop::collection::vec(happens(), 1..12), healing in healing()
    ) {
        let mut world = World::new(&good());
        world.contract["healing"] = healing;
        let decided = |world: &World| {
            let (_, decision, asked) = world.decided();
            format!("{decision:?} {asked:?}")
        };
        for what in &story {
            happen(&mut world, what);
            prop_assert_eq!(decided(&world), decided(&world.clone()));
            // Between two looks of one story, too.
            world.look();
            prop_assert_eq!(decided(&world), decided(&world.clone()));
            world.settle();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_laws_hold_and_a_second_look_changes_nothing(
        story in prop::collection::vec(happens(), 1..12), healing in healing()
    ) {
        let mut world = World::new(&good());
        world.contract["healing"] = healing;
        world.settle();
        for what in &story {
            happen(&mut world, what);
            world.settle();
            check_laws(&world)?;
            let (writes, published) = (world.writes, world.published);
            world.settle();
            prop_assert_eq!((world.writes, world.published), (writes, published), "not quiet");
        }
    }

    #[test]
    fn a_crash_after_any_write_ends_where_no_crash_ends(
        story in prop::collection::vec(happens(), 1..6), dies_after in 1..40_usize,
        healing in healing()
    ) {
        let mut smooth = World::new(&good());
        smooth.contract["healing"] = healing;
        let mut crashing = smooth.clone();
        crashing.dies_after = Some(dies_after);
        smooth.settle();
        crashing.settle();
        for what in &story {
            for world in [&mut smooth, &mut crashing] {
                happen(world, what);
                world.settle();
            }
        }
        check_laws(&crashing)?;
        prop_assert_eq!(crashing.served_value(), smooth.served_value());
        prop_assert_eq!(crashing.incidents.len(), smooth.incidents.len());
        prop_assert_eq!(crashing.published, smooth.published, "something was published twice");
        let states = |world: &World| -> Vec<_> {
            world.incidents.iter().map(|(name, _, status)| (name.clone(), status.state, status.tries)).collect()
        };
        prop_assert_eq!(states(&crashing), states(&smooth));
        let remembered = |world: &World| (world.status.episodes, world.status.policy.clone());
        prop_assert_eq!(remembered(&crashing), remembered(&smooth));
    }
}

#[test]
fn a_withheld_document_after_a_recovery_is_written_down_once() {
    let other = with(|document| document["hero"] = json!("https://cdn.test/other.png"));
    let mut world = World::new(&good());
    world.settle();
    world.assign(&other);
    world.settle();
    world.assign(&with(|document| document["title"] = json!(7)));
    world.settle();
    world.asset("hero", Some(404));
    world.settle();
    world.assign(&other);
    world.settle();
    world.assign(&good());
    world.settle();
    let writes = world.writes;
    world.settle();
    assert_eq!(world.writes, writes);
}

/// A contract whose owner wants its document mended where it is.
fn written_back() -> World {
    let mut world = World::new(&good());
    world.contract["healing"] = json!({"writeBack": "Document"});
    world.settle().later(Span::secs(10));
    world
}

fn broken() -> Value {
    with(|document| document["title"] = json!(7))
}

#[test]
fn a_document_that_is_written_back_is_mended_and_resolved_at_once_in_four_writes() {
    let mut world = written_back();
    let before = world.writes;
    world.assign(&broken());
    world.settle();
    assert_eq!(world.contract["document"]["inline"], good());
    assert_eq!((world.writes - before, world.state(), world.tries()), (4, State::Resolved, 1));
    let (_, spec, status) = world.incidents.last().unwrap();
    let attempt = &status.attempts[0];
    assert_eq!((attempt.step.as_str(), attempt.ops[0].path.as_str()), ("restore", "/title"));
    assert_eq!(spec.intent.as_ref().unwrap().digest, Digest::of_value(&good()));
}

#[test]
fn the_good_part_of_an_edit_that_is_written_back_is_served_too() {
    let mut world = written_back();
    let half_good = |title: Value| {
        with(|document| {
            document["title"] = title;
            document["new"] = json!("good");
        })
    };
    world.assign(&half_good(json!(7)));
    world.settle();
    let expected = half_good(json!("one"));
    assert_eq!(world.contract["document"]["inline"], expected);
    assert_eq!((world.served_value(), world.state()), (expected, State::Resolved));
}

#[test]
fn a_fault_that_comes_back_soon_after_it_was_written_back_is_left_to_its_owner() {
    let mut world = written_back();
    for _ in 0..50 {
        world.assign(&broken());
        world.later(Span::secs(10)).settle();
    }
    assert_eq!(world.contract["document"]["inline"], broken(), "nobody fights with the owner");
    assert_eq!((world.incidents.len(), world.state()), (2, State::Mitigated));
    assert_eq!(world.served_value(), good());
    let message = &world.incidents[1].2.message;
    assert!(message.contains("not written back: the same fault was mended"), "{message}");
}

#[test]
fn a_document_that_a_gitops_tool_applies_is_not_written_and_says_so() {
    let mut world = written_back();
    world.gitops = Some("Flux".to_owned());
    let edit = with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    });
    world.assign(&edit);
    world.settle();
    assert_eq!(world.contract["document"]["inline"], edit);
    assert_eq!(
        (world.served_value()["new"].clone(), world.state()),
        (json!("good"), State::Mitigated)
    );
    let message = &world.incidents[0].2.message;
    assert!(message.contains("not written back: Flux applies the document"), "{message}");
}

#[test]
fn a_later_attempt_says_what_it_is_about_to_write_before_it_writes() {
    let mut world = written_back();
    world.policies[0].spec = serde_saphyr::from_str(
        "default: true\nsteps: [{name: pause, wait: {for: 5s}}, {name: restore, restoreRevision: {}}]",
    )
    .unwrap();
    world.assign(&broken());
    world.settle().run_for(Span::mins(1));
    assert_eq!(
        (world.contract["document"]["inline"].clone(), world.state()),
        (good(), State::Resolved)
    );
    let status = &world.incidents[0].2;
    assert_eq!(status.intent.as_ref().unwrap().ops[0].path, "/title");
    assert_eq!(status.attempts[0].ops[0].path, "/title");
}

#[test]
fn a_watch_only_contract_in_trouble_is_held_unless_it_is_written_back() {
    let mut world = World::new(&good());
    world.contract["serve"] = json!({"none": {}});
    world.settle();
    world.assign(&broken());
    let published = world.published;
    world.later(Span::secs(10)).settle();
    assert_eq!((world.published, world.state()), (published, State::Held));
    assert_eq!(world.incidents[0].2.waiting, "WatchOnly");
    world.contract["healing"] = json!({"writeBack": "Document"});
    world.later(Span::secs(10)).settle();
    assert_eq!(
        (world.contract["document"]["inline"].clone(), world.state()),
        (good(), State::Resolved)
    );
}

#[test]
fn a_namespace_says_how_far_repairs_go_in_it() {
    for (max_mode, incidents, published) in
        [(Mode::Off, 0, 1), (Mode::Observe, 1, 1), (Mode::DryRun, 1, 1), (Mode::Auto, 1, 2)]
    {
        let mut world = World::new(&good());
        world.max_mode = max_mode;
        world.settle();
        world.assign(&with(|document| {
            document["title"] = json!(7);
            document["new"] = json!("good");
        }));
        world.later(Span::secs(10)).settle();
        assert_eq!((world.incidents.len(), world.published), (incidents, published), "{max_mode}");
    }
}
