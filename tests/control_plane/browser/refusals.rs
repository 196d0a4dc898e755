//! What people are told where there is nothing to show: pages, in words.

use super::{World, may, troubles, world, world_of, wrong_with};
use crate::support::{
    browser::{Browser, NAME},
    desk,
};

#[tokio::test]
async fn whatever_is_wrong_people_are_told_by_a_page_and_programs_by_problem_details() {
    const PAGE: &str = "text/html; charset=utf-8";
    const PROBLEM: &str = "application/problem+json";
    let World { cluster, namespace, operator, browser } = world("wrong").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "amy", &may(&[])).await;
    for (method, path, accepted, status, media_type) in [
        ("GET", "/nothing", "text/html,*/*", 404, PAGE),
        ("GET", "/nothing", "*/*", 404, PROBLEM),
        ("GET", "/contracts/uk", "*/*", 404, PAGE),
        ("GET", "/namespaces/..%2f/contracts/uk", "*/*", 400, PAGE),
        ("POST", "/namespaces/..%2f/contracts/uk/heal", "*/*", 400, PAGE),
        ("POST", "/namespaces/shop/incidents/uk/decision", "*/*", 415, PAGE),
        ("PUT", "/log", "*/*", 405, PAGE),
        ("GET", "/api/v1/nothing", "text/html", 404, PROBLEM),
        ("POST", "/api/v1/log", "text/html", 405, PROBLEM),
    ] {
        let answer = ann.send(ann.request(method, path).header("accept", accepted)).await;
        let shown = (answer.status, &*answer.media_type);
        assert_eq!(shown, (status, media_type), "{method} {path} {accepted}");
    }
    for (path, leads_to) in [
        ("/contracts/?namespace=shop", "/contracts?namespace=shop"),
        ("/namespaces/shop/contracts/uk/", "/namespaces/shop/contracts/uk"),
    ] {
        let answer = ann.request("GET", path).send().await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        assert_eq!((answer.status().as_u16(), location), (308, leads_to));
    }
    browser.open("/log/").await;
    browser.until("location.pathname === '/log' && document.getElementById('live')").await;
    browser.open("/nothing").await;
    let text = browser.text().await;
    assert!(text.contains("Not Found") && text.contains("there is nothing at this path"), "{text}");
}

#[tokio::test]
async fn whoever_cannot_log_in_over_plain_http_is_told_why_and_what_to_do() {
    let World { cluster, namespace, operator, browser } = world("dropped").await;
    drop(browser);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &may(&[])).await;
    let browser = Browser::at(&bob.url.replace("127.0.0.1", NAME)).await;
    browser.log_in(&bob).await;
    browser.until("document.querySelector('[role=alert]')").await;
    let text = browser.text().await;
    assert!(
        text.contains("does not say which page sent the token") && text.contains("https://"),
        "{text}"
    );
    assert_eq!(wrong_with(&browser, "login-not-said").await, [""; 0]);
}

#[tokio::test]
async fn the_log_shows_what_all_of_its_filters_ask_for_and_says_where_there_is_nothing() {
    let World { namespace, browser, operator: _operator, .. } = world_of("filters", &[]).await;
    let [healed, ..] = troubles(&namespace).await;
    let subjects = "[...document.querySelectorAll('main tbody a')].map(one => one.innerText)";
    for (query, some) in [
        ("contract=ch", true),
        ("policy=by-itself&step=restore&outcome=Succeeded", true),
        (&*format!("incident={healed}"), true),
        ("contract=ch&outcome=Nothing", false),
    ] {
        browser.open(&format!("/log?namespace={}&{query}", namespace.name)).await;
        let found = browser.run(&format!("return {subjects}")).await;
        let found = found.as_array().unwrap();
        assert_eq!(!found.is_empty(), some, "{query}: {found:?}");
        assert!(found.iter().all(|subject| subject == "ch"), "{query}: {found:?}");
        let says = browser.text().await.contains("Nothing of the kind was done.");
        assert_eq!(says, !some, "{query}");
    }
    browser.open("/log").await;
    // In one go: in between the page may be brought up to date.
    let sent = "const field = document.getElementById('contract'); field.value = 'fr'; field.form.requestSubmit()";
    browser.run(sent).await;
    browser.until("location.search.includes('contract=fr') && document.querySelector('h1')").await;
    let value = browser.run("return document.getElementById('contract').value").await;
    assert_eq!(value, "fr");
    browser.open("/log?contract=..").await;
    assert!(browser.text().await.contains("contract: "), "{}", browser.text().await);
}
