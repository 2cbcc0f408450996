//! How the rows of one task are written: which fields, in which form.

use crate::api::{Input, TaskError};
use crate::components::file::rows::{self, Format};
use crate::components::file::settings::FileSettings;
use crate::components::positions::Positions;
use crate::tuple::Fields;

/// The layout of a row. See the [module](self).
pub(super) struct Layout {
    format: Format,
    separator: String,
    has_header: bool,
    /// Of the fields to write, if they are named.
    positions: Option<Positions>,
    /// The columns, which are the first row's if none are named.
    columns: Option<Fields>,
}

impl Layout {
    pub(super) fn new(settings: &FileSettings) -> Layout {
        let format = settings.format();
        Layout {
            format,
            separator: settings.separator.clone(),
            has_header: format == Format::Csv && settings.header,
            positions: settings.fields.as_ref().map(Positions::of),
            columns: settings.fields.as_ref().map(|fields| fields.iter().collect()),
        }
    }

    /// Appends a row with its line end. After an error the text is what it was.
    ///
    /// # Errors
    /// When the row does not have the fields that are named, or in CSV those of the first row.
    pub(super) fn write_row(&mut self, text: &mut String, input: &Input<'_>) -> Result<(), TaskError> {
        let (format, separator) = (self.format, &self.separator);
        if let Some(positions) = &mut self.positions {
            let positions = positions.resolve(input)?;
            let row = positions.iter().map(|position| &input.values()[*position]);
            let columns = self.columns.as_ref().expect("named fields are the columns");
            rows::write_row(text, format, separator, columns, row);
            return Ok(());
        }
        let columns = self.columns.get_or_insert_with(|| input.fields().clone());
        if format == Format::Csv && columns != input.fields() {
            let found = input.fields();
            return Err(TaskError::new(format!(
                "the columns of the file are {columns}; the row has {found}"
            )));
        }
        rows::write_row(text, format, separator, input.fields(), input.values().iter());
        Ok(())
    }

    /// What a file begins with, if it has a header. A row was written before.
    pub(super) fn header(&self) -> Option<String> {
        self.has_header.then(|| {
            let mut header = String::new();
            rows::write_header(&mut header, self.columns.as_ref().expect("a row was formatted"));
            header
        })
    }
}
