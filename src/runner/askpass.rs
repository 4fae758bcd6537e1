//! The program that git asks for a user name and a token. Answers for one host over https alone, from the
//! mounted Secret, and is silent for everybody else.

use std::{ffi::OsString, process::ExitCode};

use super::{credentials, log, paths::Paths};

/// The name by which git calls us.
pub const NAME: &str = "gt-askpass";
/// Variables that tell us whom to answer for, and where the Secret is. Neither holds a secret.
pub const AUTHORITY: &str = "GASTOWN_ASKPASS_AUTHORITY";
pub const ROOT: &str = "GASTOWN_ASKPASS_ROOT";

/// Which of the two is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    User,
    Token,
}

/// Answers the question that git puts as our one argument.
pub fn run(words: &[OsString]) -> ExitCode {
    let variable = |name: &str| {
        std::env::var_os(name).and_then(|it| it.into_string().ok()).unwrap_or_default()
    };
    let prompt = words.first().and_then(|it| it.to_str()).unwrap_or_default();
    let Some(question) = question(prompt, &variable(AUTHORITY)) else {
        log::say("Refusing to give the git token to anybody but the host it is meant for");
        return ExitCode::FAILURE;
    };
    match credentials::user_and_token(&Paths::new(&variable(ROOT))) {
        Ok((user, token)) => {
            log::print(if question == Question::User { &user } else { &token });
            ExitCode::SUCCESS
        }
        Err(problem) => {
            log::say(&problem.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What `Username for 'https://host': ` or `Password for 'https://user@host': ` asks for, if it asks for
/// `authority`.
fn question(prompt: &str, authority: &str) -> Option<Question> {
    let (what, rest) = prompt.split_once(" for '")?;
    let (address, end) = rest.rsplit_once('\'')?;
    let place = address.strip_prefix("https://")?;
    let host = place.rsplit_once('@').map_or(place, |(_, it)| it);
    let ours = end.trim() == ":" && !authority.is_empty() && host.eq_ignore_ascii_case(authority);
    match what {
        "Username" if ours => Some(Question::User),
        "Password" if ours => Some(Question::Token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_over_https_is_answered() {
        let table = [
            ("Username for 'https://h.example:8443': ", Some(Question::User), "ours"),
            ("Password for 'https://me@h.example:8443': ", Some(Question::Token), "ours"),
            (
                "Password for 'https://me@H.Example:8443': ",
                Some(Question::Token),
                "host names have no case",
            ),
            ("Password for 'http://me@h.example:8443': ", None, "in the clear"),
            ("Password for 'https://me@evil.example': ", None, "another host"),
            (
                "Password for 'https://h.example:8443@evil.example': ",
                None,
                "another host behind our name",
            ),
            ("Password for 'https://me@h.example': ", None, "another port"),
            ("Password for 'https://me@h.example:8443/': ", None, "more than the host"),
            ("Passphrase for key '/x': ", None, "another question"),
            ("", None, "nothing"),
        ];
        for (prompt, want, because) in table {
            assert_eq!(question(prompt, "h.example:8443"), want, "{because}");
        }
        assert_eq!(question("Username for 'https://': ", ""), None, "nobody is set");
    }
}
