//! What is wrong with a document that is known to be invalid.
//!
//! A validator for explaining is the same schema with `anyOf` and `oneOf` replaced: they only ask
//! *whether* an alternative holds, which the plain validator answers in microseconds, and object
//! once. Where one objects, its alternatives are explained one by one, and the objections of the
//! one that comes closest take its place. So the work is (depth of unions) × (alternatives), where
//! gathering all errors at once would be alternatives to the power of depth.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use jsonschema::{
    Keyword, PatternCache, Registry, ValidationError, Validator, error::ValidationErrorKind,
    paths::Location,
};
use serde_json::{Map, Value, json};

use super::{options, pattern};
use crate::{
    domain::{Violation, patch::escape},
    rules::cost,
};

/// The most violations that are kept. Statuses show fewer; a repair needs to see all that it could
/// mend, and a document with more wrong places than this is no repair's business. (Repairing twenty
/// at a time, again and again, would need more: with twenty always left, nothing gets better.)
pub(super) const MAX_VIOLATIONS: usize = 200;

/// How many failing unions of one document are opened: more would take long, and a union that is
/// not opened is still a violation.
const MAX_UNIONS: usize = MAX_VIOLATIONS;

/// How many objections a document may meet with before only the first is looked for. The validator
/// lists all or one, half a kilobyte each: memory would run out before some were chosen.
const MAX_OBJECTIONS: usize = 400_000;

/// Values of a schema that are compiled again, all alternatives together, to open its unions: each
/// alternative is compiled with all that it refers to.
const MAX_COMPILED: usize = 500_000;

/// The name under which the schema is known to the parts that are compiled on their own.
/// Against it a relative `$id` can be resolved.
const ROOT: &str = "http://kintsugi.invalid/schema";

/// Explains documents that do not fit one schema.
#[derive(Debug)]
pub(super) struct Explainer {
    root: Arc<Validator>,
    parts: Parts,
}

/// The schema, and those of its parts that were compiled on their own so far, by pointer.
#[derive(Debug)]
struct Parts {
    whole: Whole,
    /// How many values the schema has.
    size: usize,
    /// The most objections that one value can meet with.
    most_objections: usize,
    explaining: Mutex<HashMap<String, Option<Arc<Validator>>>>,
}

/// One objection, before it is put into words.
struct Objection {
    violations: Vec<Violation>,
    /// Pointers of the value and of the keyword, where it is a union's.
    union: Option<(String, String)>,
}

impl Explainer {
    /// # Errors
    /// When the schema does not compile, which the caller has seen it do.
    pub(super) fn new(schema: Arc<Value>, patterns: PatternCache) -> Result<Self, String> {
        let whole = Whole { schema, patterns };
        let parts = Parts {
            size: values(&whole.schema),
            most_objections: cost::schema::most_objections(&cost::Graph::of(&whole.schema)?),
            explaining: Mutex::new(HashMap::new()),
            whole,
        };
        let root = parts.explaining("").ok_or("the schema does not compile for explaining")?;
        Ok(Self { root, parts })
    }

    /// What is wrong with `document`; never empty.
    pub(super) fn explain(&self, document: &Value) -> Vec<Violation> {
        let mut unions_left = MAX_UNIONS;
        let objections = self.parts.objections(&self.root, document, "");
        let mut found = self.opened(objections, document, &mut unions_left);
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            // The two validators disagree. The plain one decides; this at least does not hide it.
            found.push(Violation::new("", "schema", "the document does not fit the schema"));
        }
        Violation::first(found, MAX_VIOLATIONS)
    }

    /// The objections in words, with failing unions replaced by what their best alternative says.
    fn opened(
        &self,
        objections: Vec<Objection>,
        document: &Value,
        unions_left: &mut usize,
    ) -> Vec<Violation> {
        let mut found = Vec::new();
        for objection in objections {
            let opened = objection.union.as_ref().and_then(|(place, keyword)| {
                *unions_left = unions_left.checked_sub(1)?;
                let best = self.closest_alternative(document, place, keyword)?;
                Some(self.opened(best, document, unions_left))
            });
            found.extend(opened.unwrap_or(objection.violations));
        }
        found
    }

    /// The objections of the alternative that the value at `place` was most likely meant to be;
    /// None when several are as likely, or when the union objects to more than one that holds.
    fn closest_alternative(
        &self,
        document: &Value,
        place: &str,
        keyword: &str,
    ) -> Option<Vec<Objection>> {
        let value = document.pointer(place)?;
        let alternatives = self.parts.whole.schema.pointer(keyword)?.as_array()?;
        let mut ranked: Vec<(Distance, Vec<Objection>)> = (0..alternatives.len())
            .map(|index| {
                let part = self.parts.explaining(&format!("{keyword}/{index}"))?;
                let objections = self.parts.objections(&part, value, place);
                Some((Distance::of(&objections, place), objections))
            })
            .collect::<Option<_>>()?;
        ranked.sort_by_key(|(distance, _)| *distance);
        let unclear = ranked.get(1).is_some_and(|second| second.0.rivals(ranked[0].0));
        let (distance, objections) = ranked.into_iter().next()?;
        (!unclear && !distance.is_another_kind && !objections.is_empty()).then_some(objections)
    }
}

