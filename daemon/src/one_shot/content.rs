//! What a tool's result holds, for people: text, files, links. Pure.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{File, Said};

/// As generous as decoders are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A result.
#[derive(Debug)]
pub(super) struct Read {
    /// The tool says that it failed.
    pub(super) failed: bool,
    /// What it holds, in order.
    pub(super) parts: Vec<Said>,
}

#[derive(Deserialize, Default)]
struct ToolResult<'a> {
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "structuredContent")]
    structured: Option<&'a RawValue>,
    #[serde(default, rename = "isError")]
    is_error: Option<bool>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Text {
        text: String,
    },
    Image(Media),
    Audio(Media),
    Resource {
        resource: Resource,
    },
    ResourceLink {
        uri: String,
        #[serde(default)]
        name: String,
    },
}

#[derive(Deserialize)]
struct Media {
    data: String,
    #[serde(default, rename = "mimeType")]
    mime_type: String,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    uri: String,
    #[serde(default, rename = "mimeType")]
    mime_type: Option<String>,
    text: Option<String>,
    blob: Option<String>,
}

/// Reads a result. What is not understood is shown as it is.
pub(super) fn read(result: &RawValue) -> Read {
    let Ok(read) = serde_json::from_str::<ToolResult<'_>>(result.get()) else {
        return Read {
            failed: false,
            parts: vec![json(result)],
        };
    };
    let failed = read.is_error == Some(true);
    let mut parts: Vec<Said> = read.content.iter().map(|item| part(item, failed)).collect();
    if parts.is_empty()
        && let Some(structured) = read.structured
    {
        parts.push(match failed {
            true => Said::Failure(structured.get().to_owned()),
            false => json(structured),
        });
    }
    if parts.is_empty() && failed {
        parts.push(Said::Failure("the tool failed and does not say why".into()));
    }
    Read { failed, parts }
}

fn part(item: &RawValue, failed: bool) -> Said {
    let text = |text: String| match failed {
        true => Said::Failure(text),
        false => Said::Text(text),
    };
    let as_it_is = || json(item);
    match serde_json::from_str(item.get()) {
        Ok(Item::Text { text: said }) => text(said),
        Ok(Item::Image(media)) => {
            file(media.mime_type, "image", &media.data).unwrap_or_else(as_it_is)
        }
        Ok(Item::Audio(media)) => {
            file(media.mime_type, "audio", &media.data).unwrap_or_else(as_it_is)
        }
        Ok(Item::Resource { resource }) => match (resource.text, resource.blob) {
            (Some(said), _) => text(said),
            (None, Some(blob)) => {
                let mime_type = resource.mime_type.unwrap_or_default();
                file(mime_type, last_segment(&resource.uri), &blob).unwrap_or_else(as_it_is)
            }
            (None, None) => as_it_is(),
        },
        Ok(Item::ResourceLink { uri, name }) => text(match name.is_empty() || name == uri {
            true => uri,
            false => format!("{name}: {uri}"),
        }),
        Err(_) => as_it_is(),
    }
}

fn json(value: &RawValue) -> Said {
    Said::Json(bytes::Bytes::copy_from_slice(value.get().as_bytes()))
}

fn file(mime_type: String, name: &str, data: &str) -> Option<Said> {
    let content = match data.contains(char::is_whitespace) {
        true => BASE64.decode(data.split_whitespace().collect::<String>()),
        false => BASE64.decode(data),
    };
    Some(Said::File(File {
        mime_type,
        name: name.to_owned(),
        content: content.ok()?.into(),
    }))
}

/// Returns the end of a URI's path.
fn last_segment(uri: &str) -> &str {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or("resource")
}

#[cfg(test)]
#[path = "content/tests.rs"]
mod tests;
