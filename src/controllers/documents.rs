//! Documents, schemas and assets: fetched, parsed, compiled and judged, each bounded.
//!
//! Knows: ConfigMaps, the HTTP client, the caches. Must not know: what
//! follows from a verdict.

use std::{collections::BTreeMap, io::Read as _, sync::Arc, time::Duration};

use flate2::read::GzDecoder;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _};
use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    Ctx, Error, Key, Seen,
    index::version_of,
    measure,
    names::{REVISION_KEY, REVISION_KEY_GZ, revision_name},
    pool::{Late, Pool},
    write_back,
};
use crate::{
    api::{
        contract::{DocumentSource, SchemaSource},
        refs::{AnyObject, ConfigMapKeyRef, WebUrl},
    },
    config::Config,
    decide::{
        effective::Effective,
        validate::{Judged, Rulebook, Schema},
        view::Holder,
    },
    domain::{
        Digest, Document, Doubt, DoubtReason, Probes, Verdict, Violation,
        document::{MAX_BYTES, Malformed},
    },
    outbound::{OutboundError, Request, Response, Want},
    rules::schema::{self, CompiledSchema},
};

/// How many bytes of documents are remembered.
const RECENT_BYTES: u64 = 2 * 1024 * 1024;
/// What an entry takes beside the bytes of its document: its key, and the cache's own records.
const ENTRY_BYTES: usize = 512;

/// The caches, and the pool.
pub struct Documents {
    /// The newest version of each ConfigMap that was seen by a watch, for those that are read.
    versions: Cache<Key, u64>,
    /// Schemas in ConfigMaps, by ConfigMap: a change of it drops them all.
    placed: Cache<Key, Placed>,
    /// Compiled schemas, by digest.
    schemas: Cache<Digest, Schema>,
    /// Compiled rules, by digest.
    rulebooks: Cache<Digest, Arc<Rulebook>>,
    /// The revisions that were stored or read last, by ConfigMap: a contract that was changed a
    /// moment ago is the one that breaks now, and its repair waits for no read. As text, since a
    /// parsed document takes many times the memory of its bytes.
    recent: Cache<Key, Arc<[u8]>>,
    /// Documents that took too long under these rules: not tried again before a restart.
    too_slow: Cache<(Digest, Digest), ()>,
    /// Where judging and planning run.
    pub pool: Pool,
}

#[derive(Clone)]
struct Placed {
    key: String,
    version: u64,
    digest: Digest,
    schema: Schema,
}

/// What was found where a document should be.
#[derive(Debug)]
pub enum Fetched {
    /// A document.
    Document(Arc<Document>),
    /// Bytes that are not a document.
    Malformed(Digest, Violation),
    /// Nothing that says anything about the document.
    Unavailable(Doubt),
}

/// The rules of a contract, ready to judge with.
#[derive(Clone)]
pub struct Rules {
    /// What names them.
    pub digest: Digest,
    /// The rules.
    pub book: Arc<Rulebook>,
    /// The schema, where there is one that compiles.
    pub schema: Option<Arc<CompiledSchema>>,
}

impl Documents {
    /// Empty caches.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            versions: Cache::new(10_000),
            placed: Cache::new(1_000),
            schemas: Cache::new(1_000),
            rulebooks: Cache::new(1_000),
            recent: Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .weigher(|_, bytes: &Arc<[u8]>| {
                    u32::try_from(bytes.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
                })
                .max_capacity(RECENT_BYTES)
                .build(),
            too_slow: Cache::new(10_000),
            pool: Pool::new(usize::from(config.validators), config.validation_timeout),
        }
    }

    /// `document` is stored in the revision `at`.
    pub fn stored(&self, at: Key, document: &Document) {
        self.recent.insert(at, document.bytes().into());
    }

    /// A watch saw this version of a ConfigMap; is it news? Only those that somebody reads are
    /// remembered, but what was read before is dropped whoever reads it now.
    #[must_use]
    pub fn saw_config_map(&self, key: &Key, version: u64, is_read: bool) -> bool {
        if self.placed.get(key).is_some_and(|placed| placed.version < version) {
            self.placed.invalidate(key);
        }
        let news = self.versions.get(key).is_none_or(|known| version > known);
        if news && is_read {
            self.versions.insert(key.clone(), version);
        }
        news && is_read
    }
}

