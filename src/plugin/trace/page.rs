//! A run's waterfall as one page that needs nothing else.

use std::fmt::Write as _;

use super::{Shown, span};

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2em;color:#1b1b1b;background:#fff}\
h1{font-size:1.3em}code{color:#555}table{border-collapse:collapse;width:100%}\
td{padding:2px 8px;border-bottom:1px solid #eee;white-space:nowrap}td.line{width:60%;min-width:20em}\
.track{position:relative;height:14px;background:#f4f4f4}\
.bar{position:absolute;height:14px;min-width:2px;background:#3b6ea8;border-radius:2px}\
.runner .bar{background:#3a8f5c}.failed .bar{background:#b5382c}.failed td:first-child{color:#b5382c}";

/// The page.
pub fn render(title: &str, trace: &str, spans: &[Shown]) -> String {
    let begin = spans.iter().map(|it| it.from).min().unwrap_or(0);
    let end = spans.iter().map(|it| it.to).max().unwrap_or(0);
    let all = end.saturating_sub(begin).max(1);
    let (title, trace) = (escaped(title), escaped(trace));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head>\
         <body>\n<h1>{title}</h1>\n<p>Trace <code>{trace}</code>, {} in all</p>\n<table>\n",
        span(all)
    );
    for it in spans {
        let mut class = if it.service.ends_with("runner") { "runner" } else { "" }.to_owned();
        class += if it.failed { " failed" } else { "" };
        let (left, width) =
            (percent(it.from - begin, all), percent(it.to.saturating_sub(it.from), all));
        let _ = writeln!(
            page,
            "<tr class=\"{class}\"><td style=\"padding-left:{}em\">{}</td><td>{}</td><td>{}</td>\
             <td class=\"line\"><div class=\"track\"><div class=\"bar\" style=\"left:{left};width:{width}\"></div></div></td></tr>",
            it.depth + 1,
            escaped(&it.name),
            escaped(&it.service),
            span(it.to.saturating_sub(it.from)),
        );
    }
    page + "</table>\n</body></html>\n"
}

/// In thousandths, without rounding up beyond the whole.
fn percent(part: u64, all: u64) -> String {
    let thousandths = u128::from(part) * 100_000 / u128::from(all);
    format!("{}.{:03}%", thousandths / 1000, thousandths % 1000)
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, it| {
        match it {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            it => out.push(it),
        }
        out
    })
}
