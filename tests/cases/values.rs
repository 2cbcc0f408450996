//! Parsing, expressions, numbers, text and time.
