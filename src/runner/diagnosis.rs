//! Recognises in what git and ssh print (in the language C) why they failed, and says what to do. The text itself may
//! come from a hostile server: it is quoted, cut and scrubbed, and chooses among our own sentences only.

use super::{git::Output, problem::Problem};
use crate::domain::{
    untrusted::{Scrubber, head},
    verdict::reason,
};

/// Longest quotation in a message, in bytes.
const MAX_QUOTE: usize = 600;

/// What a program prints, what it means, what to do. The first row that fits wins: the narrow before the wide.
#[rustfmt::skip]
const SIGNS: [(&str, &str, &str); 43] = [
    ("failed to run ssh", reason::SSH_MISSING, "use an image that has the OpenSSH client, such as the runner's own, or an https address"),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", reason::HOST_KEY_MISMATCH, HOST_KEY_CHANGED),
    ("Host key for ", reason::HOST_KEY_MISMATCH, HOST_KEY_CHANGED),
    ("host key is known for", reason::HOST_KEY_UNKNOWN, HOST_KEY_MISSING),
    ("Host key verification failed", reason::HOST_KEY_UNKNOWN, HOST_KEY_MISSING),
    ("No user exists for uid", reason::USER_UNKNOWN, "ssh needs a passwd entry for this user id; use an image that has one or that has libnss_wrapper, or an https address"),
    ("error in libcrypto", reason::CREDENTIALS_MALFORMED, KEY_UNREADABLE),
    ("invalid format", reason::CREDENTIALS_MALFORMED, KEY_UNREADABLE),
    ("incorrect passphrase", reason::CREDENTIALS_MALFORMED, "the key has a passphrase, which nobody can type here; put a key without one into the Secret"),
    ("marked as read only", reason::CREDENTIALS_REFUSED, "give the deploy key write access"),
    ("denied to deploy key", reason::CREDENTIALS_REFUSED, "give the deploy key write access"),
    ("Permission denied (", reason::CREDENTIALS_REFUSED, "the host does not take the Secret's key; add its public half to the account or to the repository's deploy keys"),
    ("Too many authentication failures", reason::CREDENTIALS_REFUSED, "the host does not take the Secret's key; add its public half to the account"),
    ("Authentication failed for", reason::CREDENTIALS_REFUSED, TOKEN_REFUSED),
    ("HTTP Basic: Access denied", reason::CREDENTIALS_REFUSED, TOKEN_REFUSED),
    ("returned error: 401", reason::CREDENTIALS_REFUSED, TOKEN_REFUSED),
    ("returned error: 403", reason::CREDENTIALS_REFUSED, TOKEN_REFUSED),
    ("could not read Username", reason::CREDENTIALS_REFUSED, "the host wants a user name and a token; a token is sent over https only: use an https address and a Secret with username, password and host"),
    ("could not read Password", reason::CREDENTIALS_REFUSED, TOKEN_REFUSED),
    ("unable to update url base from redirection", reason::REDIRECT_REFUSED, REDIRECTED),
    ("returned error: 30", reason::REDIRECT_REFUSED, REDIRECTED),
    ("certificate problem", reason::CERTIFICATE_UNTRUSTED, CERTIFICATE),
    ("certificate verification failed", reason::CERTIFICATE_UNTRUSTED, CERTIFICATE),
    ("certificate subject name", reason::CERTIFICATE_UNTRUSTED, CERTIFICATE),
    ("Could not resolve host", reason::HOST_NOT_REACHABLE, "the host's name has no address; check the name, and the cluster's DNS and network policies"),
    ("Connection refused", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("timed out", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("No route to host", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("Network is unreachable", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("Failed to connect to", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("Couldn't connect to server", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("Connection reset by", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("Connection closed by", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("Empty reply from server", reason::HOST_NOT_REACHABLE, UNREACHABLE),
    ("returned error: 5", reason::HOST_NOT_REACHABLE, "the host has trouble; try again later"),
    ("does not appear to be a git repository", reason::REPOSITORY_NOT_FOUND, NO_REPOSITORY),
    ("not found", reason::REPOSITORY_NOT_FOUND, NO_REPOSITORY),
    ("could not be found", reason::REPOSITORY_NOT_FOUND, NO_REPOSITORY),
    ("returned error: 404", reason::REPOSITORY_NOT_FOUND, NO_REPOSITORY),
    ("couldn't find remote ref", reason::BRANCH_NOT_FOUND, "the branch was there a moment ago; start a new attempt"),
    ("No space left on device", reason::VOLUME_FULL, "give the pod's volumes a larger size limit"),
    ("Disk quota exceeded", reason::VOLUME_FULL, "give the pod's volumes a larger size limit"),
    ("fsck error", reason::REPOSITORY_REFUSED, "the repository holds an object that git's own checks refuse; mend its history (git fsck names the object)"),
];

const HOST_KEY_CHANGED: &str = "the host shows another key than the known one; if it was changed on purpose, put the new one into the ConfigMap of \
     sshKnownHostsConfigMapRef, or under known_hosts into the git Secret";
const HOST_KEY_MISSING: &str = "no key is known for this host; put the output of ssh-keyscan, once compared, under known_hosts into the ConfigMap of \
     sshKnownHostsConfigMapRef, or into the git Secret";
const KEY_UNREADABLE: &str =
    "the Secret's key is no private key that ssh can read; put the whole file there, unchanged";
const TOKEN_REFUSED: &str = "the host does not take the Secret's user name and token; check that the token is valid and may read and write this \
     repository";
const REDIRECTED: &str =
    "the host sends elsewhere, and a credential is never carried along; write the final address";
const CERTIFICATE: &str = "the host's certificate is not trusted; put the authority that signed it under ca.crt into the git Secret";
const UNREACHABLE: &str = "nothing answers there from this pod; check host and port, the network policies, and whether a proxy is needed";
const NO_REPOSITORY: &str = "the host knows no such repository, or hides it from this credential; check the path and the credential's rights";

/// What git's failure at `doing` means; `otherwise` where nothing is recognised.
pub fn problem(
    doing: &str,
    output: &Output,
    otherwise: &'static str,
    scrubber: &Scrubber,
) -> Problem {
    let said = quote(&output.stderr, scrubber);
    if let Some((reason, advice)) = recognise(&output.stderr) {
        return Problem::new(reason, format!("failed to {doing}: {advice}; git said: {said}"));
    }
    let message = format!("failed to {doing}: git said: {said}; the container's log has more");
    Problem::new(otherwise, message)
}

fn recognise(stderr: &str) -> Option<(&'static str, &'static str)> {
    SIGNS
        .iter()
        .find(|(sign, ..)| stderr.contains(sign))
        .map(|(_, reason, advice)| (*reason, *advice))
}

/// The lines that say why: without progress, hints and courtesies, the last first cut away.
pub fn quote(stderr: &str, scrubber: &Scrubber) -> String {
    let idle = |it: &&str| {
        it.is_empty()
            || it.starts_with("hint:")
            || it.starts_with("@@@")
            || it.starts_with("Please make sure you have the correct access rights")
            || it.starts_with("and the repository exists")
            || it.starts_with("Warning: Permanently added")
    };
    let clean = scrubber.scrub(stderr);
    let lines: Vec<&str> = clean.lines().map(str::trim).filter(|it| !idle(it)).collect();
    let text = lines.join("; ");
    if text.is_empty() {
        return "nothing".to_owned();
    }
    head(&text, MAX_QUOTE).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_words_and_what_they_mean() {
        let changed = "@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nIT IS POSSIBLE THAT \
                       SOMEONE IS DOING SOMETHING NASTY!\nHost key for h has changed and you have requested strict \
                       checking.\nHost key verification failed.";
        #[rustfmt::skip]
        let table = [
            ("No ED25519 host key is known for [127.0.0.1]:22 and you have requested strict checking.\nHost key \
              verification failed.", reason::HOST_KEY_UNKNOWN),
            (changed, reason::HOST_KEY_MISMATCH),
            ("git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.", reason::CREDENTIALS_REFUSED),
            ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", reason::REPOSITORY_NOT_FOUND),
            ("ssh: Could not resolve hostname nope: Name or service not known", reason::HOST_NOT_REACHABLE),
            ("ssh: connect to host h port 22: Connection refused", reason::HOST_NOT_REACHABLE),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", reason::HOST_NOT_REACHABLE),
            ("fatal: Authentication failed for 'https://h/x/'", reason::CREDENTIALS_REFUSED),
            ("fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none", reason::CERTIFICATE_UNTRUSTED),
            ("fatal: unable to access 'https://h/': The requested URL returned error: 301", reason::REDIRECT_REFUSED),
            ("fatal: unable to access 'https://h/': The requested URL returned error: 503", reason::HOST_NOT_REACHABLE),
            ("fatal: repository 'https://h/x/' not found", reason::REPOSITORY_NOT_FOUND),
            ("Load key \"/k\": error in libcrypto\ngit@h: Permission denied (publickey).", reason::CREDENTIALS_MALFORMED),
            ("No user exists for uid 1000650000\nfatal: Could not read from remote repository.", reason::USER_UNKNOWN),
            ("error: file write error: No space left on device", reason::VOLUME_FULL),
            ("error: object 12: nulInHeader\nfatal: fsck error in packed object", reason::REPOSITORY_REFUSED),
            ("fatal: something new", reason::CLONE_REFUSED),
        ];
        for (stderr, want) in table {
            let output = Output { stderr: stderr.to_owned(), ..Output::default() };
            let said = problem("clone x", &output, reason::CLONE_REFUSED, &Scrubber::default());
            assert_eq!(said.reason, want, "{stderr}");
            assert!(said.message.len() > 40 && !said.message.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_server_that_echoes_the_credential_is_not_quoted() {
        let scrubber = Scrubber::new(["canary-token-1"]);
        let said =
            quote("remote: your token canary-token-1 is bad\nhint: x\n\nfatal: no", &scrubber);
        assert_eq!(said, "remote: your token [removed] is bad; fatal: no");
    }
}
