//! Lines of CSV: fields quoted only where they must be.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes one line with the line end that the reader expects.
pub(super) fn write_line<'a>(
    file: &mut dyn Write,
    fields: impl IntoIterator<Item = &'a str>,
    line_end: &str,
) -> io::Result<()> {
    for (at, field) in fields.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(file, "{comma}{}", quoted(field))?;
    }
    file.write_all(line_end.as_bytes())
}

fn quoted(field: &str) -> Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", field.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(field)
    }
}
