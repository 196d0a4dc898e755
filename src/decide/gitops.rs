//! Which GitOps tool applies an object, by what the tools leave on it.
//!
//! Knows: the marks. Must not know: what follows from them.
//!
//! Sources: Argo CD, «Resource Tracking» (annotation) and «Server-Side Apply» (field manager);
//! Flux, kustomize-controller and helm-controller (labels, field managers); Helm, «Labels and
//! Annotations». Argo CD's tracking by the label `app.kubernetes.io/instance` is not a mark: charts
//! set that label, too.

use std::collections::BTreeMap;

/// A mark: the name of an annotation, label or field manager, and the tool that leaves it.
const ANNOTATIONS: [(&str, &str); 2] =
    [("argocd.argoproj.io/tracking-id", "Argo CD"), ("meta.helm.sh/release-name", "Helm")];
const LABELS: [(&str, &str); 2] =
    [("kustomize.toolkit.fluxcd.io/name", "Flux"), ("helm.toolkit.fluxcd.io/name", "Flux")];
const MANAGERS: [(&str, &str); 5] = [
    ("argocd-controller", "Argo CD"),
    ("argocd-application-controller", "Argo CD"),
    ("kustomize-controller", "Flux"),
    ("helm-controller", "Flux"),
    ("helm", "Helm"),
];

/// The tool that applies an object with these labels and annotations, or the field of it that
/// `managers` have written; None when it bears no mark.
#[must_use]
pub fn tool<'a>(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    managers: impl IntoIterator<Item = &'a str>,
) -> Option<&'static str> {
    let find = |marks: &[(&str, &'static str)], has: &dyn Fn(&str) -> bool| {
        marks.iter().find(|(mark, _)| has(mark)).map(|(_, tool)| *tool)
    };
    let managers: Vec<&str> = managers.into_iter().collect();
    find(&LABELS, &|mark| labels.contains_key(mark))
        .or_else(|| find(&ANNOTATIONS, &|mark| annotations.contains_key(mark)))
        .or_else(|| find(&MANAGERS, &|mark| managers.contains(&mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_is_known_by_each_of_its_marks_and_nobody_else_is_taken_for_one() {
        let one = |mark: &str| BTreeMap::from([(mark.to_owned(), "x".to_owned())]);
        let none = BTreeMap::new();
        for (mark, name) in LABELS {
            assert_eq!(tool(&one(mark), &none, []), Some(name));
        }
        for (mark, name) in ANNOTATIONS {
            assert_eq!(tool(&none, &one(mark), []), Some(name));
        }
        for (mark, name) in MANAGERS {
            assert_eq!(tool(&none, &none, ["kubectl-edit", mark]), Some(name));
        }
        let labels = one("app.kubernetes.io/instance");
        assert_eq!(tool(&labels, &none, ["kubectl-client-side-apply", "helmsman"]), None);
    }
}
