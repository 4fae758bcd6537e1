//! Columns as kubectl prints them.

/// Rows below a header, each column as wide as its widest cell.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count());
        cells.chain(header.get(column).map(|it| it.len())).max().unwrap_or_default()
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at))).collect();
        format!("{}\n", padded.join("   ").trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["furiosa".to_owned(), "Done".to_owned()],
            vec!["nux".to_owned(), "Stuck".to_owned()],
        ];
        let want = "NAME      PHASE\nfuriosa   Done\nnux       Stuck\n";
        assert_eq!(super::render(&["NAME", "PHASE"], &rows), want);
    }
}
