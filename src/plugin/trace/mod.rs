//! `kubectl gt trace`: a run as a tree. What the API knows of it needs no collector; Jaeger knows the passes and requests too.

mod convoy;
mod jaeger;
mod page;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use clap::Args;
use kube::core::DynamicObject;

use super::table;
use crate::{
    api::v1beta1::{self, PolecatObject},
    cluster::reading::Reader,
    domain::{
        names,
        pod::Outside,
        polecat::{Brief, CONVOY, RUN, may_have_pulled},
        trace::{Source, Span},
    },
};

/// Steps that a tree goes in; what a collector was told may hang as deep as its teller likes.
const DEEPEST: usize = 16;

/// Which run, and who is asked.
#[derive(Debug, Args)]
pub struct Asked {
    /// polecat/NAME, or NAME; convoy/NAME for the traces of its Polecats
    #[arg(required_unless_present = "commit", conflicts_with = "commit")]
    name: Option<String>,
    /// The run that made this commit, by at least seven digits
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// Jaeger's query service, or one that speaks as it does, with its path prefix if it has one
    #[arg(long, value_name = "URL")]
    jaeger: Option<String>,
    /// A bearer token for it
    #[arg(long, value_name = "FILE")]
    jaeger_token_file: Option<PathBuf>,
    /// The authority that signed its certificate, in PEM
    #[arg(long, value_name = "FILE")]
    jaeger_ca: Option<PathBuf>,
    /// The tenant that it is asked for, as header x-tenant and x-scope-orgid
    #[arg(long, value_name = "TENANT")]
    jaeger_tenant: Option<String>,
    #[command(flatten)]
    proxies: Proxies,
    /// Write a page with the run's waterfall, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The way to Jaeger, by the variables that every program knows.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "they are flags")]
struct Proxies {
    #[arg(long, env = "HTTPS_PROXY", hide = true)]
    https_proxy: Option<String>,
    #[arg(long, env = "HTTP_PROXY", hide = true)]
    http_proxy: Option<String>,
    #[arg(long, env = "NO_PROXY", hide = true)]
    no_proxy: Option<String>,
}

impl Proxies {
    fn outside(&self) -> Outside {
        let set = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        Outside {
            http_proxy: set(&self.http_proxy),
            https_proxy: set(&self.https_proxy),
            no_proxy: set(&self.no_proxy),
            trusted_ca: None,
        }
    }
}

/// A span as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    id: String,
    parent: String,
    name: String,
    service: String,
    /// Nanoseconds since 1970.
    from: u64,
    to: u64,
    failed: bool,
    depth: usize,
}

/// Runs it; the answer is what it prints.
pub async fn run(reader: &Reader, namespace: &str, asked: &Asked) -> anyhow::Result<String> {
    if let Some(name) = asked.convoy() {
        return convoy::run(reader, namespace, name, asked).await;
    }
    let polecat = whole(find(reader, namespace, asked).await?)?;
    let brief = Brief::from(&polecat);
    let attempt = brief.status.attempt.unwrap_or(1);
    anyhow::ensure!(
        brief.status.attempt.is_some(),
        "Polecat {} has not begun to work yet, so there is no run to show",
        brief.name
    );
    let trace = brief.run(attempt).trace.to_string();
    let mut spans = if let Some(url) = &asked.jaeger {
        jaeger::ask(url, &trace, asked).await?
    } else {
        let name = names::pod(&brief.name, attempt);
        let pod = reader.pod(&brief.namespace, &name).await?;
        let pod = pod.filter(|it| brief.owns(it));
        anyhow::ensure!(
            brief.told_whole(None).is_some(),
            "the run of Polecat {} is not over yet; ask Jaeger, with --jaeger URL, what has been told of it so far",
            brief.name
        );
        let mut spans = brief.spans(pod.as_ref());
        if let Some(pod) = pod.filter(|_| may_have_pulled(&spans)) {
            spans.extend(brief.pulls(&spans, &pod, &reader.pulled(&pod).await));
        }
        spans.iter().map(Shown::from).collect()
    };
    let url = brief.status.trace.as_ref().and_then(|it| it.url.clone()).unwrap_or_default();
    let phase = brief.status.phase.as_str();
    let title = format!("Polecat {}/{}, attempt {attempt}: {phase}", brief.namespace, brief.name);
    let text = format!("{title}\nTrace {trace} {url}").trim_end().to_owned() + "\n\n";
    Ok(text + &shown(&title, &trace, &mut spans, asked)?)
}

/// The tree of a trace; the page of its waterfall is written where that was asked for.
fn shown(
    title: &str,
    trace: &str,
    spans: &mut Vec<Shown>,
    asked: &Asked,
) -> anyhow::Result<String> {
    order(spans);
    let tree = tree(spans);
    let Some(path) = &asked.html else { return Ok(tree) };
    std::fs::write(path, page::render(title, trace, spans))
        .map_err(|it| anyhow::anyhow!("{} can't be written: {it}", path.display()))?;
    Ok(format!("{tree}\nWrote {}\n", path.display()))
}

impl Asked {
    /// The Convoy that was named.
    fn convoy(&self) -> Option<&str> {
        let name = self.name.as_deref()?;
        name.strip_prefix("convoy/").or(name.strip_prefix("convoys/"))
    }
}

/// A Polecat, with the status of one that has none yet.
fn whole(object: DynamicObject) -> anyhow::Result<v1beta1::Polecat> {
    let PolecatObject { metadata, spec, status } = object.try_parse()?;
    Ok(v1beta1::Polecat { metadata, spec, status: status.unwrap_or_default() })
}

