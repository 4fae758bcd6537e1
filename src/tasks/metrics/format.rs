//! In which of two formats metrics are read: `OpenMetrics`, where traces stand beside what they took, or Prometheus' older text,
//! for who asks for that alone.

use std::{borrow::Cow, collections::HashSet};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    Text,
}

impl Format {
    /// What somebody with this header `Accept` can read.
    pub fn wanted(accept: &str) -> Self {
        let named = |kind: &str| accept.split(',').any(|it| it.trim_start().starts_with(kind));
        if named("text/plain") && !named("application/openmetrics-text") {
            Self::Text
        } else {
            Self::OpenMetrics
        }
    }

    /// Its media type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A text in `OpenMetrics` in this format.
    pub fn write(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Text => older(&text),
        }
    }
}

/// Counters have their ending in what is said about them too, and neither units, exemplars nor an end are told.
fn older(text: &str) -> String {
    let counter = |it: &str| Some(it.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
    let counters: HashSet<String> = text.lines().filter_map(counter).collect();
    let mut all = String::with_capacity(text.len());
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let line = match about(line) {
            Some((start, name, rest)) if counters.contains(name) => {
                Cow::Owned(format!("{start}{name}_total{rest}"))
            }
            Some(_) => Cow::Borrowed(line),
            None => Cow::Borrowed(without_exemplar(line)),
        };
        all.push_str(&line);
        all.push('\n');
    }
    all
}

/// Of a line about a family: what comes before its name, the name, and what follows.
fn about(line: &str) -> Option<(&str, &str, &str)> {
    let (start, rest) = line.split_at_checked("# TYPE ".len())?;
    let (name, _) = rest.split_once(' ')?;
    let rest = rest.get(name.len()..)?;
    matches!(start, "# TYPE " | "# HELP ").then_some((start, name, rest))
}

/// What stands before a hash that is in no quotes.
fn without_exemplar(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, it) in line.char_indices() {
        match it {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '#' if !quoted => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_read_open_metrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (accept, want) in [
            ("", Format::OpenMetrics),
            ("*/*", Format::OpenMetrics),
            (prometheus, Format::OpenMetrics),
            ("text/plain", Format::Text),
            ("text/plain;version=0.0.4, */*", Format::Text),
        ] {
            assert_eq!(Format::wanted(accept), want, "{accept:?}");
        }
    }

    #[test]
    fn the_older_text_has_no_exemplars_and_no_end() {
        let text = "# HELP a_requests How many # there are.\n# TYPE a_requests counter\n# UNIT a_seconds seconds\n\
                    a_requests_total{of=\"x \\\" # y\"} 3 # {trace_id=\"0af7\"} 1.0 17.5\n# TYPE b gauge\nb 1\n# EOF\n";
        let want = "# HELP a_requests_total How many # there are.\n# TYPE a_requests_total counter\n\
                    a_requests_total{of=\"x \\\" # y\"} 3\n# TYPE b gauge\nb 1\n";
        assert_eq!(Format::Text.write(text.to_owned()), want);
        assert_eq!(Format::OpenMetrics.write(text.to_owned()), text);
    }
}
