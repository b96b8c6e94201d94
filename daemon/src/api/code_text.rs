//! What stands below the page of a sign-in by code on the standard error of a shim:
//! the code, and on a terminal the page as a QR code. The shim prints it as it is.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::oauth::browsers::SignInUrl;

/// Black on white whatever the terminal's colours are: cameras want it so.
const COLOURS: &str = "\u{1b}[30;107m";

/// As it was before.
const NO_COLOURS: &str = "\u{1b}[0m";

/// Says what to type in where; `columns`: of the terminal, 0 if there is none. Empty
/// for pages that lead back by themselves.
pub(super) fn below(url: &SignInUrl, columns: u32) -> String {
    let Some(code) = url.code() else {
        return String::new();
    };
    let text = match code.is_filled_in {
        true => format!(
            "The code is {}. If the page does not show it, enter it at {}",
            code.code, code.page
        ),
        false => format!("Enter the code {} there.", code.code),
    };
    match qr_code(url.as_str(), columns) {
        Some(qr_code) => format!("{text}\n\n{qr_code}"),
        None => text,
    }
}

/// Draws a text, two modules a character one above the other; `None`: it does not fit.
fn qr_code(text: &str, columns: u32) -> Option<String> {
    // The level is the lowest: a screen is not torn, and small codes fit.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code.render::<Dense1x2>().build();
    let width = drawn.lines().next()?.chars().count();
    if width > usize::try_from(columns).ok()? {
        return None;
    }
    let lines = drawn
        .lines()
        .map(|line| format!("{COLOURS}{line}{NO_COLOURS}"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn url(complete: bool) -> SignInUrl {
        let page = Url::parse("https://as.example/device").expect("a URL");
        let filled_in = Url::parse("https://as.example/device?c=A-B").expect("a URL");
        SignInUrl::by_code(&page, complete.then_some(&filled_in), "A-B")
    }

    #[test]
    fn the_code_is_named_and_drawn_only_on_a_terminal_that_has_room() {
        let text = below(&url(true), 0);
        assert_eq!(
            text,
            "The code is A-B. If the page does not show it, enter it at https://as.example/device"
        );
        assert_eq!(below(&url(true), 20), text);
        assert_eq!(below(&url(false), 0), "Enter the code A-B there.");
        let drawn = below(&url(true), 80);
        let drawn = drawn.strip_prefix(&text).expect("first the text");
        let lines: Vec<&str> = drawn.lines().skip(2).collect();
        assert!(lines.len() > 10, "{drawn}");
        let bare: Vec<String> = lines
            .iter()
            .map(|line| {
                let line = line.strip_prefix(COLOURS).expect("coloured");
                line.strip_suffix(NO_COLOURS).expect("and back").to_owned()
            })
            .collect();
        let width = bare[0].chars().count();
        for line in &bare {
            assert_eq!(line.chars().count(), width);
            assert!(
                line.chars()
                    .all(|c| " \u{2580}\u{2584}\u{2588}".contains(c)),
                "{line}"
            );
        }
        // Around it is room, without which cameras do not see it.
        assert!(bare[0].trim().is_empty() && bare[1].starts_with("    "));
        let plain = SignInUrl::new(Url::parse("https://as/authorize").expect("a URL"));
        assert_eq!(below(&plain, 80), "");
    }

    #[test]
    fn what_fits_into_no_code_is_not_drawn() {
        assert!(qr_code(&"x".repeat(8000), u32::MAX).is_none());
    }
}
