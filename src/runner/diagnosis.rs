//! Recognises in what git and ssh print (in the language C) why they failed, and says what to do. The
//! text itself may come from a hostile server: it is quoted, cut and scrubbed, and chooses among our own
//! sentences only.

use super::{problem::Problem, process::Output};
use crate::domain::{
    untrusted::{Scrubber, head},
    verdict::reason,
};

/// Longest quotation in a message, in bytes.
const MAX_QUOTE: usize = 600;

/// What is wrong, and what to do about it.
type Meaning = (&'static str, &'static str);

const HOST_KEY_CHANGED: Meaning = (
    reason::HOST_KEY_MISMATCH,
    "the host shows another key than the known one; if it was changed on purpose, put the new one into the \
     ConfigMap of spec.repository.knownHostsConfigMapRef (v1alpha1: spec.kubernetes.sshKnownHostsConfigMapRef), or under known_hosts into the git Secret",
);
const HOST_KEY_MISSING: Meaning = (
    reason::HOST_KEY_UNKNOWN,
    "no key is known for this host; put the output of ssh-keyscan, once compared, under known_hosts into the \
     ConfigMap of spec.repository.knownHostsConfigMapRef (v1alpha1: spec.kubernetes.sshKnownHostsConfigMapRef), or into the git Secret",
);
const NO_USER: Meaning = (
    reason::USER_UNKNOWN,
    "ssh needs a passwd entry for this user id; use an image that has one or that has libnss_wrapper, or an \
     https address",
);
const NO_SSH: Meaning = (
    reason::SSH_MISSING,
    "use an image that has the OpenSSH client, such as the runner's own, or an https address",
);
const KEY_UNREADABLE: Meaning = (
    reason::CREDENTIALS_MALFORMED,
    "the Secret's key is no private key that ssh can read; put the whole file there, unchanged",
);
const KEY_LOCKED: Meaning = (
    reason::CREDENTIALS_MALFORMED,
    "the key has a passphrase, which nobody can type here; put a key without one into the Secret",
);
const KEY_READS_ONLY: Meaning = (reason::CREDENTIALS_REFUSED, "give the deploy key write access");
const KEY_REFUSED: Meaning = (
    reason::CREDENTIALS_REFUSED,
    "the host does not take the Secret's key; add its public half to the account or to the repository's \
     deploy keys",
);
const TOKEN_REFUSED: Meaning = (
    reason::CREDENTIALS_REFUSED,
    "the host does not take the Secret's user name and token; check that the token is valid and may read and \
     write this repository",
);
const TOKEN_ASKED: Meaning = (
    reason::CREDENTIALS_REFUSED,
    "the host wants a user name and a token, which are sent over https only; use an https address and a \
     Secret with username, password and host",
);
const REDIRECTED: Meaning = (
    reason::REDIRECT_REFUSED,
    "the host sends elsewhere, and a credential is never carried along; write the final address",
);
const CERTIFICATE: Meaning = (
    reason::CERTIFICATE_UNTRUSTED,
    "the host's certificate is not trusted; put the authority that signed it under ca.crt into the git \
     Secret",
);
const NO_ADDRESS: Meaning = (
    reason::HOST_NOT_REACHABLE,
    "the host's name has no address; check the name, and the cluster's DNS and network policies",
);
const UNREACHABLE: Meaning = (
    reason::HOST_NOT_REACHABLE,
    "nothing answers there from this pod; check host and port, the network policies, and whether a proxy is \
     needed",
);
const PROXY: Meaning = (
    reason::HOST_NOT_REACHABLE,
    "the proxy does not let this through; check that it runs, and that it may reach this host",
);
const CUT_OFF: Meaning = (
    reason::HOST_NOT_REACHABLE,
    "the connection was cut off; check the host, and what lies between: proxies, load balancers and their limits of size \
     and time",
);
const BUSY: Meaning = (
    reason::HOST_NOT_REACHABLE,
    "the host limits how many requests it takes (HTTP 429); try again later",
);
const TROUBLE: Meaning = (reason::HOST_NOT_REACHABLE, "the host has trouble; try again later");
const NO_REPOSITORY: Meaning = (
    reason::REPOSITORY_NOT_FOUND,
    "the host knows no such repository, or hides it from this credential; check the path and the \
     credential's rights",
);
const BRANCH_GONE: Meaning =
    (reason::BRANCH_NOT_FOUND, "the branch was there a moment ago; start a new attempt");
const FULL: Meaning = (reason::VOLUME_FULL, "give the pod's volumes a larger size limit");
const BROKEN: Meaning = (
    reason::REPOSITORY_REFUSED,
    "the repository holds an object that git's own checks refuse; mend its history (git fsck names the \
     object)",
);

