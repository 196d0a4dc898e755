//! How a contract stands, in two words from small sets: for those who count contracts.

use crate::api::{
    WidgetContractStatus,
    condition::{ConditionType, Conditions},
    contract::Health,
};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its health.
    pub health: Health,
    /// What is served.
    pub serving: ServingReason,
}

/// The reason of a contract's condition Serving.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString,
)]
pub enum ServingReason {
    /// The assigned document, which passes or has passed.
    Assigned,
    /// The same, while not everything can be checked.
    AssignedUnverified,
    /// What was served before, since the assigned document is withheld.
    Withheld,
    /// A document that a step has made.
    Repaired,
    /// A revision that was good.
    LastKnownGood,
    /// The document that the contract gives for this.
    Fallback,
    /// The document that a person has pinned.
    Pinned,
    /// Nothing, since nothing has been good yet.
    None,
    /// Nothing, as the contract wants it.
    WatchOnly,
    /// Nothing of ours: the place belongs to somebody else.
    ServeNotOwned,
    /// It was not looked at yet, or the status is of another version.
    #[default]
    Unknown,
}

impl ServingReason {
    /// As conditions have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Standing {
    /// As `status` says.
    #[must_use]
    pub fn of(status: Option<&WidgetContractStatus>) -> Self {
        let conditions = Conditions::of(status.map(|status| &status.conditions));
        let serving = conditions.get(ConditionType::Serving).and_then(|is| is.reason.parse().ok());
        Self {
            health: status.and_then(|status| status.health).unwrap_or(Health::Unknown),
            serving: serving.unwrap_or_default(),
        }
    }
}
