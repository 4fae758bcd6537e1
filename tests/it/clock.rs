//! The clock that validity is judged by goes on while the machine is suspended. A suspension is played by a time
//! namespace: a process in it sees a later time since the start of the machine, and the same monotonic time.

use std::{process::Command, time::Duration};

use gastown::cluster::clock::Moment;

/// An hour of suspension.
const SUSPENDED: u64 = 3600;

/// What runs in the time namespace.
#[test]
#[ignore = "run by the test below, in a time namespace"]
fn says_what_time_it_is() {
    println!("moment={}", Moment::now().since_start().as_millis());
}

#[test]
fn time_goes_on_while_the_machine_is_suspended() {
    let me = "time_goes_on_while_the_machine_is_suspended";
    let mut command = Command::new("unshare");
    command.args(["--time", "--boottime", &SUSPENDED.to_string(), "--fork", "--"]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["clock::says_what_time_it_is", "--exact", "--ignored", "--nocapture"]);
    let before = Moment::now().since_start();
    let output = match command.output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return crate::preconditions::skip(
                me,
                "time-namespace",
                &format!("no time namespace: {words}"),
            );
        }
        Err(error) => {
            return crate::preconditions::skip(
                me,
                "time-namespace",
                &format!("no unshare: {error}"),
            );
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.lines().find_map(|it| it.split_once("moment=")?.1.parse().ok());
    let there = Duration::from_millis(said.unwrap_or_else(|| panic!("{text}")));
    assert!(
        there >= before + Duration::from_secs(SUSPENDED - 1),
        "{there:?} there, {before:?} here"
    );
}