/// Fetches the document that was asked for, and what can be seen on the object that holds it.
///
/// # Errors
/// Only what concerns the API server as a whole; what concerns the document is in [`Fetched`].
pub async fn fetch(
    ctx: &Ctx,
    seen: &Seen,
    source: &DocumentSource,
) -> Result<(Fetched, Option<Holder>), Error> {
    match source {
        DocumentSource::Inline(AnyObject(map)) => {
            let document =
                parsed(Document::from_value(map.clone().into()), None, "spec.document.inline");
            Ok((document, Some(write_back::contract(&seen.object))))
        }
        DocumentSource::ConfigMapKeyRef(at) => {
            let (namespace, field) = (&seen.key.namespace, "spec.document.configMapKeyRef");
            Ok(match config_map_key(ctx, namespace, at, field).await? {
                Ok((object, bytes)) => {
                    let holder = write_back::config_map(&seen.object, &object, &at.key);
                    (from_bytes(bytes, field), Some(holder))
                }
                Err(doubt) => (Fetched::Unavailable(doubt), None),
            })
        }
        DocumentSource::Url(WebUrl(url)) => {
            let field = "spec.document.url";
            let deadline = ctx.config.fetch_timeout.to_std();
            let fetched = match get(ctx, url, deadline).await {
                Ok(response) if response.status == 200 => from_bytes(response.body, field),
                Ok(response) => Fetched::Unavailable(Doubt::new(
                    DoubtReason::HttpUnclear,
                    &format!(
                        "{field} answered with status {}, not 200; give a URL that answers with the \
                         document",
                        response.status
                    ),
                )),
                Err(error) => {
                    let doubt = Doubt::new(error.reason(), &format!("{field}: {error}"));
                    Fetched::Unavailable(doubt.for_want_of(error.silent_host().as_deref()))
                }
            };
            Ok((fetched, None))
        }
    }
}

async fn get(ctx: &Ctx, url: &str, deadline: Duration) -> Result<Response, OutboundError> {
    // One byte more than a document may have: enough to say that it is too large.
    let request = Request::get(url, MAX_BYTES + 1, deadline)?;
    ctx.outbound.fetch(request).await
}

/// How long the edge may take to answer: the look at its contract waits for it.
const EDGE_DEADLINE: Duration = Duration::from_secs(5);

/// The document that the edge shows, by its digest; of what is none, that of its bytes.
///
/// # Errors
/// It did not answer with one.
pub async fn edge(ctx: &Ctx, url: &str) -> Result<Digest, Doubt> {
    match get(ctx, url, EDGE_DEADLINE.min(ctx.config.fetch_timeout.to_std())).await {
        Ok(response) if response.status == 200 => {
            let raw_digest = Digest::of_bytes(&response.body);
            let document = Document::parse(response.body);
            Ok(document.map_or(raw_digest, |document| document.digest().clone()))
        }
        Ok(response) => {
            let message = format!("it answered with status {}, not 200", response.status);
            Err(Doubt::new(DoubtReason::HttpUnclear, &message))
        }
        Err(error) => Err(Doubt::new(error.reason(), &error.to_string())),
    }
}

fn from_bytes(bytes: Vec<u8>, field: &str) -> Fetched {
    let raw_digest = Digest::of_bytes(&bytes);
    parsed(Document::parse(bytes), Some(raw_digest), field)
}

fn parsed(
    document: Result<Document, Malformed>,
    raw_digest: Option<Digest>,
    field: &str,
) -> Fetched {
    match document {
        Ok(document) => Fetched::Document(Arc::new(document)),
        Err(malformed) => Fetched::Malformed(
            raw_digest.unwrap_or_else(|| Digest::of_bytes(b"")),
            Violation::new("", "json", &format!("{field}: {malformed}")),
        ),
    }
}

