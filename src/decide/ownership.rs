//! Whose a served key is, and whether its ConfigMap says so.
//!
//! Marks on the ConfigMap say whose each key is: a label that the watch selects by, an annotation
//! for each key, an owner reference where the ConfigMap ends with its contract. Anybody may take
//! them away, as `kubectl replace` does. So the contract's own status counts as well: a key that
//! it says to be served in is its own, unless another contract's mark stands on it.
//!
//! Must not know: which bytes belong there; that is decided in `publish`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::api::{
    GROUP,
    contract::{Origin, WidgetContractStatus},
    refs::ConfigMapKeyRef,
};

use super::{
    effective::ServeTarget,
    publish::overwritten_by,
    view::{Note, Served, ServedKey, Subject, View},
};

/// The ConfigMap with the served key, as it was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedIn {
    /// Its UID.
    pub uid: String,
    /// Its version.
    pub version: String,
    /// Does it have the label of those that we serve from?
    pub is_labelled: bool,
    /// Whose the key is by its annotation: see [`owner`]. Empty when there is none.
    pub owner: String,
    /// What it is deleted with.
    pub owners: Vec<OwnerReference>,
    /// Is the key in `binaryData`?
    pub is_binary: bool,
    /// How many bytes the key holds; None when it is not there.
    pub size: Option<usize>,
    /// How many other keys there are.
    pub other_keys: usize,
    /// How many bytes they hold.
    pub other_bytes: usize,
}

/// Whose a key is, as its annotation says it.
#[must_use]
pub fn owner(uid: &str, name: &str) -> String {
    format!("{uid}/{name}")
}

/// Does this reference make a ConfigMap end with a contract?
#[must_use]
pub fn is_to_contract(reference: &OwnerReference) -> bool {
    let group = reference.api_version.split('/').next();
    reference.kind == "WidgetContract" && group == Some(GROUP)
}

/// Does status say that the contract is served in this very key?
#[must_use]
pub fn is_served_in(status: Option<&WidgetContractStatus>, at: &ConfigMapKeyRef) -> bool {
    let documents = status.and_then(|status| status.document.as_ref());
    documents.and_then(|d| d.served.as_ref()).is_some_and(|served| served.r#ref == *at)
}

/// What `key` of `found` is to the contract: its own when the key's mark names it, or one of the
/// same name that is gone, whose successor it is; or when the mark is lost and status knows better.
#[must_use]
pub fn whose(
    subject: &Subject,
    status: Option<&WidgetContractStatus>,
    target: &ServeTarget,
    found: &ServedIn,
    mut key: Option<ServedKey>,
) -> Served {
    let named = found.owner.split_once('/');
    let ours =
        named.map_or_else(|| is_served_in(status, &target.at), |(_, name)| name == subject.name);
    // Another contract's revisions and Incidents are none of this one's, even of the same name.
    if named.is_some_and(|(uid, _)| uid != subject.uid)
        && let Some(note) = key.as_mut().and_then(|key| key.note.as_mut())
    {
        *note = Note::plain(note.origin, None);
    }
    match key {
        Some(key) if ours || (target.adopt && found.is_labelled) => Served::Ours(key),
        None if ours || target.adopt || found.is_labelled => Served::Absent,
        Some(_) if target.adopt => Served::Absent,
        Some(key) => {
            let owner = named.map_or(key.manager, |(_, name)| name.to_owned());
            Served::Foreign { owner }
        }
        None => Served::Foreign { owner: "somebody else".to_owned() },
    }
}

/// What to note when the marks of a key whose bytes are right have to be set again; None when they
/// are as they should be, or the bytes are not ours to mark.
#[must_use]
pub fn unmarked(view: &View) -> Option<Note> {
    let (Served::Ours(key), Some(found)) = (&view.served, &view.served_in) else { return None };
    let target = view.effective.serve.as_ref()?;
    if is_marked(&view.subject, target, found) || overwritten_by(view).is_some() {
        return None;
    }
    let recorded = view.status.document.as_ref().and_then(|d| d.served.as_ref());
    let recorded = recorded.filter(|served| served.r#ref == target.at);
    if !(key.written_by_us || view.serves_assigned() || recorded.is_some()) {
        return None;
    }
    let from_status = recorded.map(|served| Note::plain(served.origin, served.revision));
    let bare = Note::plain(Origin::Assigned, None);
    key.note.clone().or(from_status).or(Some(bare))
}

fn is_marked(subject: &Subject, target: &ServeTarget, found: &ServedIn) -> bool {
    let bound: Vec<&str> =
        found.owners.iter().filter(|o| is_to_contract(o)).map(|o| o.uid.as_str()).collect();
    let wanted: &[&str] = if target.delete_with_contract { &[&subject.uid] } else { &[] };
    found.is_labelled && found.owner == owner(&subject.uid, &subject.name) && bound == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::contract::{DocumentStatus, ServedDocument},
        domain::Digest,
    };

    fn at(name: &str) -> ConfigMapKeyRef {
        ConfigMapKeyRef { name: name.to_owned(), key: "uk.json".to_owned() }
    }

    fn says_served_in(name: &str) -> WidgetContractStatus {
        let digest = Digest::of_bytes(b"");
        let served = ServedDocument {
            digest: digest.clone(),
            raw_digest: digest,
            origin: Origin::Assigned,
            revision: None,
            r#ref: at(name),
        };
        let document = DocumentStatus { served: Some(served), ..DocumentStatus::default() };
        WidgetContractStatus { document: Some(document), ..WidgetContractStatus::default() }
    }

    #[test]
    fn a_key_is_a_contracts_by_its_mark_or_without_one_by_status() {
        // The mark on the key, where status says that it is served, adopt; and whose it is.
        let table = [
            ("0123/uk", "", false, "ours"),
            ("predecessor/uk", "", false, "ours"),
            ("", "cdn", false, "ours"),
            ("", "", false, "vandal"),
            ("", "elsewhere", false, "vandal"),
            ("7/fr", "cdn", false, "fr"),
            ("", "", true, "absent"),
        ];
        let subject = Subject {
            namespace: "ns".to_owned(),
            name: "uk".to_owned(),
            uid: "0123".to_owned(),
            generation: 1,
            labels: std::collections::BTreeMap::new(),
        };
        let key = ServedKey {
            raw_digest: Digest::of_bytes(b"{}"),
            written_by_us: false,
            manager: "vandal".to_owned(),
            note: None,
        };
        for (owner, served_in, adopt, expected) in table {
            let status = says_served_in(served_in);
            let target =
                ServeTarget { at: at("cdn"), shared: true, adopt, delete_with_contract: false };
            let found = ServedIn { owner: owner.to_owned(), ..ServedIn::default() };
            let whose = match whose(&subject, Some(&status), &target, &found, Some(key.clone())) {
                Served::Ours(_) => "ours".to_owned(),
                Served::Foreign { owner } => owner,
                Served::Absent => "absent".to_owned(),
                other => panic!("{other:?}"),
            };
            assert_eq!(whose, expected, "{owner:?} {served_in:?} {adopt}");
        }
    }
}
