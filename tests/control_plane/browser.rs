//! What people see in a browser: real pages of a real operator, with and without a script.

mod plans;
mod policy;
mod refusals;
mod watched;

use kintsugi::api::{Incident, WidgetContract};
use serde_json::{Value, json};

use crate::{
    healing::{edit, incident_is, incident_when, shop},
    support::{
        Cluster, Namespace, Operator,
        browser::{Browser, SCHEMES, WIDTHS},
        desk::{self, DESK},
        has, storefinder,
    },
};

/// All that there is to see, and these verbs on Incidents and contracts.
fn may(verbs: &[&str]) -> Value {
    let all = [&["get", "list"], verbs].concat();
    json!([
        {"apiGroups": ["kintsugi.dev"], "resources": ["widgetcontracts", "incidents"], "verbs": all},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
        {"apiGroups": ["kintsugi.dev"], "resources": ["remediationpolicies"], "verbs": ["list"]},
    ])
}

const TRACES: &str = "--dashboard-traces=https://traces.example/{trace}";

struct World {
    cluster: Cluster,
    namespace: Namespace,
    operator: Operator,
    browser: Browser,
}

async fn world(prefix: &str) -> World {
    world_of(prefix, &[]).await
}

async fn world_of(prefix: &str, verbs: &[&str]) -> World {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &[DESK, TRACES]);
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &may(verbs)).await;
    operator.answers("/readyz", (200, "leading: every list is in")).await;
    let browser = Browser::of(&ann).await;
    World { cluster, namespace, operator, browser }
}

/// A policy for the contracts of one widget.
async fn policy(namespace: &Namespace, name: &str, widget: &str, mode: &str) {
    let manifest = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": name},
        "spec": {
            "match": {"widgets": [widget]},
            "mode": mode,
            "steps": [{"name": "restore", "restoreRevision": {}}],
            "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}, "minHealthyPeriod": "1s"},
        },
    });
    namespace.apply(&manifest.to_string()).await;
}

fn contract(name: &str, widget: &str, document: &Value) -> String {
    let mut manifest: Value = serde_json::from_str(&storefinder(name, document)).unwrap();
    manifest["spec"]["widget"] = json!(widget);
    manifest["spec"]["rules"] = json!([{"name": "short", "severity": "Warning",
        "cel": {"expression": "size(self) < 20", "message": "has too many fields"}}]);
    manifest.to_string()
}

fn broken() -> Value {
    edit(&shop(), |document| {
        document["title"] = json!("far too long to be a title");
        // Without it the repair would be what is served already, and nobody would be asked.
        document["new"] = json!("and good");
    })
}

