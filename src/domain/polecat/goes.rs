//! What goes with a Polecat that somebody deletes: a word to who does it, whom nobody keeps from it.

use super::commits;
use crate::{
    api::v1beta1::{Phase, PolecatStatus},
    domain::conditions::PUSHED,
};

/// What is ended, or may be lost, with the Polecat of this name: one sentence each, none where nothing is. By its status alone,
/// which may be a moment old.
pub fn goes_with(name: &str, status: &PolecatStatus) -> Vec<String> {
    let pod = status.pod_name.as_deref().filter(|_| status.finished_at.is_none());
    if let Some(pod) = pod.filter(|_| status.phase == Phase::Working) {
        let what = "what its agent has committed is pushed while the pod ends, the rest is lost";
        return vec![format!("Polecat {name:?} is at work, and pod {pod} ends with it: {what}")];
    }
    let pushed = status.conditions.iter().find(|it| it.type_ == PUSHED);
    let missing = pushed.filter(|it| it.status != "True" && commits::may_exist(it));
    missing
        .map(|it| {
            let (reason, message) = (&it.reason, &it.message);
            format!("Polecat {name:?} may hold commits that its remote does not have ({reason}: {message})")
        })
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_deletes_work_or_commits_is_told_and_nobody_else() {
        let pushed = |is: &str, reason: &str| json!([{"type": "Pushed", "status": is, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let over = "2026-01-01T00:00:00Z";
        let (works, rejected) = ("is at work", "(PushRejected: m)");
        #[rustfmt::skip]
        let table = [
            (json!({}), None, "nothing was begun"),
            (json!({"phase": "Idle"}), None, "it rests"),
            (json!({"phase": "Working", "podName": "p-1"}), Some(works), "it runs"),
            (json!({"phase": "Working"}), None, "it waits for its pod"),
            (json!({"phase": "Done", "podName": "p-1", "finishedAt": over, "conditions": pushed("True", "Pushed")}), None, "all is pushed"),
            (json!({"phase": "Done", "podName": "p-1", "finishedAt": over, "conditions": pushed("False", "NothingToPush")}), None, "nothing was committed"),
            (json!({"phase": "Stuck", "finishedAt": over, "conditions": pushed("False", "NotBegun")}), None, "no agent ran"),
            (json!({"phase": "Stuck", "podName": "p-1", "finishedAt": over, "conditions": pushed("False", "PushRejected")}), Some(rejected), "the remote refused"),
            (json!({"phase": "Done", "podName": "p-1", "finishedAt": over, "conditions": pushed("Unknown", "NoVerdict")}), Some("(NoVerdict: m)"), "they are being pushed"),
            (json!({"phase": "Working", "podName": "p-2", "conditions": pushed("False", "PushRejected")}), Some(works), "another attempt runs"),
        ];
        for (status, want, because) in table {
            let status: PolecatStatus = serde_json::from_value(status).unwrap();
            let told = goes_with("max", &status);
            assert_eq!(told.is_empty(), want.is_none(), "{because}: {told:?}");
            if let Some(want) = want {
                assert!(
                    told[0].contains(want) && told[0].contains("\"max\""),
                    "{because}: {told:?}"
                );
            }
        }
    }
}
