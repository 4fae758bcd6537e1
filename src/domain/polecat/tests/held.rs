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

    let again = it.decide(&full());
    let want = (&it.status, Next::Retry);
    assert_eq!((&again.status, again.next), want, "its words stand, and its pauses grow");
    it.generation = Some(2);
    let waits = it.decide(&full());
    assert_eq!(condition(&waits.status, "Ready"), "False/NamespaceLimit", "edited");
    assert!(waits.children.is_empty());
    it.status = waits.status;
    assert!(matches!(it.standing(), Standing::InLine(_)), "it has its turn like others");
    let going = Brief { deleting: true, ..it.clone() };
    let idle = Brief { desired: DesiredState::Idle, ..it.clone() };
    assert_eq!((going.standing(), idle.standing()), (Standing::Out, Standing::Out));
    assert_eq!(it.decide(&full()).status, it.status, "said once");
    let again = it.decide(&Seen { hold: None, ..full() });
    assert_eq!(again.children.len(), 1, "with room, it is tried again: {:?}", again.status);
}