/// How far a value is from an alternative, nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Distance {
    /// The value itself has another type, or is another constant.
    is_another_kind: bool,
    /// Members right in the value that are other constants: the mark by which the forms of a
    /// union are told apart is one of these.
    wrong_marks: usize,
    objections: usize,
}

impl Distance {
    /// As near as `nearest`, as far as can be told: where the mark of both is wrong, neither was
    /// meant, however few objections the one has.
    fn rivals(self, nearest: Self) -> bool {
        let marked = nearest.wrong_marks > 0 && self.wrong_marks == nearest.wrong_marks;
        self == nearest || (marked && self.is_another_kind == nearest.is_another_kind)
    }

    fn of(objections: &[Objection], place: &str) -> Self {
        let all = || objections.iter().flat_map(|objection| &objection.violations);
        let depth = |violation: &Violation| {
            violation.path.strip_prefix(place).map_or(0, |below| below.matches('/').count())
        };
        let is_mark =
            |violation: &Violation| matches!(violation.keyword.as_str(), "const" | "enum");
        let of_value = |violation: &Violation| {
            is_mark(violation) || matches!(violation.keyword.as_str(), "type" | "falseSchema")
        };
        Self {
            is_another_kind: all().any(|violation| depth(violation) == 0 && of_value(violation)),
            wrong_marks: all()
                .filter(|violation| depth(violation) == 1 && is_mark(violation))
                .count(),
            objections: all().count(),
        }
    }
}

/// All that `validator` has to say of `value`, which stands at `place` of the document.
fn all_objections(validator: &Validator, value: &Value, place: &str) -> Vec<Objection> {
    let (unevaluated, others): (Vec<_>, Vec<_>) =
        validator.iter_errors(value).partition(|error| is_unevaluated(error));
    // A subschema that fails has evaluated nothing, so that all it knows is called unknown, and a
    // repair would remove it. What is unknown is said once the value has no other fault.
    let faulty: HashSet<&str> =
        others.iter().flat_map(|error| at_and_above(error.instance_path().as_str())).collect();
    let clear = unevaluated.iter().filter(|error| !faulty.contains(error.instance_path().as_str()));
    others.iter().chain(clear).map(|error| objection(error, place)).collect()
}

/// The pointer and those of all that it lies in.
fn at_and_above(pointer: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(pointer), |pointer| pointer.rsplit_once('/').map(|(above, _)| above))
}

fn is_unevaluated(error: &ValidationError<'_>) -> bool {
    matches!(
        error.kind(),
        ValidationErrorKind::UnevaluatedProperties { .. }
            | ValidationErrorKind::UnevaluatedItems { .. }
    )
}

fn objection(error: &ValidationError<'_>, place: &str) -> Objection {
    let here = format!("{place}{}", error.instance_path().as_str());
    let below = |key: &str| format!("{here}/{}", escape(key));
    let one = |path: &str, keyword: &str, message: &str| Objection {
        violations: vec![Violation::new(path, keyword, message)],
        union: None,
    };
    let each = |keyword: &str, keys: &[String], message: &str| Objection {
        violations: keys.iter().map(|key| Violation::new(&below(key), keyword, message)).collect(),
        union: None,
    };
    let keyword = error.kind().keyword();
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            one(&below(key), keyword, &format!("{key:?} is required and missing"))
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            each(keyword, unexpected, "the schema does not know this key")
        }
        ValidationErrorKind::PropertyNames { error: inner } => {
            let key = inner.instance().as_str().unwrap_or_default();
            one(&below(key), keyword, &format!("the key is not allowed: {}", worded(inner)))
        }
        ValidationErrorKind::Custom { keyword, message } if keyword == pattern::KEYWORD => {
            one(&here, "pattern", message)
        }
        ValidationErrorKind::Custom { keyword, message }
            if matches!(keyword.as_str(), "anyOf" | "oneOf") =>
        {
            Objection {
                violations: vec![Violation::new(&here, keyword, message)],
                union: Some((here, error.schema_path().as_str().to_owned())),
            }
        }
        ValidationErrorKind::Custom { keyword, message } => one(&here, keyword, message),
        _ => one(&here, keyword, &worded(error)),
    }
}

/// The validator's words without the value, and without saying «the value» first.
fn worded(error: &ValidationError<'_>) -> String {
    let masked = error.masked_with("the value").to_string();
    masked.strip_prefix("the value ").map_or_else(|| masked.clone(), str::to_owned)
}

