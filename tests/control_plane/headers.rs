//! What the operator tells browsers that they must not do: on each page that a link leads to, and on what is no page.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reqwest::header::HeaderMap;
use serde_json::json;

use crate::{
    desk::{sees_all, trouble, until},
    support::{
        Cluster, Namespace, Operator,
        desk::{self, DESK, Visitor},
    },
};

/// More pages than there are.
const MOST: usize = 60;

struct Shown {
    path: String,
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Shown {
    #[expect(clippy::disallowed_methods, reason = "what is asked is the operator itself")]
    async fn of(path: &str, request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { path: path.to_owned(), status, headers, text: response.text().await.unwrap() }
    }

    /// The one value of a header: of two a browser may take the other one.
    fn header(&self, name: &str) -> &str {
        let all: Vec<_> = self.headers.get_all(name).iter().collect();
        let [one] = &all[..] else { panic!("{}: {name} is {all:?}", self.path) };
        one.to_str().unwrap()
    }

    fn is_page(&self) -> bool {
        self.header("content-type").starts_with("text/html")
    }

    /// The directives of its policy and what each allows (CSP, level 3).
    fn policy(&self) -> BTreeMap<&str, Vec<&str>> {
        let parts = self.header("content-security-policy").split(';').map(str::split_whitespace);
        let directives = parts.filter_map(|mut words| Some((words.next()?, words.collect())));
        // Of two of a name the first one counts.
        let mut policy = BTreeMap::new();
        for (name, allows) in directives {
            policy.entry(name).or_insert(allows);
        }
        policy
    }

    /// Nothing but this server's own may be fetched, run or sent to; nobody may frame it or say where it is.
    fn is_strict(&self) {
        let policy = self.policy();
        let is = |name: &str| policy.get(name).map_or(&[][..], |allows| &allows[..]);
        for name in ["default-src", "frame-ancestors", "base-uri"] {
            assert_eq!(is(name), ["'none'"], "{}: {name} of {policy:?}", self.path);
        }
        if self.is_page() {
            // What default-src says is not said of forms.
            assert_eq!(is("form-action"), ["'self'"], "{}: {policy:?}", self.path);
        }
        for (name, allows) in &policy {
            // So no scheme, no host, no star, and nothing unsafe.
            let is_ours = |allowed: &&str| ["'self'", "'none'"].contains(allowed);
            assert!(allows.iter().all(is_ours), "{}: {name} {allows:?}", self.path);
        }
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{}", self.path);
        assert_eq!(self.header("referrer-policy"), "no-referrer", "{}", self.path);
    }

    /// What it shows is of one person and of one moment.
    fn is_kept_by_nobody(&self) {
        assert_eq!(self.header("cache-control"), "no-store", "{}", self.path);
    }

    /// The paths that its links lead to.
    fn links(&self) -> Vec<String> {
        let ends = self.text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let ours = ends.filter(|link| link.starts_with('/'));
        ours.map(|link| {
            link.split('#').next().unwrap_or(link).replace("&amp;", "&").replace("&#38;", "&")
        })
        .collect()
    }
}

/// All that links lead to, from the first page on.
async fn all(ann: &Visitor) -> Vec<Shown> {
    let mut known: BTreeSet<String> = ["/".to_owned()].into();
    let mut ahead: VecDeque<String> = ["/".to_owned()].into();
    let mut all = Vec::new();
    while let Some(path) = ahead.pop_front() {
        let shown = Shown::of(&path, ann.request("GET", &path)).await;
        assert_eq!(shown.status, 200, "{path}");
        for link in shown.links() {
            if known.insert(link.clone()) {
                ahead.push_back(link);
            }
        }
        all.push(shown);
        assert!(all.len() < MOST, "links lead on and on: {known:?}");
    }
    all
}

#[tokio::test]
async fn each_page_and_each_refusal_allows_a_browser_nothing_that_is_not_of_this_server() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "headers").await;
    let operator = Operator::start(&cluster, &namespace, &[DESK]);
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let incident = trouble(&namespace).await;
    until(&ann, "/api/v1/incidents", |answer| answer.body["items"][0].is_object()).await;

    let shown = all(&ann).await;
    let at = |kind: &str, name: &str| format!("/namespaces/{}/{kind}/{name}", namespace.name);
    let (contract, incident) = (at("contracts", "uk"), at("incidents", &incident));
    let pages =
        ["/", "/contracts", "/incidents", "/policies", "/breakers", "/log", &contract, &incident];
    for page in pages {
        let is_there = shown.iter().any(|shown| shown.path == page && shown.is_page());
        assert!(is_there, "no link leads to {page}");
    }
    for shown in &shown {
        shown.is_strict();
        if shown.path.starts_with("/assets/") {
            // Its address says what is in it.
            assert!(shown.header("cache-control").contains("immutable"), "{}", shown.path);
        } else {
            shown.is_kept_by_nobody();
        }
    }

    let nothing = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &nothing).await;
    let ours = |path: &str| ann.bare("POST", path).header("sec-fetch-site", "same-origin");
    for (path, request, status, is_page) in [
        ("/login", ann.bare("GET", "/login"), 200, true),
        ("/login", ours("/login").form(&[("token", "forged")]), 401, true),
        ("/login", ann.bare("POST", "/login").form(&[("token", "forged")]), 403, true),
        ("/contracts", bob.request("GET", "/contracts"), 403, true),
        (&contract, bob.request("GET", &contract), 403, true),
        ("none", ann.request("GET", &at("contracts", "none")), 404, true),
        (
            "cross-site",
            ann.request("POST", &format!("{contract}/heal")).header("origin", "null"),
            403,
            true,
        ),
        ("/nowhere", ann.request("GET", "/nowhere"), 404, false),
        ("DELETE", ann.request("DELETE", "/contracts"), 405, true),
        ("health", ann.request("GET", "/api/v1/health"), 200, false),
        ("no token", ann.bare("GET", "/api/v1/health"), 401, false),
        (
            "too long",
            ann.request("GET", &format!("/contracts?widget={}", "x".repeat(9_000))),
            414,
            true,
        ),
    ] {
        let shown = Shown::of(path, request).await;
        assert_eq!((shown.status, shown.is_page()), (status, is_page), "{path}: {}", shown.text);
        shown.is_strict();
        shown.is_kept_by_nobody();
        if status == 405 {
            assert_eq!(shown.header("allow"), "GET,HEAD", "{path}");
        }
    }
}
