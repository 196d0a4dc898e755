//! What a page says of itself while it stays open: that it is as of now, or why it is not.

use k8s_openapi::api::rbac::v1::RoleBinding;
use kintsugi::api::WidgetContract;
use kube::api::DeleteParams;
use serde_json::json;

use super::{World, broken, contract, may, policy, world};
use crate::{
    healing::shop,
    support::{Namespace, browser::Browser, desk, has},
};

const LIVE: &str = "document.getElementById('live').innerText === 'Live'";

fn says(words: &str) -> String {
    format!("document.getElementById('live').innerText === '{words}'")
}

/// A contract that is served, under a policy that heals it.
async fn served(namespace: &Namespace) {
    policy(namespace, "by-itself", "storefinder", "Auto").await;
    namespace.apply(&contract("uk", "storefinder", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

async fn break_it(namespace: &Namespace) {
    namespace.apply(&contract("uk", "storefinder", &broken())).await;
}

#[tokio::test]
async fn eight_tabs_of_one_browser_are_live_when_they_are_looked_at_and_follow_nothing_when_not() {
    let World { namespace, operator, browser, .. } = world("tabs").await;
    served(&namespace).await;
    let mut tabs = Vec::new();
    for _ in 0..8 {
        tabs.push(browser.tab().await);
        browser.open("/").await;
        browser.until(LIVE).await;
    }
    operator.scrape(&["kintsugi_streams 1"]).await;
    break_it(&namespace).await;
    let rows = "document.querySelectorAll('.row').length === 1";
    browser.until(&format!("{LIVE} && {rows}")).await;
    // One that was hidden when it happened.
    browser.run("window.isTheSamePage = true").await;
    browser.show(&tabs[1]).await;
    browser.until(&format!("!document.hidden && {LIVE} && {rows}")).await;
    browser.show(&tabs[7]).await;
    browser.until(&format!("window.isTheSamePage && {LIVE}")).await;
    operator.scrape(&["kintsugi_streams 1"]).await;
}

#[tokio::test]
async fn a_page_of_one_namespace_follows_that_namespace_alone() {
    let World { namespace, browser, operator: _operator, .. } = world("one").await;
    served(&namespace).await;
    let name = &namespace.name;
    let only = format!("/api/v1/stream?namespace={name}");
    for (path, stream) in [
        (format!("/incidents?namespace={name}"), &*only),
        (format!("/namespaces/{name}/contracts/uk"), &only),
        ("/incidents?namespace=".to_owned(), "/api/v1/stream"),
    ] {
        browser.requests().await;
        browser.open(&path).await;
        browser.until(LIVE).await;
        let asked = browser.requests().await;
        assert!(asked.iter().any(|url| url.ends_with(stream)), "{path}: {asked:?}");
    }
}

#[tokio::test]
async fn a_page_whose_answer_fails_asks_again_and_says_until_then_that_it_is_not_live() {
    let World { namespace, browser, operator: _operator, .. } = world("fails").await;
    served(&namespace).await;
    browser.open("/").await;
    browser.until(LIVE).await;
    let failing = "const real = window.fetch; let left = 1;
        window.fetch = (...all) => left-- > 0 ? Promise.reject(new TypeError('away')) : real(...all)";
    browser.run(failing).await;
    break_it(&namespace).await;
    browser.until(&says("Not live: no answer")).await;
    let rows = "document.querySelectorAll('.row').length === 1";
    browser.until(&format!("{LIVE} && {rows}")).await;
}

#[tokio::test]
async fn a_page_that_may_not_follow_says_that_it_asks_now_and_then_and_what_became_of_it() {
    let World { cluster, namespace, operator, browser } = world("polls").await;
    drop(browser);
    served(&namespace).await;
    let rules = json!([{"apiGroups": ["kintsugi.dev"], "resources": ["widgetcontracts"],
                        "verbs": ["get", "list"]}]);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &rules).await;
    let browser = Browser::of(&bob).await;
    browser.open(&format!("/namespaces/{}/contracts/uk", namespace.name)).await;
    let polls = says("Not live: every 10 s");
    browser.until(&polls).await;
    browser.run("window.isTheSamePage = true").await;
    break_it(&namespace).await;
    let text = "document.querySelector('main').innerText";
    browser.until(&format!("window.isTheSamePage && {text}.includes('Degraded')")).await;
    assert_eq!(browser.run(&format!("return {polls}")).await, true, "and goes on to say so");

    let contracts = namespace.api::<WidgetContract>();
    contracts.delete("uk", &DeleteParams::default()).await.unwrap();
    browser.until(&says("Not live: this is gone")).await;
    let gone = browser.text().await;
    assert!(gone.contains("Not Found") && !gone.contains("Degraded"), "{gone}");
    // One of the same name is shown as it comes.
    namespace.apply(&contract("uk", "storefinder", &shop())).await;
    browser.until(&format!("{polls} && {text}.includes('storefinder')")).await;
    assert_eq!(browser.run("return window.isTheSamePage").await, true);
}

#[tokio::test]
async fn a_right_that_is_taken_away_takes_what_it_showed_off_an_open_page() {
    let World { cluster, namespace, operator, browser } = world("taken").await;
    drop(browser);
    served(&namespace).await;
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &may(&[])).await;
    let browser = Browser::of(&bob).await;
    browser.open(&format!("/namespaces/{}/contracts/uk", namespace.name)).await;
    browser.until(LIVE).await;
    let bindings = namespace.api::<RoleBinding>();
    bindings.delete(&bob.name, &DeleteParams::default()).await.unwrap();
    browser.until(&says("Not live: you may no longer see this")).await;
    let text = browser.text().await;
    assert!(
        text.contains("bob may not get widgetcontracts") && !text.contains("History"),
        "{text}"
    );
}

#[tokio::test]
async fn a_link_to_a_revision_that_is_not_kept_shows_the_contract_and_says_so() {
    let World { namespace, browser, operator: _operator, .. } = world("pruned").await;
    served(&namespace).await;
    browser.open(&format!("/namespaces/{}/contracts/uk?revision=99", namespace.name)).await;
    let text = browser.text().await;
    assert!(text.contains("has no revision 99") && text.contains("All rules in force"), "{text}");
}
