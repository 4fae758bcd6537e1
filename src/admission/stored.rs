//! Kinds whose controller is not in this release, at the door: accepted as they are, with a word on that.

use super::{Verdict, warning};
use crate::domain::stored::{REASON, Stored};

/// Warns that nothing will come of an object of this kind.
pub fn admit<K: Stored>() -> Verdict {
    let text = format!("{} ({REASON})", K::SORT.message());
    Verdict { warnings: vec![warning(&text)], ..Verdict::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{fleet, v1beta1};

    #[test]
    fn every_warning_names_its_kind_and_is_passed_on_whole() {
        let table = [
            (admit::<v1beta1::Rig>(), "Rig"),
            (admit::<v1beta1::Convoy>(), "Convoy"),
            (admit::<v1beta1::Witness>(), "Witness"),
            (admit::<v1beta1::Refinery>(), "Refinery"),
            (admit::<v1beta1::BeadStore>(), "BeadStore"),
            (admit::<fleet::ClientPod>(), "ClientPod"),
        ];
        for (verdict, kind) in table {
            let [text] = &verdict.warnings[..] else { panic!("{kind}: one warning") };
            assert!(text.starts_with(&format!("the {kind} is stored")), "{text}");
            assert!(text.ends_with(REASON_IN_BRACKETS), "cut: {text}");
        }
    }

    const REASON_IN_BRACKETS: &str = "(ControllerNotInThisRelease)";
}