async fn find(reader: &Reader, namespace: &str, asked: &Asked) -> anyhow::Result<DynamicObject> {
    if let Some(name) = &asked.name {
        let name = name.strip_prefix("polecat/").or(name.strip_prefix("polecats/")).unwrap_or(name);
        return reader.polecat(namespace, name).await;
    }
    let commit = asked.commit.as_deref().unwrap_or_default().to_lowercase();
    let hex = commit.len() >= 7 && commit.bytes().all(|it| it.is_ascii_hexdigit());
    anyhow::ensure!(hex, "--commit {commit}: give at least seven digits of a commit");
    let of = |it: &DynamicObject| {
        let found = it.data.pointer("/status/commit").and_then(serde_json::Value::as_str);
        found.is_some_and(|it| it.starts_with(&commit))
    };
    let mut found = reader.polecats(Some(namespace)).await?;
    found.retain(of);
    anyhow::ensure!(
        found.len() < 2,
        "more than one Polecat of {namespace} made {commit}: give more digits"
    );
    found
        .pop()
        .ok_or_else(|| anyhow::anyhow!("no Polecat of namespace {namespace} made commit {commit}"))
}

impl From<&Span> for Shown {
    fn from(it: &Span) -> Self {
        let service = match it.source {
            Source::Operator | Source::Objects => "operator",
            Source::Runner => "runner",
        };
        Self {
            id: it.id.to_string(),
            parent: it.parent.map(|it| it.to_string()).unwrap_or_default(),
            name: it.name.to_string(),
            service: service.into(),
            from: it.from,
            to: it.to,
            failed: it.failed.is_some(),
            depth: 0,
        }
    }
}

/// Parents before their children, those by time; what is called the same is the same. What has no parent here stands at the
/// top.
fn order(spans: &mut Vec<Shown>) {
    spans.sort_by(|a, b| {
        (a.from, std::cmp::Reverse(a.to), &a.id).cmp(&(b.from, std::cmp::Reverse(b.to), &b.id))
    });
    let mut seen = HashSet::new();
    spans.retain(|it| seen.insert(it.id.clone()));
    let (mut tops, rest): (Vec<_>, Vec<_>) =
        std::mem::take(spans).into_iter().partition(|it| !seen.contains(&it.parent));
    tops.sort_by_key(|it| it.name != RUN && it.name != CONVOY);
    let mut children = HashMap::<_, Vec<_>>::new();
    for it in rest {
        children.entry(it.parent.clone()).or_default().push(it);
    }
    // Each is taken out once, so a circle of parents, which nothing leads into, ends nobody's turn.
    let mut stack: Vec<_> = tops.into_iter().rev().collect();
    while let Some(next) = stack.pop() {
        let beneath = children.remove(&next.id).unwrap_or_default();
        let depth = (next.depth + 1).min(DEEPEST);
        stack.extend(beneath.into_iter().rev().map(|it| Shown { depth, ..it }));
        spans.push(next);
    }
}

fn tree(spans: &[Shown]) -> String {
    let begin = spans.iter().map(|it| it.from).min().unwrap_or(0);
    let rows: Vec<_> = spans
        .iter()
        .map(|it| {
            let mark = if it.failed { " (failed)" } else { "" };
            vec![
                format!("{}{}{mark}", "  ".repeat(it.depth), it.name),
                format!("+{}", span(it.from - begin)),
                span(it.to.saturating_sub(it.from)),
                it.service.clone(),
            ]
        })
        .collect();
    table::render(&["SPAN", "BEGAN", "TOOK", "SERVICE"], &rows)
}

/// Nanoseconds for people.
fn span(nanoseconds: u64) -> String {
    let ms = nanoseconds / 1_000_000;
    match ms {
        0 => format!("{}us", nanoseconds / 1000),
        1..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{:01}s", ms / 1000, ms % 1000 / 100),
        _ => format!("{}m{:02}s", ms / 60_000, ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(id: &str, parent: &str, from: u64, to: u64) -> Shown {
        let (id, parent, name) = (id.to_owned(), parent.to_owned(), id.to_owned());
        let (from, to) = (from * 1_000_000, to * 1_000_000);
        Shown { id, parent, name, from, to, ..Shown::default() }
    }

    #[test]
    fn a_tree_has_parents_before_children_and_each_once() {
        let mut all = vec![
            shown("push", "run", 70, 90),
            shown("run", "", 0, 100_000),
            shown("agent", "run", 10, 70),
            shown("GET", "pass", 21, 22),
            shown("agent", "run", 10, 70),
            shown("pass", "run", 20, 30),
            shown("lost", "gone", 5, 6),
        ];
        order(&mut all);
        let found: Vec<_> = all.iter().map(|it| (it.name.as_str(), it.depth)).collect();
        let want = [("run", 0), ("agent", 1), ("pass", 1), ("GET", 2), ("push", 1), ("lost", 0)];
        assert_eq!(found, want);
        let text = tree(&all);
        assert!(text.contains("+20ms") && text.contains("1m40s"), "{text}");
        assert!(text.lines().nth(4).unwrap().starts_with("    GET"), "{text}");
    }

    #[test]
    fn a_page_shows_every_span_and_takes_no_name_for_markup() {
        let mut all = vec![shown("run", "", 0, 100), shown("<script>", "run", 50, 100)];
        order(&mut all);
        let page = page::render("Polecat <b>", "00ff", &all);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
        assert!(page.contains("left:50.000%;width:50.000%"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "self-contained");
    }
}
