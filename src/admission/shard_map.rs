//! The map of shards at the door: a map that is not whole, or hides what it moves, is refused. The operator checks each map that
//! it reads by the same functions, since the door may be open while nobody stands at it.

use serde_json::Value;

use super::{Asked, Refusal, Verdict, annotation};
use crate::{
    api::v1beta1::ShardMapSpec,
    domain::{log_level, names::LOG_LEVEL, shard::Map},
};

/// Whether the map, and what it asks of the logs, can be followed. One that the schema refuses is left to it.
pub fn admit(asked: &Asked<'_>) -> Verdict {
    let mut verdict = map(asked);
    verdict.refusals.extend(unreadable_level(asked));
    verdict
}

/// What is there already is left alone.
fn unreadable_level(asked: &Asked<'_>) -> Option<Refusal> {
    let wish = annotation(asked.sent, LOG_LEVEL)?;
    if asked.stored.and_then(|it| annotation(it, LOG_LEVEL)) == Some(wish) {
        return None;
    }
    let message = log_level::flaw(wish)?;
    Some(Refusal { field: format!("metadata.annotations[{LOG_LEVEL}]"), message })
}

fn map(asked: &Asked<'_>) -> Verdict {
    let Some(spec) = spec(asked.sent) else { return Verdict::default() };
    let old = asked.stored.and_then(self::spec);
    if old.as_ref() == Some(&spec) {
        return Verdict::default();
    }
    if let Some(refusal) = old.as_ref().and_then(|it| unacknowledged(asked.stored, it)) {
        return Verdict { refusals: vec![refusal], ..Verdict::default() };
    }
    let checked = Map::try_from(&spec).and_then(|new| {
        // Whatever follows one that nobody could read is better.
        old.and_then(|it| Map::try_from(&it).ok()).map_or(Ok(()), |old| new.follows(&old))
    });
    let refusals = checked.err().map(|message| Refusal { field: "spec".into(), message });
    Verdict { refusals: refusals.into_iter().collect(), ..Verdict::default() }
}

/// Why no next version may follow yet: as far as the operator has written down, the last one has not been acknowledged.
fn unacknowledged(stored: Option<&Value>, old: &ShardMapSpec) -> Option<Refusal> {
    let said = stored?.pointer("/status/acknowledgedVersion")?.as_i64()?;
    let message = format!(
        "version {} of the map has not been acknowledged by all from whom it took something, only {said}: their namespaces are \
         still being handed over; try again in a moment, and if it stays so, see who owns the shards by kubectl gt shards",
        old.version
    );
    let waits = !old.moves.is_empty() && said < old.version;
    waits.then(|| Refusal { field: "spec.version".into(), message })
}

fn spec(object: &Value) -> Option<ShardMapSpec> {
    serde_json::from_value(object.get("spec")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        admission::{Policy, Rig, User},
        domain::shard::ShardId,
    };

    fn told(stored: Option<&Value>, spec: &Value) -> String {
        let object = |spec: &Value| json!({"metadata": {"name": "gastown"}, "spec": spec});
        let (sent, stored) = (object(spec), stored.map(object));
        let asked = Asked {
            name: "gastown",
            user: User::default(),
            policy: Policy::default(),
            sent: &sent,
            stored: stored.as_ref(),
            rig: Rig::Unasked,
        };
        let verdict = admit(&asked);
        let lines: Vec<_> =
            verdict.refusals.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
        lines.join("\n")
    }

    #[test]
    fn a_map_that_nobody_could_follow_is_refused() {
        let written = |map: &Map| serde_json::to_value(ShardMapSpec::from(map)).unwrap();
        let map = Map::first(4);
        let (first, next) = (written(&map), written(&map.split(ShardId(2)).unwrap()));
        let with = |spec: &Value, key: &str, value: Value| {
            let mut spec = spec.clone();
            spec[key] = value;
            spec
        };
        let hidden = with(&next, "moves", json!([]));
        let holes = with(&first, "shards", json!([{"id": 0, "buckets": ["0-9"]}]));
        #[rustfmt::skip]
        let table = [
            (None, &first, "", "the operator makes it"),
            (Some(&first), &first, "", "a label was set"),
            (Some(&first), &next, "", "a split"),
            (None, &holes, "spec: no shard has buckets 10-1023", "it has holes"),
            (Some(&first), &hidden, "spec: moves lacks that bucket 640 went", "nobody would be waited for"),
            (Some(&next), &first, "spec: version 1 does not follow 2", "back to an older one"),
            (Some(&holes), &holes, "", "it is there already, and may be labelled"),
            (Some(&holes), &next, "", "and mended"),
        ];
        for (stored, sent, want, because) in table {
            let told = told(stored, sent);
            let fine = if want.is_empty() { told.is_empty() } else { told.starts_with(want) };
            assert!(fine, "{because}: {told}");
        }
    }

    #[test]
    fn a_log_level_that_nobody_could_follow_is_refused_when_it_is_new() {
        let map = serde_json::to_value(ShardMapSpec::from(&Map::first(4))).unwrap();
        let with = |level: &str| json!({"metadata": {"annotations": {"gastown.io/log-level": level}}, "spec": map});
        let told = |stored: &Value, sent: &Value| {
            let (user, policy) = (User::default(), Policy::default());
            let stored = Some(stored);
            let asked = Asked { name: "gastown", user, policy, sent, stored, rig: Rig::Unasked };
            admit(&asked).refusals.into_iter().map(|it| it.message).collect::<String>()
        };
        assert_eq!(told(&with("info"), &with("info,gastown::tasks=debug")), "");
        assert!(told(&with("info"), &with("loud")).contains("is no level"));
        assert_eq!(told(&with("loud"), &with("loud")), "", "it was there before");
    }

    #[test]
    fn no_version_follows_one_that_was_not_acknowledged() {
        let map = Map::first(4).split(ShardId(2)).unwrap();
        let spec = |map: &Map| serde_json::to_value(ShardMapSpec::from(map)).unwrap();
        let sent = json!({"spec": spec(&map.split(ShardId(1)).unwrap())});
        let asked = |stored: &Value| {
            let (user, policy) = (User::default(), Policy::default());
            let stored = Some(stored);
            let asked =
                Asked { name: "gastown", user, policy, sent: &sent, stored, rig: Rig::Unasked };
            admit(&asked).refusals.into_iter().map(|it| it.message).collect::<String>()
        };
        let stored = |said: Option<i64>| json!({"spec": spec(&map), "status": {"acknowledgedVersion": said}});
        assert!(asked(&stored(Some(1))).contains("version 2 of the map has not been acknowledged"));
        assert_eq!(asked(&stored(Some(2))), "", "it was");
        assert_eq!(asked(&stored(None)), "", "nobody has written down whether");
    }
}