/// One contract that is healed but for its owner, one whose plan waits for a person, one that called for
/// a person, one that is held, and one that is well. Their Incidents by the contract's name.
async fn troubles(namespace: &Namespace) -> [String; 4] {
    policy(namespace, "by-itself", "banner", "Auto").await;
    policy(namespace, "by-people", "storefinder", "Approve").await;
    policy(namespace, "look-only", "menu", "Observe").await;
    for (name, widget) in
        [("ch", "banner"), ("uk", "storefinder"), ("de", "menu"), ("well", "banner")]
    {
        namespace.apply(&contract(name, widget, &shop())).await;
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    for (name, widget) in
        [("ch", "banner"), ("uk", "storefinder"), ("de", "menu"), ("fr", "banner")]
    {
        namespace.apply(&contract(name, widget, &broken())).await;
    }
    let mut incidents = Vec::new();
    for (name, state) in [("ch", "Mitigated"), ("uk", "Held"), ("fr", "Escalated"), ("de", "Held")]
    {
        incidents.push(incident_when(namespace, name, state).await.metadata.name.unwrap());
    }
    incidents.try_into().unwrap()
}

#[tokio::test]
async fn whoever_is_on_call_sees_what_needs_a_person_first_and_how_it_came_to_that() {
    let World { namespace, browser, operator: _operator, .. } = world("overview").await;
    let [healed, waits, escalated, _] = troubles(&namespace).await;
    browser.open("/").await;
    browser.until("document.querySelectorAll('.row').length >= 4").await;
    let text = browser.text().await;
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(at("need a person") < at("Needs a person"), "{text}");
    assert!(
        at("Needs a person 2") < at("Being healed 0")
            && at("AwaitingApproval") < at("Being healed 0")
    );
    assert!(at("Held, or waiting for its owner 2") < at("ObserveOnly"), "{text}");

    browser.follow("uk").await;
    assert!(browser.text().await.contains("replace /title from revision 1"));
    browser.open(&format!("/namespaces/{}/incidents/{escalated}", namespace.name)).await;
    let text = browser.text().await;
    assert!(text.contains("Attempt 2: restore") && text.contains("A person was called"), "{text}");
    browser.open(&format!("/namespaces/{}/incidents/{healed}", namespace.name)).await;
    let picture = browser.run("return document.querySelector('figure svg').ariaLabel").await;
    let picture = picture.as_str().unwrap();
    let trace =
        "return document.querySelector('a[href^=\"https://traces.example/\"]').textContent.length";
    assert_eq!(browser.run(trace).await, 32, "a link to the trace");
    assert!(picture.starts_with("1 attempt succeeded, 0 failed, mitigated after"), "{picture}");
    browser.open(&format!("/namespaces/{}/contracts/uk", namespace.name)).await;
    let text = browser.text().await;
    assert!(
        text.contains("schema") && text.contains("/title") && text.contains("Withheld"),
        "{text}"
    );
    assert!(!text.contains("CEL"), "{text}");
    browser.click("css selector", "details summary").await;
    let rules =
        "return [...document.querySelectorAll('details tbody tr')].map(row => row.innerText)";
    let rules = browser.run(rules).await;
    let rules = rules.as_array().unwrap().iter().map(|row| row.as_str().unwrap());
    let words = rules.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "));
    let words: Vec<String> = words.collect();
    assert!(words.contains(&"schema Schema Critical Fail".to_owned()), "{words:?}");
    assert!(words.contains(&"short CEL Warning Pass".to_owned()), "{words:?}");
    browser.follow("the open one").await;
    let here = browser.run("return location.pathname").await;
    assert!(here.as_str().unwrap().ends_with(&waits), "{here}");
}

/// Keeps pictures of the open page in both schemes and widths; what an audit finds wrong with it there.
async fn wrong_with(browser: &Browser, page: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    // What is folded away is looked at, too.
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })").await;
    for (device, width) in WIDTHS {
        for scheme in SCHEMES {
            browser.looks(width, scheme).await;
            browser.picture(&format!("{page}-{device}-{scheme}")).await;
            let found = browser.audit().await.into_iter();
            wrong.extend(found.map(|found| format!("{page} {device} {scheme}: {found}")));
            if browser.is_too_wide().await {
                wrong.push(format!("{page} {device} {scheme}: is cut off at the right"));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn each_page_passes_an_audit_in_both_schemes_and_fits_a_phone() {
    let World { namespace, browser, operator: _operator, .. } =
        world_of("pages", &["patch", "approve"]).await;
    let [healed, waits, escalated, _] = troubles(&namespace).await;
    let name = &namespace.name;
    let pages = [
        ("overview", "/".to_owned()),
        ("incidents", "/incidents".to_owned()),
        ("incident-healed", format!("/namespaces/{name}/incidents/{healed}")),
        ("incident-waits", format!("/namespaces/{name}/incidents/{waits}")),
        ("incident-escalated", format!("/namespaces/{name}/incidents/{escalated}")),
        ("contracts", "/contracts".to_owned()),
        ("contract", format!("/namespaces/{name}/contracts/uk")),
        ("contract-revision", format!("/namespaces/{name}/contracts/uk?revision=1")),
        ("breakers", "/breakers".to_owned()),
        ("policies", "/policies".to_owned()),
        ("log", format!("/log?contract=uk&namespace={name}")),
        ("refusal", "/contracts?health=Sick".to_owned()),
        ("nothing", "/nothing".to_owned()),
        ("login", "/login".to_owned()),
        ("login-not-kept", "/login?done=".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (page, path) in &pages {
        browser.open(path).await;
        wrong.extend(wrong_with(&browser, page).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(browser.strangers().await, [""; 0], "only the operator is asked");
}

#[tokio::test]
async fn the_login_looks_like_the_other_pages_and_says_why_a_token_is_not_accepted() {
    let World { browser, operator: _operator, .. } = world("login").await;
    browser.open("/login").await;
    let is_in_sheet =
        "return [document.styleSheets.length, document.querySelector('h1 img').naturalWidth > 0,
        getComputedStyle(document.querySelector('form button')).fontWeight]";
    assert_eq!(browser.run(is_in_sheet).await, json!([1, true, "600"]));
    browser.fill("#token", "forged").await;
    browser.click("css selector", "form button").await;
    browser.until("document.querySelector('[role=alert]')").await;
    assert!(browser.text().await.contains("not accepted"), "{}", browser.text().await);
    assert_eq!(wrong_with(&browser, "login-refused").await, [""; 0]);
    assert_eq!(browser.strangers().await, [""; 0], "only the operator is asked");
}

#[tokio::test]
async fn a_hostile_document_is_shown_and_does_nothing() {
    let World { namespace, browser, operator: _operator, .. } = world("hostile").await;
    let attack = "<script>alert(1)</script>\u{202e}gpj.x";
    let image = "<img src=x onerror=alert(1)>";
    policy(&namespace, "by-people", attack, "Approve").await;
    let document = |more: &Value| {
        let mut document = json!({"title": "Shops", "stores": {"\u{2066}\"><b>": {"id": "a"}}});
        json_patch::merge(&mut document, more);
        let mut manifest: Value = serde_json::from_str(&storefinder("uk", &document)).unwrap();
        let names = json!({"type": "object", "additionalProperties": {"type": "object"}});
        manifest["spec"]["widget"] = json!(attack);
        manifest["spec"]["schema"]["inline"]["properties"]["stores"] = names;
        manifest.to_string()
    };
    namespace.apply(&document(&json!({}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let long = "\u{202e}longs".repeat(64_000);
    assert_eq!(long.len(), 512_000);
    namespace.apply(&document(&json!({"text": long, "stores": {image: 7}}))).await;
    let incident = incident_when(&namespace, "uk", "Held").await.metadata.name.unwrap();

    let name = &namespace.name;
    let pages = [
        ("/".to_owned(), "uk"),
        ("/contracts".to_owned(), "<script>alert(1)</script>\\u{202e}gpj.x"),
        (format!("/namespaces/{name}/contracts/uk"), image),
        (format!("/namespaces/{name}/incidents/{incident}"), image),
    ];
    for (path, shown) in &pages {
        browser.open(path).await;
        let text = browser.text().await;
        assert!(text.contains(shown), "{path} does not show {shown}: {text}");
        let unseen = ['\u{202e}', '\u{2066}'];
        assert!(!text.contains(unseen), "{path} shows what turns text around: {text:?}");
        assert!(text.len() < 20_000, "{path} shows {} bytes", text.len());
        let foreign = "return document.querySelectorAll('main img, main script, main b b').length";
        assert_eq!(browser.run(foreign).await, 0, "{path} holds an element of somebody else's");
        assert!(!browser.has_dialog().await, "{path} runs a script");
        browser.looks(375, "light").await;
        assert!(!browser.is_too_wide().await, "{path} is cut off at the right");
    }
    browser.open(&pages[2].0).await;
    let text = browser.text().await;
    assert!(
        text.contains("bytes that are shown"),
        "it is not said that a part is left out: {text}"
    );
    browser.follow("Incidents").await;
    browser.until("location.pathname === '/incidents'").await;
    let complaints = browser.complaints().await;
    let said = |what: &str| complaints.iter().any(|one| one.contains(what));
    assert!(!said("Content Security Policy") && !said("Error:"), "{complaints:?}");
    assert_eq!(browser.strangers().await, [""; 0], "only the operator is asked");
}

#[tokio::test]
async fn a_part_that_somebody_may_not_see_says_which_right_is_missing_and_the_rest_is_there() {
    let World { cluster, namespace, operator, browser } = world("parts").await;
    let [.., escalated, _] = troubles(&namespace).await;
    drop(browser);
    let rules = json!([{"apiGroups": ["kintsugi.dev"], "resources": ["widgetcontracts"],
                        "verbs": ["get", "list"]}]);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &rules).await;
    let browser = Browser::of(&bob).await;
    browser.open("/").await;
    let text = browser.text().await;
    assert!(text.contains("bob may not list incidents.kintsugi.dev"), "{text}");
    assert!(text.contains("Healthy") && text.contains("Degraded"), "{text}");
    browser.open(&format!("/namespaces/{}/incidents/{escalated}", namespace.name)).await;
    let text = browser.text().await;
    assert!(
        text.contains(&format!("bob may not get incidents.kintsugi.dev {escalated}")),
        "{text}"
    );
    assert!(!text.contains("Attempt"), "{text}");
}

#[tokio::test]
async fn all_of_it_can_be_read_without_a_script_and_reached_with_a_keyboard() {
    let World { namespace, browser, operator: _operator, .. } = world("plain").await;
    let [.., escalated, _] = troubles(&namespace).await;
    browser.command("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    browser.open("/").await;
    let text = browser.text().await;
    assert!(text.contains("As of 20") && text.contains("Needs a person 2"), "{text}");
    browser.open(&format!("/namespaces/{}/incidents/{escalated}", namespace.name)).await;
    assert!(browser.text().await.contains("Attempt 2: restore"));

    browser.command("Emulation.setScriptExecutionDisabled", json!({"value": false})).await;
    browser.open("/").await;
    let at = "const at = document.activeElement;
              return [at.textContent.trim(), getComputedStyle(at).outlineStyle, at.id]";
    browser.press("\u{e004}").await;
    assert_eq!(browser.run(at).await, json!(["Skip to the content", "solid", ""]));
    browser.press("\u{e007}").await;
    assert_eq!(browser.run(at).await[2], "main", "the link leads past the navigation");
    let mut reached = Vec::new();
    loop {
        browser.press("\u{e004}").await;
        let here = browser.run(at).await;
        // After the last one the focus leaves the page.
        if browser.run("return document.activeElement === document.body").await == true {
            break;
        }
        assert_eq!(here[1], "solid", "where the focus is can be seen: {here}");
        reached.push(here[0].as_str().unwrap().to_owned());
    }
    assert!(reached.iter().any(|text| text == "uk"), "{reached:?}");
}

#[tokio::test]
async fn a_contract_breaks_and_heals_before_somebodys_eyes() {
    let World { namespace, browser, operator: _operator, .. } = world("live").await;
    policy(&namespace, "by-itself", "storefinder", "Auto").await;
    namespace.apply(&contract("uk", "storefinder", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    browser.open("/").await;
    browser.until("document.getElementById('live').dataset.live === 'on'").await;
    browser.run("window.isTheSamePage = true; document.getElementById('healing').focus()").await;
    namespace.apply(&contract("uk", "storefinder", &broken())).await;
    let rows = "window.isTheSamePage && document.querySelectorAll('.row').length";
    browser.until(&format!("{rows} === 1")).await;
    browser.until("document.getElementById('news').textContent.includes('not as asked for')").await;
    let focused = browser.run("return document.activeElement.id").await;
    assert_eq!(focused, "healing", "whoever reads stays where they are");
    namespace.apply(&contract("uk", "storefinder", &shop())).await;
    browser.until(&format!("{rows} === 0")).await;
    browser.until("document.querySelector('.answer').textContent.includes('Healthy')").await;
    assert_eq!(browser.strangers().await, [""; 0], "only the operator is asked");
}

#[tokio::test]
async fn a_plan_is_approved_and_a_heal_forced_with_a_button_by_who_may_and_by_nobody_else() {
    let World { cluster, namespace, operator, browser } =
        world_of("buttons", &["patch", "approve"]).await;
    let [healed, waits, ..] = troubles(&namespace).await;
    let path = format!("/namespaces/{}/incidents/{waits}", namespace.name);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &may(&[])).await;
    let his = Browser::of(&bob).await;
    his.open(&path).await;
    let text = his.text().await;
    assert!(text.contains("bob may not approve incidents.kintsugi.dev"), "{text}");
    assert_eq!(his.run("return document.querySelectorAll('main form').length").await, 0);
    drop(his);

    browser.open(&path).await;
    browser.click("css selector", ".decide button.first").await;
    browser.until("document.body.innerText.includes(':ann') && document.querySelector('h1')").await;
    incident_is(&namespace, &waits, "Mitigated").await;
    browser.open(&path).await;
    let text = browser.text().await;
    assert!(text.contains("approved by system:serviceaccount:") && text.contains(":ann"), "{text}");

    browser.open(&format!("/namespaces/{}/incidents/{healed}", namespace.name)).await;
    browser.click("css selector", "form[action$='/undo'] button").await;
    let undone = |incident: Option<&Incident>| {
        incident.and_then(|incident| incident.status.as_ref()?.undone.as_ref()).is_some()
    };
    namespace.when::<Incident>(&healed, "taken back", undone).await;
    // One that no step could heal is tried once more, by whoever asks.
    browser.open(&format!("/namespaces/{}/contracts/fr", namespace.name)).await;
    browser.click("css selector", "form[action$='/heal'] button").await;
    let handled = |contract: Option<&WidgetContract>| {
        let handled = contract.and_then(|c| c.status.as_ref()?.handled_requests.as_ref());
        let heal = handled.and_then(|handled| handled.heal.as_deref());
        heal.is_some_and(|heal| heal.ends_with(":ann"))
    };
    namespace.contract_when("fr", "was tried once more", handled).await;

    browser.open(&format!("/namespaces/{}/contracts/uk", namespace.name)).await;
    browser.click("css selector", "form[action$='/suspension'] button").await;
    let suspended = |contract: Option<&WidgetContract>| contract.is_some_and(|c| c.spec.suspend);
    namespace.contract_when("uk", "suspended", suspended).await;
}

#[tokio::test]
async fn what_is_served_stands_against_what_was_asked_for_and_an_older_one_can_be_looked_at() {
    let World { namespace, browser, operator: _operator, .. } = world("documents").await;
    let [healed, ..] = troubles(&namespace).await;
    let name = &namespace.name;
    browser.open(&format!("/namespaces/{name}/contracts/uk?revision=1")).await;
    let text = browser.text().await;
    for shown in ["/title", "\"Shops\"", "\"far too long to be a title\"", "Nothing would change."]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    for (path, shown) in [("/policies", "1 of 3"), ("/log", "Mitigated"), ("/breakers", "answered")]
    {
        browser.open(path).await;
        // What a policy has measured is written a few seconds later.
        browser
            .until(&format!("document.body.innerText.includes('{shown}') || location.reload()"))
            .await;
    }
    browser.open("/log").await;
    browser.follow("ch").await;
    let here = browser.run("return location.pathname").await;
    assert!(here.as_str().unwrap().ends_with(&healed), "{here}");
}
