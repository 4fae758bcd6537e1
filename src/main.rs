//! The operator: parse, log, run, exit code.

use std::process::ExitCode;

use gastown::{config::Config, tasks, telemetry, tls};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

fn main() -> ExitCode {
    let config = match Config::from_args(std::env::args_os()) {
        Ok(config) => config,
        Err(error) => error.exit(),
    };
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gastown-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: Config) -> anyhow::Result<()> {
    if let Some(flaw) = config.flaw() {
        anyhow::bail!(flaw);
    }
    let report = tls::crypto::install(&config.tls.wanted())?;
    if config.tls.crypto_report {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    telemetry::start(&config.logs, &config.tracing, &config.signals)?;
    tracing::info!(
        module = report.module,
        version = report.version,
        fips = report.fips_mode,
        kernel_fips = report.kernel_fips,
        groups = report.groups.join(","),
        "Using cryptography"
    );
    config.remarks().into_iter().for_each(|it| tracing::warn!("{it}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.send_replace(true);
        });
        if config.storage.end_conversion {
            return tasks::ending::run(&config, stopped).await;
        }
        tasks::run(config, tls::nonce()?, stopped).await
    })
}
