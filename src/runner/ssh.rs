//! The program that git calls to reach a host over ssh: becomes the image's `ssh` with a fixed list of
//! options. Takes from git the port, the host and the remote command, and nothing else.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use super::log;

/// The name by which git calls us.
pub const NAME: &str = "gt-ssh";
/// Files beside it.
pub const IDENTITY: &str = "identity";
pub const KNOWN_HOSTS: &str = "known_hosts";
const PASSWD: &str = "passwd";
/// What ssh exits with when it fails by itself.
const FAILED: u8 = 255;

/// Options for every connection: no user's and no system's configuration, no agent, no forwarding, no
/// prompt, only the Secret's key, only hosts whose key we know.
const OPTIONS: [&str; 20] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "PubkeyAuthentication=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "ProxyCommand=none",
    "ControlMaster=no",
    "RequestTTY=no",
    "ConnectTimeout=10",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
];

/// Where `libnss_wrapper.so` may be: it gives ssh a passwd entry for a user id that the image doesn't know.
const WRAPPERS: [&str; 5] = [
    "/usr/lib64/libnss_wrapper.so",
    "/usr/lib/libnss_wrapper.so",
    "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so",
    "/usr/lib/aarch64-linux-gnu/libnss_wrapper.so",
    "/usr/local/lib/libnss_wrapper.so",
];

/// Becomes ssh. Returns only where that fails.
pub fn run(words: &[OsString]) -> ExitCode {
    let Some((called, asked)) = words.split_first() else { return ExitCode::from(FAILED) };
    let folder = Path::new(called).parent().unwrap_or_else(|| Path::new("."));
    let Some(arguments) = arguments(folder, asked) else {
        log::say("Refusing to call ssh with other options than a port and SendEnv=GIT_PROTOCOL");
        return ExitCode::from(FAILED);
    };
    let mut command = Command::new("ssh");
    command.args(arguments);
    if let Err(error) = name_this_user(folder, &mut command) {
        log::say(&format!("Going on without a passwd entry for this user id: {error}"));
    }
    let error = command.exec();
    log::say(&format!("failed to run ssh: {error}"));
    ExitCode::from(FAILED)
}

/// The whole list of arguments, or nothing where git asks for more than it ever does for an address of ours.
fn arguments(folder: &Path, asked: &[OsString]) -> Option<Vec<OsString>> {
    let mut all: Vec<OsString> =
        ["-F", "none", "-a", "-x", "-T", "-i"].map(OsString::from).to_vec();
    all.push(folder.join(IDENTITY).into());
    let mut known_hosts = OsString::from("UserKnownHostsFile=");
    known_hosts.push(folder.join(KNOWN_HOSTS));
    let fixed = OPTIONS.iter().map(OsString::from).chain([known_hosts]);
    all.extend(fixed.flat_map(|it| [OsString::from("-o"), it]));
    let mut rest = asked;
    loop {
        match rest {
            [option, value, more @ ..] if option == "-o" && value == "SendEnv=GIT_PROTOCOL" => {
                all.extend([option.clone(), value.clone()]);
                rest = more;
            }
            [option, value, more @ ..] if option == "-p" && is_port(value) => {
                all.extend([option.clone(), value.clone()]);
                rest = more;
            }
            [host, command] if !host.as_encoded_bytes().starts_with(b"-") => {
                all.extend([OsString::from("--"), host.clone(), command.clone()]);
                return Some(all);
            }
            _ => return None,
        }
    }
}

fn is_port(value: &OsStr) -> bool {
    value.to_str().and_then(|it| it.parse::<u16>().ok()).is_some_and(|it| it != 0)
}

/// ssh refuses to start for a user id that has no passwd entry, as a platform may give one. Where the
/// image has `nss_wrapper`, ssh is shown a passwd file of our own with that one entry.
pub fn name_this_user(folder: &Path, command: &mut Command) -> std::io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if has_entry(&known, uid) {
        return Ok(());
    }
    let Some(wrapper) = WRAPPERS.iter().find(|it| Path::new(it).exists()) else {
        return Err(std::io::Error::other("the image has no libnss_wrapper.so"));
    };
    let passwd = folder.join(PASSWD);
    let home = folder.parent().unwrap_or(folder).display();
    fs::write(&passwd, format!("{known}\npolecat:x:{uid}:{gid}::{home}:/sbin/nologin\n"))?;
    command
        .env("LD_PRELOAD", wrapper)
        .env("NSS_WRAPPER_PASSWD", &passwd)
        .env("NSS_WRAPPER_GROUP", "/etc/group");
    Ok(())
}

fn has_entry(passwd: &str, uid: u32) -> bool {
    passwd.lines().any(|it| it.split(':').nth(2).and_then(|it| it.parse().ok()) == Some(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[&str]) -> Option<Vec<String>> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let all = arguments(Path::new("/own"), &words)?;
        Some(all.iter().map(|it| it.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn git_may_choose_port_host_and_command_alone() {
        let all =
            told(&["-o", "SendEnv=GIT_PROTOCOL", "-p", "2222", "git@h", "git-upload-pack '/x'"])
                .unwrap();
        assert!(
            all.ends_with(&["--".into(), "git@h".into(), "git-upload-pack '/x'".into()]),
            "{all:?}"
        );
        for must in [
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "UserKnownHostsFile=/own/known_hosts",
            "/own/identity",
        ] {
            assert!(all.iter().any(|it| it == must), "{must}");
        }
        for (words, because) in [
            (&["-o", "ProxyCommand=x", "h", "c"][..], "a command of somebody else's"),
            (&["-p", "-1", "h", "c"], "no port"),
            (&["-oProxyCommand=x", "c"], "an option in the host's place"),
            (&["h"], "no command: a login"),
            (&["-G", "h"], "a question about the configuration"),
            (&["-4", "h", "c"], "an option that no address of ours gives"),
            (&[], "nothing"),
        ] {
            assert_eq!(told(words), None, "{because}");
        }
    }

    #[test]
    fn who_is_known() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\nnonroot:x:65532:65532::/home/nonroot:/bin/sh\n";
        assert!(has_entry(passwd, 0) && has_entry(passwd, 65532));
        assert!(!has_entry(passwd, 1_000_650_000) && !has_entry("", 0));
    }
}
