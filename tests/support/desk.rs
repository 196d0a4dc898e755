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
        let header = response.headers().get("content-type").cloned();
        Answer {
            status: response.status().as_u16(),
            media_type: header.map(|is| is.to_str().unwrap().to_owned()).unwrap_or_default(),
            body: serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default(),
        }
    }
}