/// A ConfigMap and the bytes of one key, taken out of it where they are text; Err(Doubt) when there
/// is none.
async fn config_map_key(
    ctx: &Ctx,
    namespace: &str,
    at: &ConfigMapKeyRef,
    field: &str,
) -> Result<Result<(ConfigMap, Vec<u8>), Doubt>, Error> {
    let missing = |what: &str| {
        Err(Doubt::new(
            DoubtReason::ReferenceUnavailable,
            &format!("{field}: ConfigMap {namespace}/{} {what}", at.name),
        ))
    };
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading ConfigMap {namespace}/{}", at.name);
    let Some(mut object) = ctx.find(&attempted, config_maps.get(&at.name)).await? else {
        return Ok(missing("does not exist; create it, or name another"));
    };
    let text = object.data.as_mut().and_then(|data| data.remove(&at.key)).map(String::into_bytes);
    let binary = object.binary_data.as_ref().and_then(|data| data.get(&at.key));
    Ok(match text.or_else(|| binary.map(|bytes| bytes.0.clone())) {
        Some(bytes) => Ok((object, bytes)),
        None => missing(&format!("has no key {:?}; add it, or name another", at.key)),
    })
}

/// The compiled rules of a contract.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn rules(ctx: &Ctx, namespace: &str, effective: &Effective) -> Result<Rules, Error> {
    let schema = match &effective.schema {
        Some(source) => Some(schema_of(ctx, namespace, source).await?),
        None => None,
    };
    let digest = effective.rules_digest(schema.as_ref().map(|(digest, _)| digest));
    let schema = schema.map(|(_, schema)| schema);
    let usable = schema.as_ref().and_then(|schema| schema.as_ref().ok()).map(Arc::clone);
    if let Some(book) = ctx.documents.rulebooks.get(&digest) {
        return Ok(Rules { digest, book, schema: usable });
    }
    // What could not be had may be had a moment later, so it is not kept.
    let lasting =
        !matches!(&schema, Some(Err(doubt)) if doubt.reason == DoubtReason::ReferenceUnavailable);
    let effective = effective.clone();
    let compiled = ctx.documents.pool.run(move || Rulebook::compile(&effective, schema.as_ref()));
    let book = match compiled.await {
        Ok(book) => Arc::new(book),
        Err(_) => {
            return Err(Error::Timeout {
                attempted: format!("compiling the rules of a contract in {namespace}"),
                after: ctx.documents.pool.patience().to_std(),
            });
        }
    };
    if lasting {
        ctx.documents.rulebooks.insert(digest.clone(), Arc::clone(&book));
    }
    Ok(Rules { digest, book, schema: usable })
}

/// What names the rules of a contract, as [`rules`] would have it: nothing is compiled for it.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn digest_of_rules(
    ctx: &Ctx,
    namespace: &str,
    effective: &Effective,
) -> Result<Digest, Error> {
    let schema = match &effective.schema {
        None => None,
        Some(SchemaSource::Inline(AnyObject(map))) => Some(Digest::of_value(&map.clone().into())),
        Some(SchemaSource::ConfigMapKeyRef(at)) => match placed(ctx, namespace, at) {
            Some(placed) => Some(placed.digest),
            None => Some(match config_map_key(ctx, namespace, at, SCHEMA_AT).await? {
                Ok((_, bytes)) => Digest::of_bytes(&bytes),
                Err(doubt) => digest_of_none(&doubt),
            }),
        },
    };
    Ok(effective.rules_digest(schema.as_ref()))
}

/// The field that says in which ConfigMap a schema is.
const SCHEMA_AT: &str = "spec.schema.configMapKeyRef";

/// The schema in a ConfigMap, unless a newer version was seen since it was read.
fn placed(ctx: &Ctx, namespace: &str, at: &ConfigMapKeyRef) -> Option<Placed> {
    let place = Key::new(namespace, &at.name);
    let newest = ctx.documents.versions.get(&place).unwrap_or(0);
    let placed = ctx.documents.placed.get(&place);
    placed.filter(|placed| placed.key == at.key && placed.version >= newest)
}

/// What stands for a schema that cannot be had.
fn digest_of_none(doubt: &Doubt) -> Digest {
    Digest::of_bytes(doubt.message.as_bytes())
}

