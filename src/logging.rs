//! Logs: `slog`, to a terminal or as JSON lines, with a level per component.
