//! What is noted on objects beside what is written, so that a fresh process knows what an unfinished one
//! has done: as text and back. Whatever is changed here has to read what an older version has noted.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use crate::{
    api::{contract::Origin, incident::StepOutcome},
    decide::signal::Tried,
    domain::Digest,
};

/// What is noted on the served object beside the bytes, so that a fresh process knows what an
/// unfinished one has done: `<origin>[ revision=<number>][ effect=<incident>/<attempt>/<step>][
/// before=<number>][ undoes]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where the document came from.
    pub origin: Origin,
    /// The revision that stores it.
    pub revision: Option<u32>,
    /// What it was published for.
    pub effect: Option<Effect>,
    /// The revision that was served before the effect.
    pub before: Option<u32>,
    /// Is it what was served before the effect, put back?
    pub undoes: bool,
}

impl Note {
    /// A note of something that no Incident asked for.
    #[must_use]
    pub fn plain(origin: Origin, revision: Option<u32>) -> Self {
        Self { origin, revision, effect: None, before: None, undoes: false }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if let Some(revision) = self.revision {
            write!(f, " revision={revision}")?;
        }
        if let Some(effect) = &self.effect {
            write!(f, " effect={effect}")?;
        }
        if let Some(before) = self.before {
            write!(f, " before={before}")?;
        }
        if self.undoes {
            write!(f, " undoes")?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let origin = words.next().unwrap_or_default().parse().map_err(|_| ())?;
        let mut note = Self::plain(origin, None);
        for word in words {
            match word.split_once('=') {
                Some(("revision", number)) => {
                    note.revision = Some(number.parse().map_err(|_| ())?);
                }
                Some(("effect", effect)) => note.effect = Some(effect.parse()?),
                Some(("before", number)) => note.before = Some(number.parse().map_err(|_| ())?),
                None if word == "undoes" => note.undoes = true,
                _ => return Err(()),
            }
        }
        Ok(note)
    }
}

/// A repair's key: of one key at most one document is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The Incident's name.
    pub incident: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The step that made the last change.
    pub step: String,
    /// What the attempt tried: the names alone, a `!` before one that failed, a `?` before one that
    /// had no answer, a `~` before one that waited, a `+` before one that acted on something else and
    /// a `-` before one that was skipped; then `<n>:` for one of a later segment.
    pub tried: Vec<Tried>,
    /// When it was decided, as `@<milliseconds since 1970>`; of a put-back key that is not noted.
    pub decided_at: Option<Timestamp>,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.incident, self.attempt, self.step)?;
        for (at, tried) in self.tried.iter().enumerate() {
            let mark = match tried.outcome {
                StepOutcome::Changed => "",
                StepOutcome::Failed => "!",
                StepOutcome::Unavailable => "?",
                StepOutcome::Waited => "~",
                StepOutcome::Acted => "+",
                StepOutcome::Skipped => "-",
            };
            write!(f, "{}{mark}", if at == 0 { '/' } else { ',' })?;
            if tried.segment > 0 {
                write!(f, "{}:", tried.segment)?;
            }
            write!(f, "{}", tried.step)?;
        }
        self.decided_at.map_or(Ok(()), |at| write!(f, "@{}", at.as_millisecond()))
    }
}

impl FromStr for Effect {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (text, millis) = match text.split_once('@') {
            Some((text, millis)) => (text, Some(millis.parse().map_err(|_| ())?)),
            None => (text, None),
        };
        let decided_at = millis.map(Timestamp::from_millisecond).transpose().map_err(|_| ())?;
        let mut parts = text.split('/').map(str::to_owned);
        let mut part = || parts.next().ok_or(());
        let (incident, attempt) = (part()?, part()?.parse().map_err(|_| ())?);
        let step = part()?;
        let marked = part().unwrap_or_default();
        let tried = marked.split(',').filter(|name| !name.is_empty()).map(|name| {
            let (outcome, step) = match name.split_at_checked(1) {
                Some(("!", step)) => (StepOutcome::Failed, step),
                Some(("?", step)) => (StepOutcome::Unavailable, step),
                Some(("~", step)) => (StepOutcome::Waited, step),
                Some(("+", step)) => (StepOutcome::Acted, step),
                Some(("-", step)) => (StepOutcome::Skipped, step),
                _ => (StepOutcome::Changed, name),
            };
            let (segment, step) = step.split_once(':').unwrap_or(("0", step));
            let segment = segment.parse().unwrap_or(0);
            Tried { segment, step: step.to_owned(), outcome, why: String::new() }
        });
        Ok(Self { incident, attempt, step, tried: tried.collect(), decided_at })
    }
}

/// What is noted on the holder of a document that was written back: `<digest> <effect>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenBack {
    /// The document.
    pub digest: Digest,
    /// What it was written for.
    pub effect: Effect,
}

impl fmt::Display for WrittenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.digest, self.effect)
    }
}

impl FromStr for WrittenBack {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (digest, effect) = text.split_once(' ').ok_or(())?;
        Ok(Self { digest: digest.to_owned().into(), effect: effect.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_an_attempt_reads_back_as_it_was() {
        for text in [
            "uk-1/2/restore",
            "uk-1/2/restore/!graft,~pause,+restart,restore",
            "uk-1/2/restore/!graft,?refetch,~1:pause,+1:restart,-1:scale,2:restore@1767225600123",
        ] {
            let note = format!("Repaired revision=3 effect={text} before=2 undoes");
            assert_eq!(note.parse::<Note>().unwrap().to_string(), note);
        }
        let effect: Effect = "uk-1/2/restore/!graft,~pause,+restart,restore".parse().unwrap();
        let tried: Vec<_> = effect.tried.iter().map(|t| (t.step.as_str(), t.outcome)).collect();
        let expected = [
            ("graft", StepOutcome::Failed),
            ("pause", StepOutcome::Waited),
            ("restart", StepOutcome::Acted),
            ("restore", StepOutcome::Changed),
        ];
        assert_eq!(tried, expected);
    }
}
