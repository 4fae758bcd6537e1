//! From a Convoy to the traces of its Polecats: which are its own follows from the beads that it names.

use super::{super::table, Asked};
use crate::{
    api::v1beta1::{Convoy, Polecat},
    cluster::reading::Reader,
    domain::{
        polecat::{Brief, follows, trace_of},
        trace::Run,
    },
};

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// A line for each Polecat that works on a bead of a Convoy, in the order of the beads, and one for a bead that nobody works on; and
/// what Jaeger has of it, where that is asked.
pub async fn run(
    reader: &Reader,
    namespace: &str,
    name: &str,
    asked: &Asked,
) -> anyhow::Result<String> {
    anyhow::ensure!(
        asked.jaeger.is_some() || asked.html.is_none(),
        "--html shows what Jaeger has of a Convoy: add --jaeger URL, or name one of its Polecats"
    );
    let convoy = reader.convoy(namespace, name).await?;
    let found = reader.polecats(Some(namespace)).await?;
    let polecats = found.into_iter().filter_map(|it| super::whole(it).ok()).collect::<Vec<_>>();
    let text = lines(&convoy, &polecats);
    let Some(url) = &asked.jaeger else { return Ok(text) };
    let trace = trace_of(&convoy).to_string();
    let mut spans = super::jaeger::ask(url, &trace, asked).await?;
    let title = format!("Convoy {namespace}/{name}");
    Ok(text + "\n" + &super::shown(&title, &trace, &mut spans, asked)?)
}

fn lines(convoy: &Convoy, polecats: &[Polecat]) -> String {
    let (mut rows, mut begun) = (Vec::new(), 0);
    for bead in &convoy.spec.beads {
        let before = rows.len();
        rows.extend(
            polecats.iter().filter(|it| is_of(it, convoy, &bead.id)).map(|it| row(&bead.id, it)),
        );
        begun += usize::from(rows.len() > before);
        if rows.len() == before {
            rows.push([bead.id.as_str(), NOTHING, NOTHING, NOTHING, ""].map(Into::into).into());
        }
    }
    let meta = &convoy.metadata;
    let [namespace, name] =
        [&meta.namespace, &meta.name].map(|it| it.as_deref().unwrap_or_default());
    let count = convoy.spec.beads.len();
    let trace = trace_of(convoy);
    let head = format!(
        "Convoy {namespace}/{name}: {begun} of {count} beads have a Polecat\nTrace {trace}\n\n"
    );
    head + &table::render(&["BEAD", "POLECAT", "PHASE", "TRACE", "URL"], &rows)
}

/// Whether a Polecat works on a bead of a Convoy, of whose Rig it has to be where that names one.
fn is_of(polecat: &Polecat, convoy: &Convoy, bead: &str) -> bool {
    polecat.spec.bead_id.as_deref() == Some(bead) && follows(convoy, bead, &polecat.spec.rig)
}

fn row(bead: &str, polecat: &Polecat) -> Vec<String> {
    let brief = Brief::from(polecat);
    let attempt = brief.status.attempt.unwrap_or(1);
    let url = brief.status.trace.as_ref().and_then(|it| it.url.clone()).unwrap_or_default();
    let trace = Run::of_whole(polecat, attempt).trace.to_string();
    vec![bead.to_owned(), brief.name.to_string(), brief.status.phase.as_str().into(), trace, url]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1beta1::{ConvoySpec, FollowedBead, RigRef};

    fn polecat(name: &str, rig: &str, bead: &str) -> Polecat {
        let mut it = Polecat::default();
        it.metadata.name = Some(name.into());
        it.metadata.namespace = Some("town".into());
        it.metadata.uid = Some(format!("uid-of-{name}"));
        it.spec.rig = rig.into();
        it.spec.bead_id = Some(bead.into());
        it
    }

    #[test]
    fn each_bead_leads_to_the_traces_of_who_works_on_it() {
        let mut convoy = Convoy::new("release", ConvoySpec::default());
        convoy.metadata.namespace = Some("town".into());
        convoy.spec.beads =
            ["gt-2", "gt-1", "gt-3"].map(|id| FollowedBead { id: id.into() }).into();
        let all = [
            polecat("max", "greeter", "gt-1"),
            polecat("nux", "greeter", "gt-2"),
            polecat("again", "greeter", "gt-1"),
            polecat("other", "other", "gt-3"),
            polecat("stranger", "greeter", "gt-9"),
        ];
        let said = |convoy: &Convoy| {
            let text = lines(convoy, &all);
            let rows = text.lines().skip(4);
            rows.map(|it| it.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
        };
        assert_eq!(said(&convoy), ["gt-2 nux", "gt-1 max", "gt-1 again", "gt-3 other"]);
        convoy.spec.rig_ref = Some(RigRef { name: "greeter".into() });
        assert_eq!(said(&convoy)[3], "gt-3 -", "of another Rig");
        let text = lines(&convoy, &all);
        assert!(text.starts_with("Convoy town/release: 2 of 3 beads have a Polecat\n"), "{text}");
        assert!(text.contains(&Run::of_whole(&all[0], 1).trace.to_string()), "{text}");
    }
}
