//! What is logged, as people write it: a level, and a level for each module that has another, such as
//! `info,gastown::tasks=debug`.

/// From nothing to everything.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Longest text that is taken, in bytes.
const LONGEST: usize = 1024;

/// What is wrong with directives, and what to write instead. The filter itself would take a bare word for the name of a module,
/// and log nothing.
pub fn flaw(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return Some(format!("more than {LONGEST} bytes of directives; name fewer modules"));
    }
    text.split(',').map(str::trim).find_map(|part| {
        let (module, level) = part.rsplit_once('=').unwrap_or(("all", part));
        let known = LEVELS.contains(&level.trim().to_lowercase().as_str());
        if !known {
            return Some(format!(
                "{part:?} is no level; write error, warn, info, debug, trace or off, or directives such as info,gastown=debug"
            ));
        }
        let named = !module.is_empty() && !module.contains(char::is_whitespace);
        (!named).then(|| {
            format!("{part:?} names no module; write one before the sign, such as gastown::tasks=debug")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_level_is_refused_in_words() {
        let table = [
            ("info", "", "a level"),
            ("INFO, gastown=Debug", "", "any case, and directives"),
            ("warn,gastown::tasks=debug,gastown::cluster::shards=trace", "", "each its own"),
            ("loud", "\"loud\" is no level", "a bare word is no module here"),
            ("info,gastown=loud", "\"gastown=loud\" is no level", "nor is this a level"),
            ("info,", "\"\" is no level", "a directive is missing"),
            ("info,=debug", "\"=debug\" names no module", "nor is nothing a module"),
            ("a b=debug", "\"a b=debug\" names no module", "nor are two words"),
        ];
        for (text, want, because) in table {
            let said = flaw(text).unwrap_or_default();
            assert!(
                if want.is_empty() { said.is_empty() } else { said.starts_with(want) },
                "{because}: {said}"
            );
        }
        assert!(flaw(&format!("info{}", ",gastown=debug".repeat(100))).is_some(), "endless");
    }
}
