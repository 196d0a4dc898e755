//! Somebody who asks the operator itself, over HTTP, with a token of their own.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::api::PostParams;
use serde_json::{Value, json};

use super::{Cluster, Namespace, Operator, people};

/// For the operator's second address.
pub const DESK: &str = "--dashboard-listen=127.0.0.1:0";
/// What the tokens of its users are for.
pub const AUDIENCE: &str = "kintsugi";

/// A visitor with a token.
pub struct Visitor {
    /// The address that they ask.
    pub url: String,
    /// Their name, as the API server knows it.
    pub name: String,
    /// Their token.
    pub token: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub media_type: String,
    pub retry_after: Option<String>,
    pub body: Value,
}

/// Where the operator is asked.
pub fn address(operator: &Operator) -> String {
    let listens = operator.logs("serving people");
    format!("http://{}", listens["address"].as_str().unwrap())
}

/// A ServiceAccount of the namespace, with the rights of these rules there.
pub async fn visitor(
    cluster: &Cluster,
    namespace: &Namespace,
    operator: &Operator,
    name: &str,
    rules: &Value,
) -> Visitor {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    namespace.apply(&account.to_string()).await;
    let user = format!("system:serviceaccount:{}:{name}", namespace.name);
    people::person(cluster, namespace, &user, rules).await;
    let token = token(namespace, name, AUDIENCE).await;
    Visitor { url: address(operator), name: user, token }
}

/// A token of a ServiceAccount for an audience.
pub async fn token(namespace: &Namespace, account: &str, audience: &str) -> String {
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let accounts = namespace.api::<ServiceAccount>();
    let params = PostParams::default();
    let made = accounts.create_token_request(account, &params, &request).await.unwrap();
    made.status.unwrap().token
}

impl Visitor {
    /// The same with another token.
    pub fn with(&self, token: &str) -> Self {
        Self { url: self.url.clone(), name: self.name.clone(), token: token.to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.bare(method, path).bearer_auth(&self.token)
    }

    /// Without their token; where it is sent on to is not gone to.
    pub fn bare(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let stay = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().no_proxy().redirect(stay).build().unwrap();
        client.request(method, format!("{}{path}", self.url))
    }

    #[expect(clippy::disallowed_methods, reason = "what is asked is the operator itself")]
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let header = |name: &str| {
            let header = response.headers().get(name);
            header.map(|is| is.to_str().unwrap().to_owned())
        };
        Answer {
            status: response.status().as_u16(),
            media_type: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            body: serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default(),
        }
    }
}

/// Somebody who follows what happens.
pub struct Follower {
    response: reqwest::Response,
    unread: String,
    /// The id of what was told last.
    pub id: String,
}

/// What was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub id: String,
    pub event: String,
    pub data: Value,
}

impl Told {
    /// `<event> <step> <reason>`.
    pub fn words(&self) -> String {
        let text = |name: &str| self.data[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", self.event, text("step"), text("reason"))
    }
}

impl Visitor {
    /// The status of the answer, whose body may have no end.
    pub async fn get_status(&self, path: &str) -> u16 {
        self.request("GET", path).send().await.unwrap().status().as_u16()
    }

    /// Follows what happens: from now on, or after what has this id.
    pub async fn follow(&self, query: &str, last: Option<&str>) -> Follower {
        let mut request = self.request("GET", &format!("/api/v1/stream{query}"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut follower = Follower { response, unread: String::new(), id: String::new() };
        // What greets them: from here on nothing is missed.
        let greeting = follower.block().await.unwrap();
        assert_eq!(greeting.event, "", "{greeting:?}");
        follower
    }
}

impl Follower {
    /// What is told next; None at the end.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            let told = self.block().await?;
            if !told.event.is_empty() {
                return Some(told);
            }
        }
    }

    /// What is told up to the first that is as `is_last` says.
    pub async fn until(&mut self, is_last: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let told = self.next().await.unwrap_or_else(|| panic!("it ended after {all:?}"));
            let ends = is_last(&told);
            all.push(told);
            if ends {
                return all;
            }
        }
    }

    /// The next block, also one that tells nothing.
    pub async fn block(&mut self) -> Option<Told> {
        while !self.unread.contains("\n\n") {
            let chunk = tokio::time::timeout(super::PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("nothing is told").unwrap()?;
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        let rest = self.unread.split_off(self.unread.find("\n\n").unwrap() + 2);
        let told = parsed(&std::mem::replace(&mut self.unread, rest));
        if !told.id.is_empty() {
            self.id.clone_from(&told.id);
        }
        Some(told)
    }
}

/// One block of a stream.
pub fn parsed(block: &str) -> Told {
    let mut told = Told { id: String::new(), event: String::new(), data: Value::Null };
    for line in block.trim_end().lines() {
        match line.split_once(": ") {
            Some(("id", id)) => id.clone_into(&mut told.id),
            Some(("event", event)) => event.clone_into(&mut told.event),
            Some(("data", data)) => told.data = serde_json::from_str(data).unwrap(),
            Some(("retry", _)) | None => assert!(line == ":" || line.starts_with("retry")),
            Some(_) => panic!("what is {line}?"),
        }
    }
    told
}