/// What a program prints, and what that means. The first row that fits wins: the narrow before the wide.
const SIGNS: [(&str, Meaning); 53] = [
    ("failed to run ssh", NO_SSH),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", HOST_KEY_CHANGED),
    ("Host key for ", HOST_KEY_CHANGED),
    ("host key is known for", HOST_KEY_MISSING),
    ("Host key verification failed", HOST_KEY_MISSING),
    ("No user exists for uid", NO_USER),
    ("error in libcrypto", KEY_UNREADABLE),
    ("invalid format", KEY_UNREADABLE),
    ("incorrect passphrase", KEY_LOCKED),
    ("marked as read only", KEY_READS_ONLY),
    ("denied to deploy key", KEY_READS_ONLY),
    ("Permission denied (", KEY_REFUSED),
    ("Too many authentication failures", KEY_REFUSED),
    ("Authentication failed for", TOKEN_REFUSED),
    ("HTTP Basic: Access denied", TOKEN_REFUSED),
    ("returned error: 401", TOKEN_REFUSED),
    ("returned error: 403", TOKEN_REFUSED),
    ("could not read Username", TOKEN_ASKED),
    ("could not read Password", TOKEN_REFUSED),
    ("unable to update url base from redirection", REDIRECTED),
    ("returned error: 30", REDIRECTED),
    ("certificate problem", CERTIFICATE),
    ("certificate verification failed", CERTIFICATE),
    ("certificate subject name", CERTIFICATE),
    ("Could not resolve host", NO_ADDRESS),
    ("Connection refused", UNREACHABLE),
    ("timed out", UNREACHABLE),
    ("No route to host", UNREACHABLE),
    ("Network is unreachable", UNREACHABLE),
    ("Failed to connect to", UNREACHABLE),
    ("Couldn't connect to server", UNREACHABLE),
    ("Connection reset by", UNREACHABLE),
    ("Connection closed by", UNREACHABLE),
    ("Empty reply from server", UNREACHABLE),
    ("returned error: 5", TROUBLE),
    ("returned error: 429", BUSY),
    ("from proxy after CONNECT", PROXY),
    ("does not appear to be a git repository", NO_REPOSITORY),
    ("not found", NO_REPOSITORY),
    ("could not be found", NO_REPOSITORY),
    ("returned error: 404", NO_REPOSITORY),
    ("couldn't find remote ref", BRANCH_GONE),
    ("No space left on device", FULL),
    ("Disk quota exceeded", FULL),
    ("fsck error", BROKEN),
    ("remote end hung up", CUT_OFF),
    ("unexpected disconnect", CUT_OFF),
    ("early EOF", CUT_OFF),
    ("not closed cleanly", CUT_OFF),
    ("SSL_ERROR_SYSCALL", CUT_OFF),
    ("non-properly terminated", CUT_OFF), // GnuTLS of the same
    ("gnutls_handshake() failed", CUT_OFF),
    ("RPC failed; curl", CUT_OFF),
];

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

fn recognise(stderr: &str) -> Option<Meaning> {
    SIGNS.iter().find(|(sign, _)| stderr.contains(sign)).map(|(_, meaning)| *meaning)
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
        let changed = "@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nIT IS \
                       POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\nHost key for h has changed and \
                       you have requested strict checking.\nHost key verification failed.";
        let unknown = "No ED25519 host key is known for [127.0.0.1]:22 and you have requested strict \
                       checking.\nHost key verification failed.";
        let refused =
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.";
        let unread = "Load key \"/k\": error in libcrypto\ngit@h: Permission denied (publickey).";
        let hidden = "ERROR: Repository not found.\nfatal: Could not read from remote repository.";
        let nobody =
            "No user exists for uid 1000650000\nfatal: Could not read from remote repository.";
        let untrusted =
            "fatal: unable to access 'https://h/': server certificate verification failed.";
        let moved = "fatal: unable to access 'https://h/': The requested URL returned error: 301";
        let trouble = "fatal: unable to access 'https://h/': The requested URL returned error: 503";
        let nameless = "ssh: Could not resolve hostname nope: Name or service not known";
        let broken = "error: object 12: nulInHeader\nfatal: fsck error in packed object";
        let table = [
            (unknown, reason::HOST_KEY_UNKNOWN),
            (changed, reason::HOST_KEY_MISMATCH),
            (refused, reason::CREDENTIALS_REFUSED),
            (unread, reason::CREDENTIALS_MALFORMED),
            (hidden, reason::REPOSITORY_NOT_FOUND),
            (nobody, reason::USER_UNKNOWN),
            (nameless, reason::HOST_NOT_REACHABLE),
            ("ssh: connect to host h port 22: Connection refused", reason::HOST_NOT_REACHABLE),
            (untrusted, reason::CERTIFICATE_UNTRUSTED),
            (moved, reason::REDIRECT_REFUSED),
            (trouble, reason::HOST_NOT_REACHABLE),
            ("fatal: Authentication failed for 'https://h/x/'", reason::CREDENTIALS_REFUSED),
            ("fatal: repository 'https://h/x/' not found", reason::REPOSITORY_NOT_FOUND),
            ("error: file write error: No space left on device", reason::VOLUME_FULL),
            (broken, reason::REPOSITORY_REFUSED),
            ("gt-runner: failed to run ssh: No such file or directory", reason::SSH_MISSING),
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
    fn a_connection_that_is_cut_off_may_be_better_in_a_moment() {
        let words = [
            "fatal: the remote end hung up unexpectedly",
            "fetch-pack: unexpected disconnect while reading sideband packet\nfatal: early EOF",
            "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)",
            "fatal: unable to access 'https://h/': OpenSSL SSL_connect: SSL_ERROR_SYSCALL",
            "fatal: unable to access 'https://h/': The requested URL returned error: 429",
            "fatal: unable to access 'https://h/': Received HTTP code 503 from proxy after CONNECT",
            "fatal: unable to access 'https://h/': gnutls_handshake() failed: Error in the pull function.",
        ];
        for stderr in words {
            assert_eq!(recognise(stderr).unwrap().0, reason::HOST_NOT_REACHABLE, "{stderr}");
        }
        let full = "remote: No space left on device\nfatal: the remote end hung up unexpectedly";
        assert_eq!(recognise(full).unwrap().0, reason::VOLUME_FULL, "why it hung up comes first");
    }

    #[test]
    fn a_server_that_echoes_the_credential_is_not_quoted() {
        let scrubber = Scrubber::new(["canary-token-1"]);
        let said =
            quote("remote: your token canary-token-1 is bad\nhint: x\n\nfatal: no", &scrubber);
        assert_eq!(said, "remote: your token [removed] is bad; fatal: no");
    }
}
