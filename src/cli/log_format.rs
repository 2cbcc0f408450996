//! How log records are written, as a flag.

use clap::ValueEnum;

use crate::logging::LogFormat;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormatArg {
    #[default]
    Terminal,
    Json,
}

impl From<LogFormatArg> for LogFormat {
    fn from(format: LogFormatArg) -> LogFormat {
        match format {
            LogFormatArg::Terminal => LogFormat::Terminal,
            LogFormatArg::Json => LogFormat::Json,
        }
    }
}
