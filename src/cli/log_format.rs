//! How log records are written, as a flag.

use clap::ValueEnum;

use crate::logging::LogFormat;

/// The flag of all commands that log.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct LogFormatFlag {
    /// How log records are written to stderr: as lines for people, or as JSON lines
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        env = "SQUALL_LOG_FORMAT",
        hide_env_values = true
    )]
    log_format: LogFormatArg,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormatArg {
    #[default]
    Terminal,
    Json,
}

impl LogFormatFlag {
    pub(super) fn format(self) -> LogFormat {
        match self.log_format {
            LogFormatArg::Terminal => LogFormat::Terminal,
            LogFormatArg::Json => LogFormat::Json,
        }
    }
}
