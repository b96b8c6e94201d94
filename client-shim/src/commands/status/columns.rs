//! Aligns cells in columns, and makes them fit a terminal: the last cell of a row
//! goes below it, columns that matter less go, the first one is shortened.

use crate::terminal::{Paint, Terminal, painted};

/// A cell, and what its colour says.
#[derive(Debug, Clone)]
pub(super) struct Cell(pub(super) Paint, pub(super) String);

/// The narrowest first column.
const MIN_FIRST: usize = 16;

/// Between two columns.
const GAP: &str = "  ";

/// What stands before a last cell that has gone below its row.
const BELOW: &str = "    ";

/// Writes the rows. `order`: columns that may go, the least important first. The
/// last column has free text; only a terminal has a width.
pub(super) fn aligned(
    rows: &[Vec<Cell>],
    order: &[usize],
    terminal: Option<Terminal>,
    width: Option<usize>,
) -> String {
    let last = rows[0].len() - 1;
    let mut shown: Vec<usize> = (0..last).collect();
    let widths = widths(rows);
    let Some(columns) = width else {
        return written(rows, &shown, &widths, terminal, false);
    };
    let total = |shown: &[usize]| -> usize {
        let cells: usize = shown.iter().map(|column| widths[*column]).sum();
        cells + GAP.len() * shown.len()
    };
    let inline = total(&shown) + widths[last] <= columns;
    if inline {
        return written(rows, &shown, &widths, terminal, false);
    }
    let mut order = order.iter();
    while total(&shown) > columns + GAP.len() {
        let Some(next) = order.next() else { break };
        shown.retain(|column| column != next);
    }
    let over = total(&shown).saturating_sub(columns + GAP.len());
    let first = widths[0].saturating_sub(over).max(MIN_FIRST).min(widths[0]);
    let mut rows = rows.to_vec();
    for row in &mut rows {
        row[0].1 = shortened(&row[0].1, first);
    }
    let mut widths = widths;
    widths[0] = first;
    written(&rows, &shown, &widths, terminal, true)
}

fn widths(rows: &[Vec<Cell>]) -> Vec<usize> {
    let mut widths = vec![0; rows[0].len()];
    for row in rows {
        for (width, Cell(_, text)) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    widths
}

fn written(
    rows: &[Vec<Cell>],
    shown: &[usize],
    widths: &[usize],
    terminal: Option<Terminal>,
    below: bool,
) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut gap = 0;
        for column in shown {
            let Cell(paint, cell) = &row[*column];
            text.extend(std::iter::repeat_n(' ', gap));
            text.push_str(&painted(terminal, *paint, cell));
            // Only before the next cell: no line ends in spaces.
            gap = widths[*column] - cell.chars().count() + GAP.len();
        }
        if let Some(Cell(paint, cell)) = row.last().filter(|cell| !cell.1.is_empty()) {
            match (below, number) {
                (false, _) => {
                    text.extend(std::iter::repeat_n(' ', gap));
                    text.push_str(&painted(terminal, *paint, cell));
                }
                // Its heading would stand over nothing.
                (true, 0) => {}
                (true, _) => {
                    text.push('\n');
                    text.push_str(BELOW);
                    text.push_str(&painted(terminal, *paint, cell));
                }
            }
        }
        text.push('\n');
    }
    text
}

/// Takes characters out of the middle.
fn shortened(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= width {
        return text.to_owned();
    }
    let head = (width - 1).div_ceil(2);
    let tail = width - 1 - head;
    let begin = characters[..head].iter();
    let end = characters[characters.len() - tail..].iter();
    begin.chain(['…'].iter()).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<Cell>> {
        let row = |cells: [&str; 4]| {
            let cells = cells.map(|cell| Cell(Paint::Plain, cell.to_owned()));
            cells.to_vec()
        };
        vec![
            row(["SERVER", "STATE", "CALLS", "NOTE"]),
            row(["https://example.com/mcp", "ready", "7", ""]),
            row(["https://h/", "idle", "12", "run: this"]),
        ]
    }

    fn at(width: Option<usize>) -> String {
        aligned(&rows(), &[2], None, width)
    }

    #[test]
    fn without_a_terminal_and_with_a_wide_one_everything_is_in_line() {
        let expected = "\
            SERVER                   STATE  CALLS  NOTE\n\
            https://example.com/mcp  ready  7\n\
            https://h/               idle   12     run: this\n";
        assert_eq!(at(None), expected);
        assert_eq!(at(Some(48)), expected);
    }

    #[test]
    fn a_narrow_terminal_loses_what_matters_least_and_never_the_note() {
        assert_eq!(
            at(Some(40)),
            "SERVER                   STATE  CALLS\n\
             https://example.com/mcp  ready  7\n\
             https://h/               idle   12\n    run: this\n"
        );
        assert_eq!(
            at(Some(31)),
            "SERVER                   STATE\n\
             https://example.com/mcp  ready\n\
             https://h/               idle\n    run: this\n"
        );
        assert_eq!(
            at(Some(25)),
            "SERVER              STATE\n\
             https://e….com/mcp  ready\n\
             https://h/          idle\n    run: this\n"
        );
        assert!(at(Some(1)).contains("https://…com/mcp  ready"));
    }
}