/// How many values `value` has, itself included.
fn values(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(values).sum::<usize>(),
        Value::Array(list) => 1 + list.iter().map(values).sum::<usize>(),
        _ => 1,
    }
}

impl Parts {
    /// What `validator` has to say of `value`, which stands at `place` of the document: all of it,
    /// or the first where that could be too much.
    fn objections(&self, validator: &Validator, value: &Value, place: &str) -> Vec<Objection> {
        if values(value).saturating_mul(self.most_objections) <= MAX_OBJECTIONS {
            return all_objections(validator, value, place);
        }
        validator.validate(value).err().map(|error| objection(&error, place)).into_iter().collect()
    }

    /// The part at `pointer`, compiled for explaining; None when it does not compile by itself, or
    /// too much was compiled already.
    fn explaining(&self, pointer: &str) -> Option<Arc<Validator>> {
        let mut known = self.explaining.lock().unwrap_or_else(PoisonError::into_inner);
        let is_within_limits = known.is_empty() || known.len() * self.size <= MAX_COMPILED;
        known
            .entry(pointer.to_owned())
            .or_insert_with(|| {
                if !is_within_limits {
                    return None;
                }
                let part = reference_to(pointer);
                self.whole.compiled(&part, Mode::Explaining).map(Arc::new)
            })
            .clone()
    }
}

/// A schema that is the part at `pointer` of the whole.
fn reference_to(pointer: &str) -> Value {
    let mut reference = format!("{ROOT}#");
    for byte in pointer.bytes() {
        // What the fragment of a URI may hold as it is.
        if byte.is_ascii_alphanumeric() || b"/~$-_.".contains(&byte) {
            reference.push(char::from(byte));
        } else {
            let _ = write!(reference, "%{byte:02X}");
        }
    }
    json!({"$ref": reference})
}

#[derive(Clone, Copy)]
enum Mode {
    Plain,
    Explaining,
}

/// The schema that the parts are of, known to them as [`ROOT`].
#[derive(Clone, Debug)]
struct Whole {
    schema: Arc<Value>,
    patterns: PatternCache,
}

impl Whole {
    fn compiled(&self, part: &Value, mode: Mode) -> Option<Validator> {
        let mut part = part.clone();
        if let (Some(keywords), Some(draft)) = (part.as_object_mut(), self.schema.get("$schema")) {
            keywords.insert("$schema".to_owned(), draft.clone());
        }
        let registry = Registry::new().add(ROOT, self.schema.as_ref()).ok()?.prepare().ok()?;
        let plain = options(&self.patterns).with_registry(&registry);
        let options = match mode {
            Mode::Plain => plain,
            Mode::Explaining => plain
                .with_keyword("anyOf", union(self, "anyOf"))
                .with_keyword("oneOf", union(self, "oneOf")),
        };
        options.build(&part).ok()
    }
}

type Factory = dyn for<'a> Fn(
        &'a Map<String, Value>,
        &'a Value,
        Location,
    ) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>>
    + Send
    + Sync;

fn union(whole: &Whole, keyword: &'static str) -> Box<Factory> {
    let whole = whole.clone();
    Box::new(move |_, _, path| {
        let (whole, pointer) = (whole.clone(), path.as_str().to_owned());
        Ok(Box::new(Union { whole, pointer, keyword, plain: OnceLock::new() }))
    })
}

/// `anyOf` or `oneOf` in a validator for explaining.
struct Union {
    whole: Whole,
    pointer: String,
    keyword: &'static str,
    /// This union alone, compiled when a document first comes to it.
    plain: OnceLock<Option<Validator>>,
}

impl Union {
    fn alternatives(&self) -> usize {
        let list = self.whole.schema.pointer(&self.pointer).and_then(Value::as_array);
        list.map_or(0, Vec::len)
    }

    fn plain(&self) -> Option<&Validator> {
        let make = || {
            let alternatives: Vec<Value> = (0..self.alternatives())
                .map(|index| reference_to(&format!("{}/{index}", self.pointer)))
                .collect();
            self.whole.compiled(&json!({self.keyword: alternatives}), Mode::Plain)
        };
        self.plain.get_or_init(make).as_ref()
    }
}

impl<'i> Keyword<'i> for Union {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if Keyword::is_valid(self, instance) {
            return Ok(());
        }
        let count = self.alternatives();
        Err(ValidationError::custom(if self.keyword == "anyOf" {
            format!("is none of the {count} allowed forms")
        } else {
            format!("is not exactly one of the {count} allowed forms")
        }))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        // A union that does not compile by itself is left to the plain validator of the whole.
        self.plain().is_none_or(|plain| plain.is_valid(instance))
    }
}
