//! The kubectl plugin: calls `plugin`, prints the error if there is one.

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = gastown::tls::install_provider().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(gastown::plugin::run())
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kubectl gt: {error:#}");
            ExitCode::FAILURE
        }
    }
}
