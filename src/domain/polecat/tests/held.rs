//! Polecats that wait for room.

use super::*;
use crate::domain::slots::Standing;

#[test]
fn one_whose_pod_is_refused_gives_its_room_back_and_asks_again() {
    let room = Hold::Full { namespace: "town".into(), limit: 1 };
    let full = || Seen {
        hold: Some(room.clone()),
        past: Past::NeverScheduled,
        whole: Some(Arc::new(whole())),
        ..seen()
    };
    let refusal = Some(Cause::known("PodInvalid", "requests are more than limits"));
    let mut it = begun();
    assert_eq!(it.standing(), Standing::Begun);
    it.status = it.decide(&Seen { refusal, past: Past::NeverScheduled, ..seen() }).status;
    assert_eq!(condition(&it.status, "Ready"), "False/PodInvalid");
    assert_eq!(it.standing(), Standing::Out, "nothing of it runs, and it stands in nobody's way");

    let waits = it.decide(&full());
    assert_eq!(condition(&waits.status, "Ready"), "False/NamespaceLimit");
    assert!(waits.children.is_empty());
    let words = |it: &PolecatStatus| {
        it.conditions.iter().find(|it| it.type_ == "Ready").unwrap().message.to_string()
    };
    assert!(words(&waits.status).contains("PodInvalid"), "{}", words(&waits.status));
    it.status = waits.status;
    assert!(matches!(it.standing(), Standing::InLine(_)), "it has its turn like others");
    assert_eq!(it.decide(&full()).status, it.status, "said once");
    let again = it.decide(&Seen { hold: None, ..full() });
    assert_eq!(again.children.len(), 1, "with room, it is tried again: {:?}", again.status);
}
