//! Which Secrets of a namespace are git credentials: those that a Polecat there has cloned with. No other Polecat's agent is
//! given one. Naming a Secret is no clone, so nobody keeps others from theirs by a name.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    api::{text::Text, v1beta1::Polecat},
    domain::{
        polecat::Drift,
        repository::{RepositoryUrl, Transport},
    },
};

/// The Secret that a Polecat clones and pushes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub secret: Text,
    /// Its agent's container began, which it does after a clone alone, and the spec is still the one that this was of.
    pub proven: bool,
}

impl Credential {
    pub fn of(polecat: &Polecat, drift: Drift) -> Option<Self> {
        let repository = polecat.spec.repository.as_ref()?;
        let name = Some(repository.secret_ref.name.as_str()).filter(|it| !it.is_empty())?;
        let status = &polecat.status;
        let began = status.started_at.is_some() && status.attempt_spec_digest.is_some();
        // Without encryption no credential is read, and any name will do.
        let is_read =
            |it: &RepositoryUrl| matches!(it.transport(), Transport::Ssh | Transport::Https);
        let proven = began
            && drift == Drift::None
            && repository.url.parse::<RepositoryUrl>().is_ok_and(|it| is_read(&it));
        Some(Self { secret: name.into(), proven })
    }
}

/// The book of one scope.
#[derive(Debug, Default)]
pub struct Lent {
    namespaces: HashMap<Arc<str>, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    /// Who has cloned with which Secret.
    users: HashMap<Text, BTreeSet<Box<str>>>,
    /// Who was kept from a Secret.
    refused: BTreeSet<Box<str>>,
}

impl Lent {
    /// Takes in what is known of a Polecat; `None`: it is gone. What was proven stays so until it names another Secret. Returns
    /// who is to be looked at, since a Secret is nobody's git credential any more.
    pub fn note(
        &mut self,
        namespace: &Arc<str>,
        polecat: &str,
        known: Option<&Credential>,
        is_there: bool,
    ) -> Vec<Box<str>> {
        let proven = known.filter(|it| it.proven);
        if proven.is_none() && !self.namespaces.contains_key(namespace) {
            return Vec::new();
        }
        let it = self.namespaces.entry(namespace.clone()).or_default();
        let before = it.users.len();
        let has = |it: &BTreeSet<Box<str>>| it.contains(polecat);
        let stays = known.is_some_and(|known| it.users.get(&known.secret).is_some_and(has));
        if !stays {
            // Nobody is entered twice: what is left is to be gone from another one.
            it.users.retain(|_, users| {
                users.remove(polecat);
                !users.is_empty()
            });
        }
        let freed = it.users.len() < before;
        if let Some(Credential { secret, .. }) = proven {
            it.users.entry(secret.clone()).or_default().insert(polecat.into());
        }
        if !is_there {
            it.refused.remove(polecat);
        }
        let waiting = if freed { std::mem::take(&mut it.refused) } else { BTreeSet::new() };
        if it.users.is_empty() && it.refused.is_empty() {
            self.namespaces.remove(namespace);
        }
        waiting.into_iter().collect()
    }

    /// Who else has cloned with this Secret.
    pub fn user(&self, namespace: &str, secret: &str, polecat: &str) -> Option<&str> {
        let users = self.namespaces.get(namespace)?.users.get(secret)?;
        users.iter().map(|it| &**it).find(|it| *it != polecat)
    }

    /// Remembers whom to look at once that has changed.
    pub fn refuse(&mut self, namespace: &str, polecat: &str) {
        if let Some(it) = self.namespaces.get_mut(namespace) {
            it.refused.insert(polecat.into());
        }
    }

    /// Forgets namespaces that are somebody else's from now on.
    pub fn forget_where(&mut self, is: impl Fn(&str) -> bool) {
        self.namespaces.retain(|namespace, _| !is(namespace));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;
    use crate::api::{shared::SecretRef, v1beta1::Repository};

    #[test]
    fn a_clone_proves_it_and_a_name_does_not() {
        let began = Some(Time(Timestamp::UNIX_EPOCH));
        let (ssh, plain) = ("git@git.example.com:town/x.git", "http://git.example.com/x.git");
        let table = [
            (ssh, began.clone(), Drift::None, true, "its agent began, so it was cloned"),
            ("https://git.example.com/x.git", began.clone(), Drift::None, true, "with a token"),
            (ssh, None, Drift::None, false, "it only names it"),
            (ssh, began.clone(), Drift::Changed, false, "it named another when its agent began"),
            (plain, began, Drift::None, false, "no credential was read for that"),
        ];
        for (url, started_at, drift, proven, because) in table {
            let mut it = Polecat::default();
            let secret_ref = SecretRef { name: "git".into() };
            let url = url.to_owned();
            it.spec.repository = Some(Repository { url, secret_ref, ..Repository::default() });
            (it.status.started_at, it.status.attempt_spec_digest) = (started_at, Some("d".into()));
            let want = Credential { secret: "git".into(), proven };
            assert_eq!(Credential::of(&it, drift), Some(want), "{because}");
        }
        assert_eq!(Credential::of(&Polecat::default(), Drift::None), None, "no repository");
    }

    fn names(secret: &str, proven: bool) -> Credential {
        Credential { secret: secret.into(), proven }
    }

    #[test]
    fn a_secret_is_lent_to_nobody_while_another_has_cloned_with_it() {
        let (mut book, town) = (Lent::default(), Arc::from("town"));
        assert_eq!(book.note(&town, "nux", Some(&names("git", false)), true), [] as [Box<str>; 0]);
        assert_eq!(book.user("town", "git", "max"), None, "nobody has cloned with it yet");
        book.note(&town, "nux", Some(&names("git", true)), true);
        assert_eq!(book.user("town", "git", "max"), Some("nux"));
        assert_eq!(book.user("town", "git", "nux"), None, "its own is told by its own spec");
        assert_eq!(book.user("other", "git", "max"), None, "another namespace's");
        book.note(&town, "slit", Some(&names("git", true)), true);
        book.refuse("town", "max");
        book.note(&town, "nux", Some(&names("git", false)), true);
        assert_eq!(book.user("town", "git", "max"), Some("nux"), "its next attempt has not begun");
        assert!(book.note(&town, "nux", Some(&names("other", false)), true).is_empty());
        assert_eq!(book.user("town", "git", "max"), Some("slit"), "two had it");
        assert_eq!(book.note(&town, "slit", None, false), [Box::from("max")], "it may begin now");
        assert!(book.namespaces.is_empty(), "nothing is left behind");
        book.note(&town, "nux", Some(&names("git", true)), true);
        book.forget_where(|it| it == "town");
        assert_eq!(book.user("town", "git", "max"), None, "somebody else's namespace");
    }
}
