//! Variables of OpenTelemetry's that are there and empty, as a template leaves them: by its standard they are as if unset.

use clap::Command;

/// How the standard's variables begin.
const STANDARD: &str = "OTEL_";

/// The same command, which hears nothing from those that are empty. A flag that is given with nothing is a mistake still.
pub fn without_empty(command: Command) -> Command {
    command.mut_args(|it| {
        let name = it.get_env().filter(|it| it.to_string_lossy().starts_with(STANDARD));
        let empty = name.and_then(std::env::var_os).is_some_and(|it| it.is_empty());
        if empty { it.env(None::<&'static str>) } else { it }
    })
}