async fn schema_of(
    ctx: &Ctx,
    namespace: &str,
    source: &SchemaSource,
) -> Result<(Digest, Schema), Error> {
    match source {
        SchemaSource::Inline(AnyObject(map)) => {
            let value = map.clone().into();
            let digest = Digest::of_value(&value);
            let schema = compiled(ctx, &digest, value).await;
            Ok((digest, schema))
        }
        SchemaSource::ConfigMapKeyRef(at) => {
            if let Some(placed) = placed(ctx, namespace, at) {
                return Ok((placed.digest, placed.schema));
            }
            let (object, bytes) = match config_map_key(ctx, namespace, at, SCHEMA_AT).await? {
                Ok(found) => found,
                Err(mut doubt) => {
                    doubt.reason = DoubtReason::SchemaNotFound;
                    return Ok((digest_of_none(&doubt), Err(doubt)));
                }
            };
            let version = version_of(object.resource_version().as_deref());
            let digest = Digest::of_bytes(&bytes);
            let schema = match Document::parse(bytes) {
                Ok(document) => compiled(ctx, &digest, document.value().clone()).await,
                Err(malformed) => Err(Doubt::new(
                    DoubtReason::SchemaInvalid,
                    &format!("{SCHEMA_AT}: {malformed}"),
                )),
            };
            let placed = Placed {
                key: at.key.clone(),
                version,
                digest: digest.clone(),
                schema: schema.clone(),
            };
            ctx.documents.placed.insert(Key::new(namespace, &at.name), placed);
            Ok((digest, schema))
        }
    }
}

async fn compiled(ctx: &Ctx, digest: &Digest, value: serde_json::Value) -> Schema {
    if let Some(schema) = ctx.documents.schemas.get(digest) {
        return schema;
    }
    let compile = ctx.documents.pool.run(move || schema::compile(&value).map(Arc::new));
    let schema = match compile.await {
        Ok(schema) => schema,
        Err(Late::Slow) => Err(Doubt::new(
            DoubtReason::SchemaTooCostly,
            &format!(
                "spec.schema did not compile within {}; make it smaller",
                ctx.documents.pool.patience()
            ),
        )),
        // Nothing was learned of the schema: not kept.
        Err(Late::Busy) => return Err(busy()),
    };
    ctx.documents.schemas.insert(digest.clone(), schema.clone());
    schema
}

/// What is known of a document's assets, when it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// None is looked at: what a rule says of them is Unknown.
    None,
    /// All are looked at now.
    Fresh,
    /// A look within the rule's interval will do, as long as all that it says is good.
    Remembered,
}

/// How much of its interval a look is remembered: the next one in turn must not find it young.
const REMEMBERED_SHARE: f64 = 0.75;

/// Judges `document`, its assets probed first; what was seen of them is returned, too.
pub async fn judge(
    ctx: &Ctx,
    rules: &Rules,
    effective: &Effective,
    looks: Looks,
    document: Arc<Document>,
    now: Timestamp,
) -> (Judged, Probes) {
    if looks == Looks::Remembered {
        let once = judge_once(ctx, rules, effective, looks, &document, now).await;
        let results = &once.judged.results;
        // Something may follow from anything but a pass, so it must be true now.
        if results.iter().all(|result| !result.world || result.verdict == Verdict::Pass) {
            return once.counted(ctx, effective, looks);
        }
    }
    let looks = if looks == Looks::None { Looks::None } else { Looks::Fresh };
    judge_once(ctx, rules, effective, looks, &document, now).await.counted(ctx, effective, looks)
}

/// What came of judging a document once.
struct Once {
    judged: Judged,
    probes: Probes,
    /// Was it judged, or is it known that it cannot be?
    was_made: bool,
}

impl Once {
    fn counted(self, ctx: &Ctx, effective: &Effective, looks: Looks) -> (Judged, Probes) {
        if self.was_made {
            measure::judged(ctx, &effective.rules, &self.judged, looks != Looks::None);
        }
        (self.judged, self.probes)
    }
}

