//! A tool in words: one line of a list, or what it takes. Pure.

use std::fmt::Write;

use serde_json::Value;

use super::schema::Schema;

/// Returns what a tool says of itself, without line breaks.
pub(super) fn short(tool: &Value) -> String {
    let said = tool["description"].as_str().or(tool["title"].as_str());
    let said = said.or(tool["annotations"]["title"].as_str());
    one_line(said.unwrap_or_default())
}

/// Describes a tool and its arguments.
pub(super) fn whole(tool: &Value) -> String {
    let name = tool["name"].as_str().unwrap_or_default();
    let mut text = name.to_owned();
    if let Some(said) = tool["description"].as_str() {
        write!(text, "\n\n{}", said.trim()).expect("writing to a string cannot fail");
    }
    let schema = &tool["inputSchema"];
    let rows = rows(schema);
    if rows.is_empty() {
        text.push_str("\n\nNo arguments.\n");
        return text;
    }
    text.push_str("\n\nArguments:\n");
    let width = rows.iter().map(|(flag, _)| flag.chars().count()).max();
    let width = width.unwrap_or_default().min(40);
    for (flag, about) in rows {
        let line = format!("  {flag:width$}  {about}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn rows(document: &Value) -> Vec<(String, String)> {
    let schema = Schema::of(document);
    let resolved = schema.resolved();
    let required = resolved["required"].as_array().cloned().unwrap_or_default();
    let properties = resolved["properties"].as_object().into_iter().flatten();
    let row = |(name, property): (&String, &Value)| {
        let own = schema.at(property);
        let mut about = Vec::new();
        if required.iter().any(|one| one == name) {
            about.push("required".to_owned());
        }
        if let Some(default) = property.get("default") {
            about.push(format!("default {default}"));
        }
        let said = property["description"]
            .as_str()
            .or(property["title"].as_str());
        let said = one_line(
            said.or(own.resolved()["description"].as_str())
                .unwrap_or_default(),
        );
        let about = match (about.is_empty(), said.is_empty()) {
            (true, _) => said,
            (false, true) => format!("({})", about.join(", ")),
            (false, false) => format!("({}) {said}", about.join(", ")),
        };
        (format!("--{name} {}", own.words()), about)
    };
    let mut properties: Vec<_> = properties.collect();
    properties.sort_by_key(|(name, _)| !required.iter().any(|one| one == *name));
    properties.into_iter().map(row).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