async fn judge_once(
    ctx: &Ctx,
    rules: &Rules,
    effective: &Effective,
    looks: Looks,
    document: &Arc<Document>,
    now: Timestamp,
) -> Once {
    let document = Arc::clone(document);
    let pair = (rules.digest.clone(), document.raw_digest().clone());
    let slow = Doubt::new(
        DoubtReason::DeadlineExceeded,
        &format!(
            "validating this document took longer than {}; it is not tried again until the \
             operator restarts or the document, the schema or the rules change",
            ctx.documents.pool.patience()
        ),
    );
    if ctx.documents.too_slow.contains_key(&pair) {
        let judged = Rulebook::doubt(&effective.rules, document, &slow);
        return Once { judged, probes: Probes::new(), was_made: false };
    }
    let mut wants: BTreeMap<_, Duration> = BTreeMap::new();
    for asset in rules.book.assets(&effective.rules, document.value()) {
        let max_age = match looks {
            Looks::None => continue,
            Looks::Fresh => Duration::ZERO,
            Looks::Remembered => asset.interval.to_std().mul_f64(REMEMBERED_SHARE),
        };
        let strictest = wants.entry((asset.url, asset.sized)).or_insert(max_age);
        *strictest = max_age.min(*strictest);
    }
    let probes = probe(ctx, wants).await;
    let (book, list) = (Arc::clone(&rules.book), effective.rules.clone());
    let (kept, seen) = (Arc::clone(&document), probes.clone());
    let work = move || book.judge(&list, document, &seen, now);
    let (judged, was_made) = match ctx.documents.pool.run(work).await {
        Ok(judged) => (judged, true),
        Err(Late::Slow) => {
            ctx.documents.too_slow.insert(pair, ());
            (Rulebook::doubt(&effective.rules, kept, &slow), true)
        }
        Err(Late::Busy) => (Rulebook::doubt(&effective.rules, kept, &busy()), false),
    };
    Once { judged, probes, was_made }
}

fn busy() -> Doubt {
    Doubt::new(
        DoubtReason::DeadlineExceeded,
        "all validators are busy with documents that take long; see --validators",
    )
}

/// Looks at assets, each once; a look not older than this is reused.
pub async fn probe(ctx: &Ctx, assets: BTreeMap<(String, bool), Duration>) -> Probes {
    let probes = assets.into_iter().map(|((url, length), max_age)| async move {
        let want = Want { length, max_age };
        let probe = ctx.prober.probe(&url, want).await;
        (url, probe)
    });
    futures::future::join_all(probes).await.into_iter().collect()
}

/// The document of a stored revision; Err(Doubt) when it is not there or not what it was.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn revision(
    ctx: &Ctx,
    contract: &Key,
    uid: &str,
    number: u32,
    digest: &Digest,
) -> Result<Result<Arc<Document>, Doubt>, Error> {
    let name = revision_name(&contract.name, uid, number);
    let at = Key::new(&contract.namespace, &name);
    let recent = ctx.documents.recent.get(&at);
    let recent = recent.and_then(|bytes| Document::parse(bytes.to_vec()).ok());
    if let Some(document) = recent.filter(|document| document.digest() == digest) {
        return Ok(Ok(Arc::new(document)));
    }
    let lost = |why: &str| {
        Doubt::new(DoubtReason::ReferenceUnavailable, &format!("revision {number} {why}"))
    };
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &contract.namespace);
    let attempted = format!("reading revision {number} of WidgetContract {contract}");
    let Some(object) = ctx.find(&attempted, config_maps.get(&name)).await? else {
        return Ok(Err(lost("is not stored any more")));
    };
    let Some(bytes) = stored_bytes(&object) else {
        return Ok(Err(lost("holds no document")));
    };
    Ok(match Document::parse(bytes) {
        Ok(document) if document.digest() == digest => {
            ctx.documents.stored(at, &document);
            Ok(Arc::new(document))
        }
        Ok(_) => Err(lost("is not the document that was stored")),
        Err(malformed) => Err(lost(&format!("is damaged: {malformed}"))),
    })
}

/// The bytes of a served key, read anew.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn served(ctx: &Ctx, namespace: &str, at: &ConfigMapKeyRef) -> Result<Fetched, Error> {
    let field = "the served key";
    Ok(match config_map_key(ctx, namespace, at, field).await? {
        Ok((_, bytes)) => from_bytes(bytes, field),
        Err(doubt) => Fetched::Unavailable(doubt),
    })
}

/// The bytes of the document that a ConfigMap of ours holds.
pub(super) fn stored_bytes(object: &ConfigMap) -> Option<Vec<u8>> {
    if let Some(text) = object.data.as_ref().and_then(|data| data.get(REVISION_KEY)) {
        return Some(text.clone().into_bytes());
    }
    let packed = object.binary_data.as_ref().and_then(|data| data.get(REVISION_KEY_GZ))?;
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to be refused as too large.
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    GzDecoder::new(&packed.0[..]).take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
